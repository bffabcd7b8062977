//! SPDY clients of remote commands: each channel is a stream, which the client opens and names.

use std::collections::BTreeMap;
use std::time::Duration;

use api::frames;
use spdy::{Event, Reader, Writer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Wanted;
use super::bridge::{Listen, Said, Tell};

/// The client opens its streams at once: what a kubelet gives it.
const STREAMS_WITHIN: Duration = Duration::from_secs(30);

/// The client's speaking side.
pub(super) struct Listener<S> {
    reader: Reader<S>,
    channels: BTreeMap<u32, u8>,
    /// Channels that had ended before all were there.
    ended: Vec<u8>,
}

/// The client's listening side.
pub(super) struct Speaker<S> {
    writer: Writer<S>,
    streams: BTreeMap<u8, u32>,
}

/// The channel that a stream's name means.
fn channel(name: &str) -> Option<u8> {
    Some(match name {
        "stdin" => frames::STDIN,
        "stdout" => frames::STDOUT,
        "stderr" => frames::STDERR,
        "error" => frames::ERROR,
        "resize" => frames::RESIZE,
        _ => return None,
    })
}

fn expected(wanted: Wanted) -> Vec<u8> {
    let all = [
        (frames::ERROR, true),
        (frames::STDIN, wanted.stdin),
        (frames::STDOUT, wanted.stdout),
        (frames::STDERR, wanted.stderr),
        (frames::RESIZE, wanted.tty),
    ];
    all.into_iter().filter(|(_, is)| *is).map(|(channel, _)| channel).collect()
}

/// Takes a connection over, and waits until the client has opened all streams. None when it does not.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Send>(io: S, wanted: Wanted) -> Option<(Listener<S>, Speaker<S>)> {
    let (mut reader, writer) = spdy::open(io);
    let (mut channels, mut streams, mut ended) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let missing = expected(wanted);
    let opening = async {
        while missing.iter().any(|channel| !streams.contains_key(channel)) {
            match reader.next().await? {
                Event::Open { stream, headers, fin } => {
                    let channel = headers.get("streamtype").and_then(|name| channel(name))?;
                    if streams.insert(channel, stream).is_some() {
                        return None;
                    }
                    channels.insert(stream, channel);
                    ended.extend(fin.then_some(channel));
                    writer.accept(stream).await.ok()?;
                }
                Event::Data { stream, fin: true, bytes } if bytes.is_empty() => ended.extend(channels.get(&stream)),
                Event::Data { .. } | Event::GoAway => return None,
                Event::Reset(_) => {}
            }
        }
        Some(())
    };
    tokio::time::timeout(STREAMS_WITHIN, opening).await.ok()??;
    Some((Listener { reader, channels, ended }, Speaker { writer, streams }))
}

impl<S: AsyncRead + AsyncWrite + Send> Listen for Listener<S> {
    async fn next(&mut self) -> Option<Said> {
        if let Some(channel) = self.ended.pop() {
            return Some(Said::Close(channel));
        }
        loop {
            match self.reader.next().await? {
                Event::Data { stream, bytes, fin } => {
                    let Some(channel) = self.channels.get(&stream).copied() else { continue };
                    match (bytes.is_empty(), fin) {
                        (false, true) => self.ended.push(channel),
                        (true, true) => return Some(Said::Close(channel)),
                        (true, false) => continue,
                        (false, false) => {}
                    }
                    return Some(Said::Data(channel, bytes));
                }
                Event::GoAway => return None,
                // More streams than asked for have no use; one that is given up says nothing more.
                Event::Open { .. } | Event::Reset(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Tell for Speaker<S> {
    async fn data(&mut self, channel: u8, bytes: Vec<u8>) -> bool {
        let Some(stream) = self.streams.get(&channel) else { return true };
        self.writer.data(*stream, &bytes, false).await.is_ok()
    }

    async fn ping(&mut self) -> bool {
        // An empty frame says nothing and needs the client to be there.
        let Some(stream) = self.streams.get(&frames::ERROR) else { return true };
        self.writer.data(*stream, &[], false).await.is_ok()
    }

    async fn end(&mut self) {
        for channel in [frames::STDOUT, frames::STDERR, frames::ERROR] {
            if let Some(stream) = self.streams.get(&channel) {
                let _ = self.writer.data(*stream, &[], true).await;
            }
        }
        self.writer.end(self.streams.values().copied().max().unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_that_kubectl_opens() {
        let of = |stdin, stdout, stderr, tty| expected(Wanted { stdin, stdout, stderr, tty });
        assert_eq!(of(false, true, true, false), [3, 1, 2]);
        assert_eq!(of(true, true, false, true), [3, 0, 1, 4]);
        assert_eq!((channel("resize"), channel("x")), (Some(4), None));
    }
}
