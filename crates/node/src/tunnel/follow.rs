//! A log while it grows, over rotations, until its container ends or nobody reads any more.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::logs::{CHUNK, Sink, Wanted};
use crate::agent::Agent;
use crate::runtime::{ContainerId, ContainerState, Runtime};

/// How often a quiet log is looked at: people feel no delay, and a look is one read that gives nothing.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks between two questions whether the container still runs.
const ASK_EVERY: u32 = 5;

/// An open log and how far it was read.
struct Tail {
    path: PathBuf,
    file: Option<std::fs::File>,
    at: u64,
    rest: Vec<u8>,
}

impl Tail {
    /// Whole lines that are new; empty when there is nothing now.
    fn read(&mut self, wanted: &Wanted) -> std::io::Result<Vec<u8>> {
        if self.file.is_none() {
            match std::fs::File::open(&self.path) {
                Ok(mut file) => {
                    file.seek(SeekFrom::Start(self.at))?;
                    self.file = Some(file);
                }
                // Nothing written yet, or in the moment of a rotation.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        let mut out = Vec::new();
        let Some(file) = &mut self.file else { return Ok(out) };
        let mut buffer = vec![0; CHUNK];
        let length = file.read(&mut buffer)?;
        if length == 0 {
            if rotated(file, &self.path) {
                self.file = None;
                self.at = 0;
                self.rest.clear();
            }
            return Ok(out);
        }
        self.rest.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(out) };
        for line in self.rest.get(..end).unwrap_or_default().split(|b| *b == b'\n') {
            wanted.show(line, &mut out);
        }
        self.rest.drain(..=end);
        Ok(out)
    }
}

fn rotated(file: &std::fs::File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(now)) => open.ino() != now.ino() || open.dev() != now.dev(),
        _ => false,
    }
}

/// Sends what comes after `from` bytes of the newest file.
pub(super) async fn follow<R: Runtime>(
    agent: &Agent<R>,
    id: &ContainerId,
    path: &Path,
    from: u64,
    wanted: &Wanted,
    sink: &mut Sink,
) {
    let mut tail = Tail { path: path.to_owned(), file: None, at: from, rest: Vec::new() };
    let (mut quiet, mut ended) = (0_u32, false);
    loop {
        let wanted = wanted.clone();
        let read = tokio::task::spawn_blocking(move || {
            let before = tail.at_end();
            let bytes = tail.read(&wanted);
            let grew = tail.at_end() != before;
            (bytes, grew, tail)
        });
        let Ok((Ok(bytes), grew, back)) = read.await else { return };
        tail = back;
        if !bytes.is_empty() && !sink.put(bytes).await {
            return;
        }
        if grew {
            quiet = 0;
            continue;
        }
        if ended {
            return;
        }
        quiet += 1;
        if quiet.is_multiple_of(ASK_EVERY) {
            let status = agent.runtime.container_status(id).await;
            // One more look after the end: the last words come just before it.
            ended = !status.is_ok_and(|s| s.state == ContainerState::Running);
        }
        tokio::select! {
            () = sink.closed() => return,
            () = agent.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Tail {
    /// Where the open file is read to.
    fn at_end(&mut self) -> Option<u64> {
        self.file.as_mut().and_then(|f| f.stream_position().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn grows_and_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut tail = Tail { path: path.clone(), file: None, at: 0, rest: Vec::new() };
        let wanted = Wanted::default();
        let mut look = || String::from_utf8(tail.read(&wanted).unwrap()).unwrap();
        assert_eq!(look(), "");
        let mut log = std::fs::File::create(&path).unwrap();
        log.write_all(b"T stdout F a\nT stdout F b").unwrap();
        assert_eq!(look(), "a\n");
        log.write_all(b"c\n").unwrap();
        assert_eq!(look(), "bc\n");
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        log.write_all(b"T stdout F last\n").unwrap();
        std::fs::write(&path, "T stdout F new\n").unwrap();
        assert_eq!(look(), "last\n");
        assert_eq!(look(), "");
        assert_eq!(look(), "new\n");
    }
}
