//! The newest batches, in a small file that is written from its begin again and again.
//!
//! `[payload length u32 LE][CRC-32 of the payload u32 LE][payload]` for each batch; the payload is, for each of its records,
//! `[revision u64 LE][length u32 LE][record]`.
//!
//! # Invariants
//! - A batch counts only whole: a torn one fails its checksum. It can only be the last of its round, since each is made durable
//!   before the next one; newer ones behind it say that the disk has lost what was acknowledged.
//! - Of what earlier rounds left behind nothing counts: revisions only grow, and what is read ends where they do not.
//! - After a failed write nothing is written here until a new round begins: what is read ends at what the log has, so a batch
//!   behind one that reached the log after all would be missed.
//!
//! # Absent
//! What is older: the log has that on the disk before a new round begins.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::limits::JOURNAL_BYTES_MAX;
use crate::Revision;

const FILE: &str = "journal";
const HEAD_BYTES: usize = 4 + 4;
const RECORD_HEAD_BYTES: usize = 8 + 4;

/// A record and its revision.
pub(super) type Numbered = (Revision, Vec<u8>);

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Where the next batch goes; None after a failure, until a new round.
    end: Option<usize>,
}

impl Journal {
    /// Opens the journal of a directory, making an empty one if need be, and reads the batches that are newer than `newest`.
    ///
    /// # Errors
    /// When the disk says no; `InvalidData` when it no longer has what was written.
    pub(super) fn open(dir: &Path, newest: Revision) -> io::Result<(Self, Vec<Numbered>)> {
        let path = dir.join(FILE);
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        // Its name has to be there after a power cut, too, whoever made it and was killed then.
        File::open(dir)?.sync_all()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, end) = read(&bytes, newest)?;
        Ok((Self { file, end: Some(end) }, records))
    }

    /// Makes a batch durable, if there is room for it. False: there is none in this round.
    ///
    /// # Errors
    /// When the disk says no; then the batch may be here nevertheless, until the next round.
    pub(super) fn append(&mut self, records: &[Numbered]) -> io::Result<bool> {
        let Some(at) = self.end else { return Ok(false) };
        let length = HEAD_BYTES + records.iter().map(|(_, record)| RECORD_HEAD_BYTES + record.len()).sum::<usize>();
        if at + length > JOURNAL_BYTES_MAX {
            return Ok(false);
        }
        self.end = None;
        self.file.write_all_at(&frame(records, length), at as u64)?;
        self.file.sync_data()?;
        self.end = Some(at + length);
        Ok(true)
    }

    /// Begins anew: everything in it is on the disk elsewhere.
    pub(super) fn restart(&mut self) {
        self.end = Some(0);
    }

    /// Lets the next write fail.
    #[cfg(test)]
    pub(super) fn break_it(&mut self) {
        self.file = File::open("/dev/null").unwrap();
    }
}

fn frame(records: &[Numbered], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&[0; HEAD_BYTES]);
    for (revision, record) in records {
        out.extend_from_slice(&revision.0.to_le_bytes());
        // Bounded by the journal's size.
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(record);
    }
    let payload = &out[HEAD_BYTES..];
    let (length, sum) = (payload.len() as u32, crc32fast::hash(payload));
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The records of all batches of this round, and where they end.
fn read(bytes: &[u8], mut newest: Revision) -> io::Result<(Vec<Numbered>, usize)> {
    let (mut all, mut end) = (Vec::new(), 0);
    while let Some((payload, rest)) = payload(&bytes[end..]) {
        let Some((records, last)) = newer(payload, newest) else { return Ok((all, end)) };
        newest = last;
        all.extend(records);
        end = bytes.len() - rest.len();
    }
    let is_newer = |at: &usize| payload(&bytes[*at..]).is_some_and(|(payload, _)| newer(payload, newest).is_some());
    match (end..bytes.len()).find(is_newer) {
        None => Ok((all, end)),
        Some(at) => {
            let why = format!(
                "{FILE} is unreadable from byte {end} on, and has newer commits at byte {at}; without that file the store opens \
                 and lacks all of its commits, the newest {} KiB at most",
                JOURNAL_BYTES_MAX >> 10
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
    }
}

/// The records of a batch and the revision of the last one, if all are newer than `newest`, in order, and there are any.
fn newer(payload: &[u8], newest: Revision) -> Option<(Vec<Numbered>, Revision)> {
    let records = records(payload)?;
    let last = records.iter().try_fold(newest, |last, (revision, _)| (*revision > last).then_some(*revision))?;
    (last > newest).then_some((records, last))
}

/// The payload of the batch that `bytes` begin with, if it is whole, and what follows it.
fn payload(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*sum)).then_some((payload, rest))
}

fn records(mut payload: &[u8]) -> Option<Vec<Numbered>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (revision, rest) = payload.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        records.push((Revision(u64::from_le_bytes(*revision)), record.to_vec()));
        payload = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn batch(revisions: &[u64]) -> Vec<Numbered> {
        revisions.iter().map(|number| (Revision(*number), format!("record {number}").into_bytes())).collect()
    }

    fn revisions(records: &[Numbered]) -> Vec<u64> {
        records.iter().map(|(revision, _)| revision.0).collect()
    }

    #[test]
    fn what_was_appended_is_read_again_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, nothing) = Journal::open(dir.path(), Revision(0)).unwrap();
        assert_eq!(nothing, []);
        assert!(journal.append(&batch(&[1, 2])).unwrap());
        assert!(journal.append(&batch(&[5])).unwrap());
        let (mut journal, records) = Journal::open(dir.path(), Revision(0)).unwrap();
        assert_eq!(records, batch(&[1, 2, 5]));
        assert!(journal.append(&batch(&[6])).unwrap());
        assert_eq!(Journal::open(dir.path(), Revision(0)).unwrap().1, batch(&[1, 2, 5, 6]));
    }

    #[test]
    fn of_an_earlier_round_nothing_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), Revision(0)).unwrap();
        for number in 1..6 {
            assert!(journal.append(&batch(&[number])).unwrap());
        }
        assert_eq!(Journal::open(dir.path(), Revision(5)).unwrap().1, []);
        journal.restart();
        // As long as a batch of the round before, which then follows it.
        assert!(journal.append(&batch(&[6])).unwrap());
        assert_eq!(revisions(&Journal::open(dir.path(), Revision(5)).unwrap().1), [6]);
    }

    #[test]
    fn a_batch_counts_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), Revision(0)).unwrap();
        assert!(journal.append(&batch(&[1, 2])).unwrap());
        let first = fs::read(dir.path().join(FILE)).unwrap().len();
        assert!(journal.append(&batch(&[3, 4])).unwrap());
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..whole.len() {
            let want: &[u64] = if at < first { &[] } else { &[1, 2] };
            assert_eq!(revisions(&read(&whole[..at], Revision(0)).unwrap().0), want, "cut at {at}");
            let mut torn = whole.clone();
            torn[at] ^= 0x10;
            let read = read(&torn, Revision(0));
            if at < first {
                let error = read.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "another byte at {at}, before a newer batch");
                assert!(error.to_string().contains(&format!("has newer commits at byte {first};")), "{error}");
            } else {
                assert_eq!(revisions(&read.unwrap().0), want, "another byte at {at}");
            }
        }
        assert_eq!(revisions(&read(&whole, Revision(0)).unwrap().0), [1, 2, 3, 4]);
    }

    #[test]
    fn a_torn_batch_before_an_earlier_round_is_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), Revision(0)).unwrap();
        for number in 11..16 {
            assert!(journal.append(&batch(&[number])).unwrap());
        }
        journal.restart();
        assert!(journal.append(&batch(&[16])).unwrap());
        assert!(journal.append(&batch(&[17])).unwrap());
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        let length = whole.len() / 5;
        for at in length..2 * length {
            let mut torn = whole.clone();
            torn[at] ^= 0x10;
            assert_eq!(revisions(&read(&torn, Revision(15)).unwrap().0), [16], "another byte at {at}");
        }
    }

    #[test]
    fn garbage_is_nothing() {
        let zeros = vec![0; 64];
        let long = [&u32::MAX.to_le_bytes()[..], &[0; 60]].concat();
        let falling = frame(&batch(&[9, 8]), 0);
        for bytes in [&zeros, &long, &falling] {
            assert_eq!(read(bytes, Revision(0)).unwrap(), (vec![], 0));
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_left_to_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), Revision(0)).unwrap();
        let half = |number: u64| vec![(Revision(number), vec![b'x'; JOURNAL_BYTES_MAX / 2])];
        assert!(journal.append(&half(1)).unwrap());
        assert!(!journal.append(&half(2)).unwrap());
        assert!(journal.append(&batch(&[2])).unwrap(), "a smaller one still does");
        journal.restart();
        assert!(journal.append(&half(3)).unwrap());
        assert!(fs::metadata(dir.path().join(FILE)).unwrap().len() <= JOURNAL_BYTES_MAX as u64);
    }

    #[test]
    fn after_a_failure_nothing_is_written_until_a_new_round() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path(), Revision(0)).unwrap();
        journal.break_it();
        journal.append(&batch(&[1])).unwrap_err();
        journal.file = OpenOptions::new().write(true).open(dir.path().join(FILE)).unwrap();
        assert!(!journal.append(&batch(&[2])).unwrap());
        journal.restart();
        assert!(journal.append(&batch(&[3])).unwrap());
        assert_eq!(revisions(&Journal::open(dir.path(), Revision(0)).unwrap().1), [3]);
    }
}
