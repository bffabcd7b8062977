//! The data directory: its FORMAT, its lock, and what is wrong with it.
//!
//! # Invariants
//! - At most one open store in a directory: the lock is held as long as [`DataDir`] lives, and dies with the process.
//! - A directory of a newer version is never written to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The version of the directory's form that this build writes. It reads those before it: 1 had no journal.
const FORMAT: u32 = 2;
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORD: &str = "everynode-store";
const LOCK_FILE: &str = "LOCK";

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later build wrote the directory.
    #[error(
        "{dir}: written by a newer everynode (format {found}, this one reads up to {FORMAT}): use that version or a newer one, or another data directory",
        dir = dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Another process has it.
    #[error("{dir}: in use by another everynode server: stop that one first, or use another data directory", dir = dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It holds something else.
    #[error("{dir}: not a data directory of everynode ({why}): use another one", dir = dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        why: String,
    },
    /// Its contents can't be read back.
    #[error("{dir}: the store is damaged ({why}): restore the directory from a backup", dir = dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        why: String,
    },
    /// The disk says no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
}

/// A locked data directory of the right format.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, locks it and looks at its format.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(|e| fail(path, e))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| fail(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: path.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(fail(&lock_path, e)),
        }
        let format_path = path.join(FORMAT_FILE);
        match fs::read_to_string(&format_path) {
            Ok(text) => {
                if check_format(path, &text)? < FORMAT {
                    // From now on an earlier build would miss what it can't read.
                    write_format(path).map_err(|e| fail(&format_path, e))?;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                refuse_foreign(path)?;
                write_format(path).map_err(|e| fail(&format_path, e))?;
            }
            Err(e) => return Err(fail(&format_path, e)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn check_format(dir: &Path, text: &str) -> Result<u32, OpenError> {
    let version = text.trim().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(found @ 1..=FORMAT) => Ok(found),
        Some(found) if found > FORMAT => Err(OpenError::Newer { dir: dir.to_owned(), found }),
        _ => Err(OpenError::Foreign { dir: dir.to_owned(), why: format!("{FORMAT_FILE} says {:?}", first_line(text)) }),
    }
}

fn first_line(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60; // one line of an error stays readable
    text.lines().next().unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect()
}

/// A directory without FORMAT is ours only if it is empty, but for what a crash of the first start leaves.
fn refuse_foreign(dir: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::Io { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name != LOCK_FILE && name != temporary().as_str() && name != "lost+found" {
            return Err(OpenError::Foreign {
                dir: dir.to_owned(),
                why: format!("no {FORMAT_FILE} beside {}", name.to_string_lossy()),
            });
        }
    }
    Ok(())
}

fn temporary() -> String {
    format!("{FORMAT_FILE}.new")
}

fn write_format(dir: &Path) -> io::Result<()> {
    let new = dir.join(temporary());
    let mut file = File::create(&new)?;
    file.write_all(format!("{FORMAT_WORD} {FORMAT}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FORMAT_FILE))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_is_ours_and_refuses_the_rest() {
        type Case<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Result<(), &'a str>);
        let cases: [Case<'_>; 7] = [
            ("new", None, None, Ok(())),
            ("ours", Some("everynode-store 2\n"), Some("log.redb"), Ok(())),
            ("older", Some("everynode-store 1\n"), Some("log.redb"), Ok(())),
            ("newer", Some("everynode-store 3\n"), None, Err("newer everynode (format 3, this one reads up to 2)")),
            ("garbage", Some("hello\nworld"), None, Err("FORMAT says \"hello\"")),
            ("zero", Some("everynode-store 0"), None, Err("not a data directory")),
            ("somebody's home", None, Some("photo.jpg"), Err("no FORMAT beside photo.jpg")),
        ];
        for (name, format, other, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            if let Some(text) = format {
                fs::write(dir.path().join(FORMAT_FILE), text).unwrap();
            }
            if let Some(file) = other {
                fs::write(dir.path().join(file), "").unwrap();
            }
            match (DataDir::open(dir.path()), want) {
                (Ok(_), Ok(())) => {
                    let now = fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap();
                    assert_eq!(now, "everynode-store 2\n", "{name}");
                }
                (Err(e), Err(text)) => {
                    let line = e.to_string();
                    assert!(line.contains(text), "{name}: {line}");
                    assert!(line.contains(&dir.path().display().to_string()), "{name}: {line}");
                    assert_eq!(line.lines().count(), 1, "{name}");
                }
                (got, want) => panic!("{name}: {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn a_second_opener_is_told_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }
}
