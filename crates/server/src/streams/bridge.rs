//! Between a client and a node: what the client says becomes frames, frames are told to the client.

use std::time::Duration;

use api::frames::{self, Decoder};
use api::status;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::limits::PING_INTERVAL;
use crate::reply::Body;

/// What a client still sends when all is over is read for this long: a connection that is closed with something unread
/// breaks, and takes with it what the client has not read.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Content of a channel.
    Data(u8, Bytes),
    /// The channel has ended.
    Close(u8),
}

/// A client's speaking side.
pub(super) trait Listen: Send {
    /// The next; None when it has gone.
    fn next(&mut self) -> impl Future<Output = Option<Said>> + Send;
}

/// A client's listening side. False: it has gone.
pub(super) trait Tell: Send {
    /// Content of a channel.
    fn data(&mut self, channel: u8, bytes: Vec<u8>) -> impl Future<Output = bool> + Send;
    /// Shows that we are here, and that the client is.
    fn ping(&mut self) -> impl Future<Output = bool> + Send;
    /// Ends all.
    fn end(&mut self) -> impl Future<Output = ()> + Send;
}

/// Copies in both directions until either side has gone.
pub(super) async fn run(
    mut listener: impl Listen,
    mut speaker: impl Tell,
    to_node: mpsc::Sender<Bytes>,
    from_node: Body,
    shutdown: CancellationToken,
) {
    let mut up = std::pin::pin!(async {
        while let Some(said) = listener.next().await {
            let frame = match said {
                Said::Data(channel, bytes) => frames::encode(channel, &bytes),
                Said::Close(channel) => frames::encode(frames::CLOSE, &[channel]),
            };
            // What comes after the end is only read away.
            let _ = to_node.send(frame.into()).await;
        }
    });
    let why = tokio::select! {
        () = &mut up => return,
        why = down(&mut speaker, from_node) => why,
        () = shutdown.cancelled() => End::Broken("the server stops"),
    };
    match why {
        End::ClientGone => return,
        End::Whole => {}
        End::Broken(why) => {
            // Without a word on the error channel, clients take the end for a success.
            let status = status::internal(why).body.to_string();
            speaker.data(frames::ERROR, status.into_bytes()).await;
        }
    }
    speaker.end().await;
    let _ = tokio::time::timeout(FAREWELL_MAX, up).await;
}

/// Why nothing more is told to the client.
enum End {
    ClientGone,
    /// The node has said how it ended.
    Whole,
    /// It has not.
    Broken(&'static str),
}

async fn down(speaker: &mut impl Tell, mut from_node: Body) -> End {
    let lost = End::Broken("the connection to the node was lost");
    let mut whole = false;
    let mut decoder = Decoder::default();
    let mut quiet = tokio::time::interval(PING_INTERVAL);
    quiet.tick().await;
    loop {
        let piece = tokio::select! {
            piece = from_node.frame() => piece,
            _ = quiet.tick() => match speaker.ping().await {
                true => continue,
                false => return End::ClientGone,
            },
        };
        let Some(Ok(piece)) = piece else { return if whole { End::Whole } else { lost } };
        let Ok(piece) = piece.into_data() else { continue };
        decoder.push(&piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    whole |= frame.channel == frames::ERROR;
                    if !speaker.data(frame.channel, frame.bytes).await {
                        return End::ClientGone;
                    }
                }
                Ok(None) => break,
                Err(_) => return lost,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;

    use super::*;
    use crate::reply;

    /// Says all, then waits for its end.
    struct Script(Vec<Said>, Arc<Notify>);

    impl Listen for Script {
        async fn next(&mut self) -> Option<Said> {
            if self.0.is_empty() {
                self.1.notified().await;
                return None;
            }
            Some(self.0.remove(0))
        }
    }

    #[derive(Default)]
    struct Heard(Arc<Mutex<Vec<String>>>, Arc<Notify>);

    impl Tell for Heard {
        async fn data(&mut self, channel: u8, bytes: Vec<u8>) -> bool {
            self.0.lock().unwrap().push(format!("{channel} {}", String::from_utf8_lossy(&bytes)));
            true
        }
        async fn ping(&mut self) -> bool {
            true
        }
        async fn end(&mut self) {
            self.0.lock().unwrap().push("end".to_owned());
            self.1.notify_one();
        }
    }

    #[tokio::test]
    async fn both_directions_until_the_node_has_said_all() {
        let (to_node, mut at_node) = mpsc::channel(8);
        let frames = [frames::encode(1, b"out"), frames::encode(3, b"ok")].concat();
        let heard = Heard::default();
        let (log, script) =
            (heard.0.clone(), Script(vec![Said::Data(0, "in".into()), Said::Close(0)], heard.1.clone()));
        run(script, heard, to_node, reply::full(frames), CancellationToken::new()).await;
        assert_eq!(*log.lock().unwrap(), ["1 out", "3 ok", "end"]);
        assert_eq!(at_node.recv().await.unwrap(), frames::encode(0, b"in"));
        assert_eq!(at_node.recv().await.unwrap(), frames::encode(frames::CLOSE, &[0]));
        assert_eq!(at_node.recv().await, None);
    }

    #[tokio::test]
    async fn a_node_that_goes_is_no_success() {
        let heard = Heard::default();
        let (log, script) = (heard.0.clone(), Script(Vec::new(), heard.1.clone()));
        let cut = reply::full(frames::encode(1, b"out"));
        run(script, heard, mpsc::channel(1).0, cut, CancellationToken::new()).await;
        let log = log.lock().unwrap();
        assert_eq!((log[0].as_str(), log[2].as_str()), ("1 out", "end"));
        assert!(log[1].starts_with("3 {") && log[1].contains("\"Failure\""), "{}", log[1]);
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_it() {
        let (to_node, mut at_node) = mpsc::channel(8);
        let silent = reply::streamed(futures::stream::pending());
        let heard = Heard::default();
        let log = heard.0.clone();
        heard.1.notify_one();
        let script = Script(Vec::new(), heard.1.clone());
        run(script, heard, to_node, silent, CancellationToken::new()).await;
        assert_eq!((at_node.recv().await, log.lock().unwrap().len()), (None, 0));
    }
}
