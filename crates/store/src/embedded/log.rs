//! The commits on the disk, by revision: one redb table that only the writer touches.
//!
//! # Invariants
//! - A batch is on the disk whole or not at all, and is there when [`Log::append`] returns.
//! - What a failed batch may have left behind is removed by the next batch that succeeds.
//! - A database that failed once is not trusted again: it is closed, and opened anew (which repairs it) by the next batch.
//!
//! # Absent
//! Reads while the store runs: memory answers those.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::dir::{DataDir, OpenError};
use super::limits::ENGINE_CACHE_BYTES;
use crate::Revision;

/// Revision to record.
const COMMITS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("commits");
/// Facts about the log.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
/// The revision up to which history was forgotten.
const COMPACTED: &str = "compacted";
const FILE: &str = "log.redb";

/// What goes to the disk together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// New records, in order.
    pub(super) records: Vec<(Revision, Vec<u8>)>,
    /// Records that a compaction lets go.
    pub(super) removals: Vec<Revision>,
    /// The compaction's revision.
    pub(super) compacted: Option<Revision>,
}

/// The log of one data directory.
#[derive(Debug)]
pub(super) struct Log {
    /// None after a failure, until it could be opened again.
    database: Option<Database>,
    path: PathBuf,
    compacted: Revision,
    /// First and last revision of batches that failed: they may be on the disk, and nobody was told of them.
    doubtful: Option<(Revision, Revision)>,
    /// Declared last, so that the lock is given up after the database is closed.
    _dir: DataDir,
}

impl Log {
    /// Opens the log, making an empty one in a new directory.
    pub(super) fn open(dir: DataDir) -> Result<Self, OpenError> {
        let path = dir.path().join(FILE);
        let explain = |e: redb::Error| explain(dir.path(), &path, e);
        if !path.exists() {
            create(dir.path()).map_err(explain)?;
        }
        let database = open(&path).map_err(|e| explain(e.into()))?;
        let compacted = read_compacted(&database).map_err(explain)?;
        Ok(Self { database: Some(database), compacted, doubtful: None, path, _dir: dir })
    }

    /// The revision up to which history was forgotten, as it was when the log was opened.
    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Shows every record in the order of revisions.
    pub(super) fn read_all(
        &mut self,
        mut see: impl FnMut(Revision, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let database = self.database().map_err(|e| e.to_string())?;
        let read = || -> Result<_, redb::Error> { Ok(database.begin_read()?.open_table(COMMITS)?) };
        let table = read().map_err(|e| e.to_string())?;
        for item in table.iter().map_err(|e| e.to_string())? {
            let (revision, record) = item.map_err(|e| e.to_string())?;
            see(Revision(revision.value()), record.value())?;
        }
        Ok(())
    }

    /// Makes the batch durable.
    ///
    /// # Errors
    /// When the disk says no; then nothing of the batch counts, and later batches are tried on a database opened anew.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let doubtful = self.doubtful;
        let written = self.database().and_then(|database| write(database, batch, doubtful));
        match written {
            Ok(()) => self.doubtful = None,
            Err(_) => {
                self.database = None;
                if let (Some((first, _)), Some((last, _))) = (batch.records.first(), batch.records.last()) {
                    self.doubtful = Some((doubtful.map_or(*first, |(oldest, _)| oldest), *last));
                }
            }
        }
        written
    }

    fn database(&mut self) -> Result<&Database, redb::Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        Ok(self.database.insert(database))
    }
}

fn write(database: &Database, batch: &Batch, doubtful: Option<(Revision, Revision)>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut commits = transaction.open_table(COMMITS)?;
        if let Some((first, last)) = doubtful {
            commits.retain_in(first.0..=last.0, |_, _| false)?;
        }
        for (revision, record) in &batch.records {
            commits.insert(revision.0, record.as_slice())?;
        }
        for revision in &batch.removals {
            commits.remove(revision.0)?;
        }
        if let Some(compacted) = batch.compacted {
            transaction.open_table(FACTS)?.insert(COMPACTED, compacted.0)?;
        }
    }
    // The default durability: returns after fsync.
    Ok(transaction.commit()?)
}

fn open(path: &Path) -> Result<Database, DatabaseError> {
    redb::Builder::new().set_cache_size(ENGINE_CACHE_BYTES).open(path)
}

/// Makes an empty log under another name first: a crash half-way leaves no file that looks like a damaged log.
fn create(dir: &Path) -> Result<(), redb::Error> {
    let new = dir.join(format!("{FILE}.new"));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(redb::Error::Io(e)),
        _ => {}
    }
    let database = redb::Builder::new().set_cache_size(ENGINE_CACHE_BYTES).create(&new)?;
    write(&database, &Batch { compacted: Some(Revision(0)), ..Batch::default() }, None)?;
    drop(database);
    fs::rename(&new, dir.join(FILE)).and_then(|()| File::open(dir)?.sync_all()).map_err(redb::Error::Io)
}

fn read_compacted(database: &Database) -> Result<Revision, redb::Error> {
    let facts = match database.begin_read()?.open_table(FACTS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Revision(0)),
        facts => facts?,
    };
    Ok(Revision(facts.get(COMPACTED)?.map_or(0, |found| found.value())))
}

fn explain(dir: &Path, path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { dir: dir.to_owned() },
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path: path.to_owned(), source }
        }
        other => OpenError::Damaged { dir: dir.to_owned(), why: other.to_string() },
    }
}
