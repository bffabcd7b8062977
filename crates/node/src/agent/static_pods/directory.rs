//! The directory of static pods: its files, and when they change.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// It is read this often even when the kernel tells of no change, as the kubelet does: network file systems never tell.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Files read at most: a node holds 110 pods, the rest is rubbish.
const FILES_MAX: usize = 256;
/// Most bytes of a file: more than the API lets a pod be.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// What files of pods end with.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Bytes of notices read at a time; they are counted for nothing else than that there were some.
const NOTICE_BYTES: usize = 4096;

/// See the module.
pub(super) struct Directory {
    path: PathBuf,
    notices: Option<AsyncFd<OwnedFd>>,
    look_at: Instant,
}

/// The text of each file, by name, or why it has none.
pub(super) type Texts = BTreeMap<String, Result<String, String>>;

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from);
        let notices = match made.and_then(register) {
            Ok(fd) => Some(fd),
            Err(error) => {
                tracing::warn!("{}: no notice of changes ({error}), it is read every {LOOK_EVERY:?}", path.display());
                None
            }
        };
        Self { path, notices, look_at: Instant::now() + LOOK_EVERY }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a change, or until it is time to look again. Cancel safe.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = tokio::time::sleep_until(self.look_at) => {}
            () = noticed(self.notices.as_ref()) => {}
        }
        self.look_at = Instant::now() + LOOK_EVERY;
    }

    /// Reads all files.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub(super) async fn read(&mut self) -> io::Result<Texts> {
        if let Some(notices) = &self.notices {
            // Again each time: the directory may be another one of the same name by now. Before the reading, so that
            // nothing is missed.
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            let _ = inotify::add_watch(notices.get_ref(), &self.path, flags);
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || read(&path)).await.map_err(io::Error::other)?
    }
}

fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value owns the descriptor and lends it out shared, so it stays open, and the same, until it is dropped.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Waits for notices and takes them all.
async fn noticed(notices: Option<&AsyncFd<OwnedFd>>) {
    let Some(notices) = notices else { return std::future::pending().await };
    let Ok(mut ready) = notices.readable().await else { return std::future::pending().await };
    let mut bytes = [0; NOTICE_BYTES];
    while rustix::io::read(notices.get_ref(), &mut bytes).is_ok_and(|count| count > 0) {}
    ready.clear_ready();
}

fn read(directory: &Path) -> io::Result<Texts> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        // A name that is no text has no ending either.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !name.starts_with('.') && ENDINGS.contains(&ending) {
            names.push(name);
        }
    }
    names.sort();
    let texts = names.into_iter().enumerate().filter_map(|(index, name)| {
        if index >= FILES_MAX {
            return Some((name, Err(format!("there are more than {FILES_MAX} files: move some away"))));
        }
        text(&directory.join(&name)).map(|text| (name, text))
    });
    Ok(texts.collect())
}

/// None for what is no file: a directory, a pipe, or what went in the meantime.
fn text(path: &Path) -> Option<Result<String, String>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Ok(found) if !found.is_file() => return None,
        _ => {}
    }
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    Some(match read {
        Ok(count) if u64::try_from(count).is_ok_and(|count| count <= FILE_BYTES_MAX) => Ok(text),
        Ok(_) => Err(format!("it is larger than {FILE_BYTES_MAX} bytes")),
        Err(error) => Err(format!("it can't be read: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_pods_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for (name, bytes) in [
            ("a.yaml", &b"a"[..]),
            ("b.yml", b"b"),
            ("c.json", b"c"),
            (".hidden.yaml", b"x"),
            ("a.yaml~", b"x"),
            ("README", b"x"),
            ("bytes.yaml", b"\xff"),
        ] {
            std::fs::write(path.join(name), bytes).unwrap();
        }
        std::fs::create_dir(path.join("directory.yaml")).unwrap();
        std::os::unix::fs::symlink("a.yaml", path.join("link.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", path.join("broken.yaml")).unwrap();
        std::fs::write(path.join("large.yaml"), vec![b' '; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        let texts = Directory::new(path.to_owned()).read().await.unwrap();
        let shown: Vec<(&str, &str)> = texts.iter().map(|(n, t)| (n.as_str(), t.as_deref().unwrap_or("!"))).collect();
        let expect = [
            ("a.yaml", "a"),
            ("b.yml", "b"),
            ("bytes.yaml", "!"),
            ("c.json", "c"),
            ("large.yaml", "!"),
            ("link.yaml", "a"),
        ];
        assert_eq!(shown, expect);
        assert!(Directory::new(path.join("none")).read().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_notices_changes_and_looks_from_time_to_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(dir.path().to_owned());
        directory.read().await.unwrap();
        let begin = Instant::now();
        directory.changed().await;
        assert_eq!(begin.elapsed(), LOOK_EVERY);
        tokio::time::resume();
        std::fs::write(dir.path().join("a.yaml"), "a").unwrap();
        let begin = Instant::now();
        directory.changed().await;
        assert!(begin.elapsed() < LOOK_EVERY);
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        directory.changed().await;
        assert!(begin.elapsed() < LOOK_EVERY);
    }
}
