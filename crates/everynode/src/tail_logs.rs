//! `everynode tail-logs`: the small daemon in the built-in image.
//!
//! Follows every regular file under one directory and prints what is appended, one line each with the file's name.
//! A file that shrinks or is replaced is read from its start. Names that contain `--exclude` are left out: the daemon's own
//! log is below the directory it follows, and reading that would never end.
//!
//! # Invariants
//! - Plain threads and blocking reads: no runtime, a few hundred KiB of memory.
//! - Ends on SIGTERM by the default action of the kernel for a process that is not first in its pid namespace, and by
//!   [`exit_on_sigterm`] where it is.
//!
//! # Absent
//! Positions kept over a restart: it starts at the end of what is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::flags::TailLogsArgs;

/// Most files followed at once: a log directory has a few hundred; more would only cost memory here.
const FILES_MAX: usize = 4_096;
/// How deep directories are searched: /var/log/pods/POD/CONTAINER/FILE is four.
const DEPTH_MAX: usize = 6;
/// Most bytes read of one file in one look, so that one chatty file can't starve the others.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// Where reading of one file stands.
struct Position {
    inode: u64,
    offset: u64,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &TailLogsArgs) -> anyhow::Result<()> {
    let node = std::env::var("NODE_NAME").unwrap_or_else(|_| "this node".into());
    let version = std::env::var("DAEMON_VERSION").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").into());
    exit_on_sigterm();
    println!("tail-logs {version} on {node}: following {}", args.dir.display());
    let mut positions = BTreeMap::new();
    for (path, meta) in files(&args.dir, &args.exclude) {
        positions.insert(path, Position { inode: meta.ino(), offset: meta.len() });
    }
    println!("tail-logs {version} on {node}: {} files now", positions.len());
    loop {
        std::thread::sleep(Duration::from_secs(args.interval.max(1)));
        look(&args.dir, &args.exclude, &mut positions)?;
    }
}

/// Reads what came since the last look.
fn look(dir: &Path, exclude: &str, positions: &mut BTreeMap<PathBuf, Position>) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for (path, meta) in files(dir, exclude) {
        let mut at = match positions.remove(&path) {
            Some(p) if p.inode == meta.ino() && p.offset <= meta.len() => p,
            _ => Position { inode: meta.ino(), offset: 0 },
        };
        if at.offset < meta.len() {
            at.offset = print_from(&path, at.offset)?;
        }
        seen.insert(path, at);
    }
    *positions = seen;
    Ok(())
}

/// Prints whole lines from `offset` on; returns where the next look starts.
fn print_from(path: &Path, offset: u64) -> anyhow::Result<u64> {
    let Ok(mut file) = File::open(path) else { return Ok(offset) };
    let mut new = Vec::new();
    if file.seek(SeekFrom::Start(offset)).is_err() || file.take(READ_BYTES_MAX).read_to_end(&mut new).is_err() {
        return Ok(offset);
    }
    let whole = match new.iter().rposition(|b| *b == b'\n') {
        Some(end) => end + 1,
        None if new.len() as u64 == READ_BYTES_MAX => new.len(),
        None => return Ok(offset),
    };
    let mut out = std::io::stdout().lock();
    for line in new[..whole].split_inclusive(|b| *b == b'\n') {
        write!(out, "{}: {}", path.display(), String::from_utf8_lossy(line))?;
    }
    out.flush()?;
    Ok(offset + whole as u64)
}

/// Every regular file below `dir`, bounded; what can't be read is passed over.
fn files(dir: &Path, exclude: &str) -> Vec<(PathBuf, std::fs::Metadata)> {
    let mut found = Vec::new();
    let mut open = vec![(dir.to_path_buf(), 0)];
    while let Some((dir, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !exclude.is_empty() && entry.file_name().to_string_lossy().contains(exclude) {
                continue;
            }
            if meta.is_dir() && depth < DEPTH_MAX {
                open.push((entry.path(), depth + 1));
            } else if meta.is_file() && found.len() < FILES_MAX {
                found.push((entry.path(), meta));
            }
        }
    }
    found
}

/// The first process of a pid namespace ignores SIGTERM unless it asks for it.
fn exit_on_sigterm() {
    // A thread that waits for the signal: no handler code, so nothing that a handler may not do.
    use nix::sys::signal::{SigSet, Signal};
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    if set.thread_block().is_ok() {
        std::thread::spawn(move || {
            let _ = set.wait();
            std::process::exit(0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_only_whole_lines_and_remembers_where_it_stopped() {
        let dir = std::env::temp_dir().join(format!("everynode-tail-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("a.log");
        std::fs::write(&file, "one\ntwo\nthr").unwrap();
        assert_eq!(print_from(&file, 0).unwrap(), 8);
        assert_eq!(print_from(&file, 8).unwrap(), 8);
        std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
        assert_eq!(print_from(&file, 8).unwrap(), 14);
        let mut positions = BTreeMap::new();
        look(&dir, "own", &mut positions).unwrap();
        assert_eq!(positions[&file].offset, 14);
        std::fs::write(&file, "new\n").unwrap();
        std::fs::write(dir.join("own.log"), "its own output\n").unwrap();
        look(&dir, "own", &mut positions).unwrap();
        assert_eq!(positions[&file].offset, 4, "a file that shrank is read from its start");
        assert_eq!(positions.len(), 1, "its own log is left out");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
