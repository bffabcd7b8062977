//! Channels as files, for a thread that may block.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

/// Bytes of a piece: one message of the connection.
const CHUNK: usize = 32 * 1024;

/// Writes pieces into a channel.
pub(super) struct Writer {
    to: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Writer {
    pub(super) fn new(to: mpsc::Sender<Vec<u8>>) -> Self {
        Self { to, piece: Vec::with_capacity(CHUNK) }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        self.to
            .blocking_send(piece)
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the program there has ended"))
    }
}

/// Reads pieces out of a channel.
pub(super) struct Reader {
    from: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Reader {
    pub(super) fn new(from: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { from, piece: io::Cursor::default() }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.from.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}
