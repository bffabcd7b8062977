//! A connection in two halves: one reads what the peer says, the other may be shared by all who answer.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Mutex;

use super::frame::{self, Kind};
use super::headers::{Headers, Packer, Unpacker};

/// What the peer says.
#[derive(Debug)]
pub enum Event {
    /// It opens a stream.
    Open {
        /// The stream.
        stream: u32,
        /// Names in lower case.
        headers: Headers,
        /// It will send nothing on it.
        fin: bool,
    },
    /// Content of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// The content.
        bytes: Bytes,
        /// The last.
        fin: bool,
    },
    /// It gives a stream up.
    Reset(u32),
    /// It goes.
    GoAway,
}

/// The reading half.
pub struct Reader<S> {
    io: ReadHalf<S>,
    unpacker: Unpacker,
    writer: Writer<S>,
}

/// The writing half. Cheap to clone.
pub struct Writer<S>(Arc<Mutex<Writing<S>>>);

struct Writing<S> {
    io: WriteHalf<S>,
    packer: Packer,
    /// Number of the next stream that we open.
    next: u32,
}

impl<S> Clone for Writer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Takes an upgraded connection over.
pub fn open<S: AsyncRead + AsyncWrite>(io: S) -> (Reader<S>, Writer<S>) {
    let (reading, writing) = tokio::io::split(io);
    let writer = Writer(Arc::new(Mutex::new(Writing { io: writing, packer: Packer::new(), next: 1 })));
    (Reader { io: reading, unpacker: Unpacker::new(), writer: writer.clone() }, writer)
}

impl<S: AsyncRead + AsyncWrite> Reader<S> {
    /// What the peer says next; None when it has gone or does not keep to the protocol. Pings are answered here. Not
    /// cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let mut head = [0; frame::HEAD_BYTES];
            self.io.read_exact(&mut head).await.ok()?;
            let head = frame::head(head)?;
            let mut content = vec![0; head.length];
            self.io.read_exact(&mut content).await.ok()?;
            match head.kind {
                Kind::Data(stream) => return Some(Event::Data { stream, bytes: content.into(), fin: head.fin }),
                Kind::SynStream => {
                    // Stream, associated stream, priority and slot; then the headers.
                    let headers = self.unpacker.unpack(content.get(10..)?)?;
                    return Some(Event::Open { stream: frame::number(&content)?, headers, fin: head.fin });
                }
                Kind::RstStream => return Some(Event::Reset(frame::number(&content)?)),
                Kind::Ping => {
                    let id = u32::from_be_bytes(*content.first_chunk()?);
                    // Even ones would be answers to ours, of which there are none.
                    if id % 2 == 1 {
                        self.writer.write(frame::ping(id)).await.ok()?;
                    }
                }
                Kind::GoAway => return Some(Event::GoAway),
                Kind::Other => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Writer<S> {
    async fn write(&self, bytes: Vec<u8>) -> std::io::Result<()> {
        let mut writing = self.0.lock().await;
        writing.io.write_all(&bytes).await?;
        writing.io.flush().await
    }

    /// Opens a stream with these headers; their names are in lower case. Only a client does so.
    ///
    /// # Errors
    /// The connection is broken; so for the others.
    pub async fn open(&self, headers: &[(&str, &str)]) -> std::io::Result<u32> {
        let mut writing = self.0.lock().await;
        let stream = writing.next;
        // A client's streams are odd.
        writing.next += 2;
        let packed = writing.packer.pack(headers);
        writing.io.write_all(&frame::syn_stream(stream, &packed)).await?;
        writing.io.flush().await?;
        Ok(stream)
    }

    /// Accepts a stream.
    ///
    /// # Errors
    /// See [`Writer::open`].
    pub async fn accept(&self, stream: u32) -> std::io::Result<()> {
        let mut writing = self.0.lock().await;
        let headers = writing.packer.pack(&[]);
        writing.io.write_all(&frame::syn_reply(stream, &headers)).await?;
        writing.io.flush().await
    }

    /// Sends content.
    ///
    /// # Errors
    /// See [`Writer::open`].
    pub async fn data(&self, stream: u32, bytes: &[u8], fin: bool) -> std::io::Result<()> {
        let mut pieces = bytes.chunks(frame::FRAME_BYTES_MAX).peekable();
        if pieces.peek().is_none() {
            return self.write(frame::data(stream, &[], fin)).await;
        }
        while let Some(piece) = pieces.next() {
            self.write(frame::data(stream, piece, fin && pieces.peek().is_none())).await?;
        }
        Ok(())
    }

    /// Gives a stream up.
    ///
    /// # Errors
    /// See [`Writer::open`].
    pub async fn reset(&self, stream: u32) -> std::io::Result<()> {
        self.write(frame::rst_stream(stream)).await
    }

    /// Ends the connection.
    pub async fn end(&self, last: u32) {
        // Whoever has gone already needs no farewell.
        let _ = self.write(frame::go_away(last)).await;
        let _ = self.0.lock().await.io.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_side_opens_the_other_sees_opened() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let ((_reader, client), (mut server, _writer)) = (open(ours), open(theirs));
        for (number, name) in [(1, "error"), (3, "stdin")] {
            assert_eq!(client.open(&[("streamtype", name)]).await.unwrap(), number);
            let event = server.next().await;
            let Some(Event::Open { stream, headers, fin: false }) = event else { panic!("{event:?}") };
            assert_eq!((stream, headers["streamtype"].as_str()), (number, name));
        }
    }

    #[tokio::test]
    async fn pings_are_answered_and_streams_told() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (mut reader, writer) = open(ours);
        theirs.write_all(&frame::ping(2)).await.unwrap();
        theirs.write_all(&frame::ping(3)).await.unwrap();
        theirs.write_all(&frame::data(1, b"hi", true)).await.unwrap();
        let event = reader.next().await;
        assert!(matches!(&event, Some(Event::Data { stream: 1, bytes, fin: true }) if bytes == "hi"), "{event:?}");
        writer.data(1, b"", true).await.unwrap();
        let mut got = vec![0; frame::ping(3).len() + frame::HEAD_BYTES];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [frame::ping(3), frame::data(1, b"", true)].concat());
        theirs.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(reader.next().await.is_none());
    }
}
