//! Bytes from a task to a reader, a few pieces at a time.
//!
//! # Invariants
//! A slow reader holds the sender back; one that is gone holds nobody.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pieces that wait for a slow reader: a frame has at most 32 KiB.
const PIECES_MAX: usize = 4;

/// The reading end.
#[derive(Debug)]
pub(super) struct PieceReader {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
    _gone: DropGuard,
}

/// Both ends, and what is cancelled when the reader is gone. The end of the sender is the end of what is read.
pub(super) fn pieces() -> (mpsc::Sender<Bytes>, PieceReader, CancellationToken) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let gone = CancellationToken::new();
    (sender, PieceReader { receiver, rest: Bytes::new(), _gone: gone.clone().drop_guard() }, gone)
}

impl AsyncRead for PieceReader {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receiver.poll_recv(context)) {
                Some(piece) => self.rest = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_read_in_order_to_the_end() {
        let (sender, mut reader, _) = pieces();
        let sending = async move {
            for text in ["one ", "", "two ", "three"] {
                sender.send(Bytes::from_static(text.as_bytes())).await.unwrap();
            }
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(sending, reader.read_to_end(&mut got));
        assert_eq!((read.unwrap(), got.as_slice()), (13, &b"one two three"[..]));
    }

    #[tokio::test]
    async fn the_sender_learns_that_nobody_reads() {
        let (sender, reader, gone) = pieces();
        drop(reader);
        gone.cancelled().await;
        assert!(sender.send(Bytes::from_static(b"x")).await.is_err());
    }
}
