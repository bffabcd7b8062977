//! A container's log file: what kubelet's readers and log collectors expect of it.
//!
//! Lines are `2026-11-24T22:13:35.123456789Z stdout F text`; `P` instead of `F` says that the line goes on in the next
//! one (longer than 16 KiB) or never ended. When the file is large it becomes `0.log.20261124-221335` and a new one
//! begins; all but the latest of those are compressed, the oldest go.
//!
//! # Invariants
//! - A container never waits for its log: what can't be written (disk full) is dropped and counted, and the count is
//!   told in the log when it can be written again. A line is in the file whole or not at all.
//! - Memory: one incomplete line of each stream, at most [`LINE_BYTES_MAX`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Where Kubernetes' runtimes cut a line.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// The end of the name of what is being compressed.
const PARTIAL: &str = "tmp";

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    bytes_max: u64,
    files_max: usize,
    pending: [Vec<u8>; 2],
    dropped: u64,
    /// Set by a rotation: older files wait to be compressed.
    pub(crate) rotated: bool,
}

impl Log {
    /// Opens or makes the file. A file that can't be opened is tried again at the next line.
    pub(crate) fn open(path: &Path, bytes_max: u64, files_max: usize) -> Self {
        let mut log = Self {
            path: path.to_owned(),
            file: None,
            size: 0,
            bytes_max,
            files_max,
            pending: [Vec::new(), Vec::new()],
            dropped: 0,
            rotated: false,
        };
        let _ = log.reopen();
        log
    }

    /// Takes what a stream gave, and writes the lines that are whole.
    pub(crate) fn take(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LINE_BYTES_MAX - self.pending[stream as usize].len();
            let end = rest.iter().take(room).position(|byte| *byte == b'\n');
            let part = &rest[..end.unwrap_or(rest.len().min(room))];
            rest = &rest[part.len() + usize::from(end.is_some())..];
            if end.is_none() && part.len() < room {
                self.pending[stream as usize].extend_from_slice(part);
                return;
            }
            let mut line = std::mem::take(&mut self.pending[stream as usize]);
            line.extend_from_slice(part);
            self.write(stream, if end.is_some() { "F" } else { "P" }, &line, now);
        }
    }

    /// The stream has ended: what it gave without a line's end goes to the file.
    pub(crate) fn finish(&mut self, stream: Stream, now: Timestamp) {
        let line = std::mem::take(&mut self.pending[stream as usize]);
        if !line.is_empty() {
            self.write(stream, "P", &line, now);
        }
    }

    fn write(&mut self, stream: Stream, tag: &str, text: &[u8], now: Timestamp) {
        if self.size >= self.bytes_max {
            self.rotate(now);
        }
        if self.dropped > 0 {
            let note = format!("[{} lines of this log could not be written]", self.dropped);
            if self.append(&line(Stream::Stderr, "F", note.as_bytes(), now)).is_ok() {
                self.dropped = 0;
            }
        }
        if self.append(&line(stream, tag, text, now)).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all_at(bytes, self.size) {
            // Shortening needs no space: the half line goes.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&self.path)?;
        file.flush()?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// The present file gets a name with its time, a new one begins, the oldest go.
    fn rotate(&mut self, now: Timestamp) {
        let stamp = now.strftime("%Y%m%d-%H%M%S").to_string();
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".{stamp}"));
        let aside = PathBuf::from(aside);
        // Two in one second would lose the first: let the file grow on until the next line of a later second.
        if aside.exists() || fs::rename(&self.path, &aside).is_err() {
            return;
        }
        self.file = None;
        let _ = self.reopen();
        let mut old = rotated_files(&self.path);
        while old.len() + 1 > self.files_max.max(2) {
            let _ = fs::remove_file(old.remove(0));
        }
        self.rotated = true;
    }

    /// Where it is written to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn line(stream: Stream, tag: &str, text: &[u8], now: Timestamp) -> Vec<u8> {
    let mut line = format!("{now:.9} {} {tag} ", stream.name()).into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

/// Earlier files of a log, the oldest first; without those that are being compressed into.
pub(crate) fn rotated_files(path: &Path) -> Vec<PathBuf> {
    aside(path).into_iter().filter(|path| !is_partial(path)).collect()
}

/// What is written before it gets the name of a compressed file.
fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == PARTIAL)
}

/// All that was put aside of a log, in the order of names.
fn aside(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let is_old = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    let mut old: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_old).collect();
    old.sort();
    old
}

/// Compresses all earlier files but the latest, as kubelet does. Takes a while: not for the shim's own loop.
pub(crate) fn compress_rotated(path: &Path) -> io::Result<()> {
    let mut old = rotated_files(path);
    old.pop();
    for file in old.into_iter().filter(|file| file.extension().is_none_or(|end| end != "gz")) {
        compress(&file)?;
    }
    // What was cut off, of a file that is gone by now, nobody completes.
    for partial in aside(path).into_iter().filter(|path| is_partial(path) && !path.with_extension("").exists()) {
        drop(fs::remove_file(partial));
    }
    Ok(())
}

/// Compresses one file, unless someone else does: a log may be rotated again before that is done.
fn compress(file: &Path) -> io::Result<()> {
    let with_end = |end: &str| {
        let mut name = file.to_owned().into_os_string();
        name.push(format!(".{end}"));
        PathBuf::from(name)
    };
    let Ok(mut source) = File::open(file) else { return Ok(()) };
    // The lock ends with whoever holds it.
    if matches!(source.try_lock(), Err(TryLockError::WouldBlock)) {
        return Ok(());
    }
    // Whoever held it before may have finished.
    if fs::metadata(file).map(|there| there.ino()).ok() != Some(source.metadata()?.ino()) {
        return Ok(());
    }
    let partial = with_end(PARTIAL);
    let mut encoder = flate2::write::GzEncoder::new(File::create(&partial)?, flate2::Compression::default());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?;
    fs::rename(&partial, with_end("gz"))?;
    fs::remove_file(file)
}

/// Makes /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log, where log collectors look.
pub(crate) fn link(links: &Path, pod: &str, namespace: &str, container: &str, id: &str, log: &Path) -> io::Result<()> {
    fs::create_dir_all(links)?;
    let path = link_path(links, pod, namespace, container, id);
    match symlink(log, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Its name.
pub(crate) fn link_path(links: &Path, pod: &str, namespace: &str, container: &str, id: &str) -> PathBuf {
    links.join(format!("{pod}_{namespace}_{container}-{id}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_795_558_415 + second, 123_456_789).unwrap()
    }

    fn read(log: &Log) -> String {
        fs::read_to_string(log.path()).unwrap()
    }

    #[test]
    fn lines_are_whole_partial_or_never_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("c/0.log"), 1 << 20, 5);
        log.take(Stream::Stdout, b"one\ntw", at(0));
        log.take(Stream::Stderr, b"err\n\n", at(1));
        log.take(Stream::Stdout, b"o\nrest", at(2));
        log.finish(Stream::Stdout, at(3));
        log.finish(Stream::Stderr, at(3));
        assert_eq!(
            read(&log),
            "2026-11-24T22:13:35.123456789Z stdout F one\n\
             2026-11-24T22:13:36.123456789Z stderr F err\n\
             2026-11-24T22:13:36.123456789Z stderr F \n\
             2026-11-24T22:13:37.123456789Z stdout F two\n\
             2026-11-24T22:13:38.123456789Z stdout P rest\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_into_parts_that_join_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("0.log"), 1 << 20, 5);
        let long = "x".repeat(2 * LINE_BYTES_MAX + 5);
        for chunk in format!("{long}\nnext\n").as_bytes().chunks(1000) {
            log.take(Stream::Stdout, chunk, at(0));
        }
        let text = read(&log);
        let lines: Vec<(&str, &str)> = text
            .lines()
            .map(|line| line.splitn(4, ' ').collect::<Vec<_>>())
            .map(|fields| (fields[2], fields[3]))
            .collect();
        assert_eq!(lines.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), ["P", "P", "F", "F"]);
        assert_eq!(lines[..3].iter().map(|(_, text)| *text).collect::<String>(), long);
        assert_eq!(lines[3].1, "next");
    }

    #[test]
    fn a_large_file_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("0.log"), 10, 3);
        for second in 0..5 {
            log.take(Stream::Stdout, format!("line {second}\n").as_bytes(), at(second));
        }
        let names: Vec<String> = rotated_files(log.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["0.log.20261124-221338", "0.log.20261124-221339"]);
        assert!(read(&log).ends_with("line 4\n"));
        compress_rotated(log.path()).unwrap();
        assert!(dir.path().join("0.log.20261124-221338.gz").exists());
        assert!(dir.path().join("0.log.20261124-221339").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_is_compressed_once_also_by_two_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let names = || {
            let mut names: Vec<String> =
                fs::read_dir(dir.path()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        for name in ["0.log", "0.log.20260101-000000", "0.log.20260101-000001"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        // Another is half through the first, and one was cut off in a file that is gone since.
        let held = File::open(dir.path().join("0.log.20260101-000000")).unwrap();
        held.lock().unwrap();
        for name in ["0.log.20260101-000000.tmp", "0.log.20250101-000000.tmp"] {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        assert_eq!(rotated_files(&path).len(), 2);
        compress_rotated(&path).unwrap();
        let all = ["0.log", "0.log.20260101-000000", "0.log.20260101-000000.tmp", "0.log.20260101-000001"];
        assert_eq!(names(), all);
        assert_eq!(fs::read(dir.path().join("0.log.20260101-000000.tmp")).unwrap(), b"half");
        // It was killed: the next one begins anew.
        drop(held);
        compress_rotated(&path).unwrap();
        assert_eq!(names(), ["0.log", "0.log.20260101-000000.gz", "0.log.20260101-000001"]);
        let mut text = String::new();
        let packed = File::open(dir.path().join("0.log.20260101-000000.gz")).unwrap();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).unwrap();
        assert_eq!(text, "0.log.20260101-000000");
    }

    #[test]
    fn two_rotations_in_one_second_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("0.log"), 10, 5);
        for line in ["a\n", "b\n", "c\n"] {
            log.take(Stream::Stdout, line.as_bytes(), at(0));
        }
        let all: String =
            rotated_files(log.path()).iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>()
                + &read(&log);
        assert_eq!(all.lines().count(), 3);
    }

    #[test]
    fn lines_that_can_not_be_written_are_counted_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let blocker = dir.path().join("logs");
        fs::write(&blocker, "a file where a directory should be").unwrap();
        let mut log = Log::open(&blocker.join("0.log"), 1 << 20, 5);
        log.take(Stream::Stdout, b"lost\nlost too\n", at(0));
        fs::remove_file(&blocker).unwrap();
        log.take(Stream::Stdout, b"kept\n", at(1));
        let text = read(&log);
        assert!(text.contains("stderr F [2 lines of this log could not be written]\n"), "{text}");
        assert!(text.ends_with("stdout F kept\n"));
    }

    #[test]
    fn the_link_has_kubelets_name() {
        let dir = tempfile::tempdir().unwrap();
        link(dir.path(), "web-x", "default", "app", "0123", Path::new("/var/log/pods/a/app/0.log")).unwrap();
        link(dir.path(), "web-x", "default", "app", "0123", Path::new("/var/log/pods/a/app/0.log")).unwrap();
        let link = dir.path().join("web-x_default_app-0123.log");
        assert_eq!(fs::read_link(link).unwrap(), Path::new("/var/log/pods/a/app/0.log"));
    }
}
