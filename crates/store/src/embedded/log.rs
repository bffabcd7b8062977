//! The commits on the disk, by revision: one redb table that only the writer touches, and before it a journal of the newest
//! batches, so that the engine gets many small ones as one.
//!
//! # Invariants
//! - A batch is on the disk whole or not at all, and is there when [`Log::append`] returns.
//! - What only the journal has is in memory, too, and goes to the table before anything is removed there, before the journal
//!   begins anew, and at a clean end.
//! - After a failure all goes to the table until something succeeds there: what failed may be there nevertheless, and then the
//!   journal counts for nothing.
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
use super::journal::{Journal, Numbered};
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
    pub(super) records: Vec<Numbered>,
    /// Records that a compaction lets go; none without its revision.
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
    journal: Journal,
    /// What the journal has and the table does not.
    pending: Vec<Numbered>,
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
        let newest = read_newest(&database).map_err(explain)?.max(compacted);
        let (journal, pending) = Journal::open(dir.path(), newest).map_err(|e| explain(redb::Error::Io(e)))?;
        Ok(Self { database: Some(database), journal, pending, compacted, doubtful: None, path, _dir: dir })
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
        self.pending.iter().try_for_each(|(revision, record)| see(*revision, record))
    }

    /// Makes the batch durable.
    ///
    /// # Errors
    /// When the disk says no; then nothing of the batch counts, and later batches are tried on a database opened anew.
    pub(super) fn append(&mut self, batch: Batch) -> Result<(), redb::Error> {
        if self.is_for_journal(&batch) {
            match self.journal.append(&batch.records) {
                Ok(true) => {
                    self.pending.extend(batch.records);
                    return Ok(());
                }
                Ok(false) => {}
                Err(e) => tracing::warn!(error = %e, "the store's journal can't be written: the log takes its place"),
            }
        }
        self.append_to_table(&batch)
    }

    /// Whether a batch only adds, and the table is in no doubt.
    fn is_for_journal(&self, batch: &Batch) -> bool {
        self.database.is_some() && batch.compacted.is_none()
    }

    fn append_to_table(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let (doubtful, pending) = (self.doubtful, std::mem::take(&mut self.pending));
        let written = self.database().and_then(|database| write(database, &pending, batch, doubtful));
        match written {
            Ok(()) => {
                self.doubtful = None;
                self.journal.restart();
            }
            Err(_) => {
                self.pending = pending;
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

impl Drop for Log {
    fn drop(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(e) = self.append_to_table(&Batch::default()) {
            tracing::warn!(error = %e, "the store's log can't be written at the end: its journal keeps the newest commits");
        }
    }
}

fn write(
    database: &Database,
    pending: &[Numbered],
    batch: &Batch,
    doubtful: Option<(Revision, Revision)>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut commits = transaction.open_table(COMMITS)?;
        if let Some((first, last)) = doubtful {
            commits.retain_in(first.0..=last.0, |_, _| false)?;
        }
        for (revision, record) in pending.iter().chain(&batch.records) {
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
    write(&database, &[], &Batch { compacted: Some(Revision(0)), ..Batch::default() }, None)?;
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

/// The newest revision of a record.
fn read_newest(database: &Database) -> Result<Revision, redb::Error> {
    let commits = match database.begin_read()?.open_table(COMMITS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Revision(0)),
        commits => commits?,
    };
    Ok(Revision(commits.last()?.map_or(0, |(revision, _)| revision.value())))
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

#[cfg(test)]
mod tests {
    use super::super::limits::JOURNAL_BYTES_MAX;
    use super::*;

    fn open_in(dir: &Path) -> Log {
        Log::open(DataDir::open(dir).unwrap()).unwrap()
    }

    fn records(log: &mut Log) -> Vec<Numbered> {
        let mut all = Vec::new();
        log.read_all(|revision, record| {
            all.push((revision, record.to_vec()));
            Ok(())
        })
        .unwrap();
        all
    }

    /// What a kill would leave at this moment, opened: nothing is under way when this is called.
    fn after_a_kill(dir: &Path) -> (Vec<Numbered>, Revision) {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let mut log = open_in(copy.path());
        (records(&mut log), log.compacted())
    }

    fn adds(revision: u64, bytes: usize) -> Batch {
        let record = vec![u8::try_from(revision % 251).unwrap(); bytes];
        Batch { records: vec![(Revision(revision), record)], ..Batch::default() }
    }

    fn removes(upto: u64, revisions: &[u64]) -> Batch {
        let removals = revisions.iter().map(|number| Revision(*number)).collect();
        Batch { removals, compacted: Some(Revision(upto)), ..Batch::default() }
    }

    #[test]
    fn a_kill_after_any_batch_leaves_all_that_was_written_and_nothing_that_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        let (mut want, mut compacted) = (Vec::new(), Revision(0));
        // Rounds of the journal, batches too large for it, and compactions of what is in the table and in the journal.
        let batches = (1..=60).map(|number| match number {
            20 | 21 => adds(number, JOURNAL_BYTES_MAX + 1),
            30 => removes(29, &[3, 28, 29]),
            31 => removes(30, &[20]),
            _ => adds(number, JOURNAL_BYTES_MAX / 5),
        });
        for batch in batches {
            want.extend(batch.records.clone());
            want.retain(|(revision, _)| !batch.removals.contains(revision));
            compacted = batch.compacted.unwrap_or(compacted);
            log.append(batch).unwrap();
            assert_eq!(after_a_kill(dir.path()), (want.clone(), compacted));
        }
        assert!(!log.pending.is_empty(), "some are only in the journal");
        drop(log);
        let mut log = open_in(dir.path());
        assert_eq!((records(&mut log), log.pending.len()), (want, 0), "a clean end leaves nothing to the journal");
    }

    #[test]
    fn a_journal_without_what_came_before_its_newest_commits_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        log.append(adds(1, 100)).unwrap();
        log.append(adds(2, 100)).unwrap();
        let journal = fs::read(dir.path().join("journal")).unwrap();
        let opened = |at: usize| {
            let copy = tempfile::tempdir().unwrap();
            for file in ["FORMAT", FILE] {
                fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
            }
            let mut bytes = journal.clone();
            bytes[at] ^= 0xff;
            fs::write(copy.path().join("journal"), bytes).unwrap();
            Log::open(DataDir::open(copy.path()).unwrap()).map(|mut log| records(&mut log))
        };
        assert_eq!(opened(journal.len() - 1).unwrap(), adds(1, 100).records, "the last one is as if it had been torn");
        let error = opened(50).unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged { why, .. } if why.contains("journal is unreadable from byte 0 on")),
            "{error}"
        );
    }

    #[test]
    fn a_batch_that_failed_is_gone_before_the_next_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        log.append(adds(1, 10)).unwrap();
        // What a failed commit may leave: there, although nobody was told of it.
        write(log.database().unwrap(), &[], &adds(2, 10), None).unwrap();
        let path = std::mem::replace(&mut log.path, dir.path().join("gone"));
        log.database = None;
        log.append(Batch { compacted: Some(Revision(0)), ..adds(2, 10) }).unwrap_err();
        log.append(adds(3, 10)).unwrap_err();
        log.path = path;
        log.append(adds(4, 10)).unwrap();
        let revisions = |records: Vec<Numbered>| records.iter().map(|(revision, _)| revision.0).collect::<Vec<_>>();
        assert_eq!(revisions(after_a_kill(dir.path()).0), [1, 4]);
        log.append(adds(5, 10)).unwrap();
        assert_eq!(revisions(after_a_kill(dir.path()).0), [1, 4, 5]);
        assert_eq!(revisions(log.pending.clone()), [5]);
    }

    #[test]
    fn what_follows_a_failure_that_was_none_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        log.append(adds(1, 10)).unwrap();
        log.append(adds(2, 10)).unwrap();
        // The disk did what it was asked, and said that it did not.
        let (pending, compaction) = (log.pending.clone(), removes(1, &[1]));
        write(log.database().unwrap(), &pending, &compaction, None).unwrap();
        let path = std::mem::replace(&mut log.path, dir.path().join("gone"));
        log.database = None;
        log.append(compaction).unwrap_err();
        log.path = path;
        log.append(adds(3, 10)).unwrap();
        // The first is there again, as it is in memory: the compaction is still to be done.
        assert_eq!(after_a_kill(dir.path()).0, [1, 2, 3].map(|number| adds(number, 10).records.remove(0)));
    }

    #[test]
    fn what_a_compaction_took_from_the_end_does_not_come_back_from_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        log.append(adds(1, 10)).unwrap();
        log.append(removes(0, &[])).unwrap();
        log.append(adds(2, 10)).unwrap();
        log.append(removes(2, &[2])).unwrap();
        assert_eq!(after_a_kill(dir.path()), (adds(1, 10).records, Revision(2)));
    }

    #[test]
    fn a_journal_that_fails_costs_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_in(dir.path());
        log.append(adds(1, 10)).unwrap();
        log.journal.break_it();
        log.append(adds(2, 10)).unwrap();
        log.append(adds(3, 10)).unwrap();
        assert_eq!(after_a_kill(dir.path()).0, [1, 2, 3].map(|number| adds(number, 10).records.remove(0)));
    }
}
