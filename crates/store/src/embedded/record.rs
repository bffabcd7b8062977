//! The form of one commit on the disk.
//!
//! `[operation u8][create revision u64 LE][key length u32 LE][key][value]`; the revision is the record's key in the log.
//!
//! # Absent
//! Checksums: the engine and the journal have their own.

use bytes::Bytes;

use crate::Revision;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEAD_BYTES: usize = 1 + 8 + 4;

/// One commit as it is read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When the key came to be.
    pub(super) create_revision: Revision,
    /// The key.
    pub(super) key: Bytes,
    /// What was written; None: the key was deleted.
    pub(super) value: Option<Bytes>,
}

/// The bytes of one commit.
pub(super) fn encode(create_revision: Revision, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let body = value.unwrap_or_default();
    let mut out = Vec::with_capacity(HEAD_BYTES + key.len() + body.len());
    out.push(if value.is_some() { PUT } else { DELETE });
    out.extend_from_slice(&create_revision.0.to_le_bytes());
    // A key is bounded far below 4 GiB by the writer's queue.
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(body);
    out
}

/// Reads back what [`encode`] wrote; None if it is something else.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let (&operation, rest) = bytes.split_first()?;
    let (create, rest) = rest.split_first_chunk::<8>()?;
    let (key_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, body) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let value = match operation {
        PUT => Some(Bytes::copy_from_slice(body)),
        DELETE if body.is_empty() => None,
        _ => return None,
    };
    Some(Record { create_revision: Revision(u64::from_le_bytes(*create)), key: Bytes::copy_from_slice(key), value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        for (key, value) in [("k", Some("v")), ("k", Some("")), ("", Some("v")), ("k", None), ("", None)] {
            let bytes = encode(Revision(7), key.as_bytes(), value.map(str::as_bytes));
            let want = Record {
                create_revision: Revision(7),
                key: Bytes::from(key),
                value: value.map(|v| Bytes::from(v.to_owned())),
            };
            assert_eq!(decode(&bytes), Some(want), "{key} {value:?}");
        }
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        let good = encode(Revision(1), b"key", Some(b"value"));
        let cases: [(&str, Vec<u8>); 5] = [
            ("empty", vec![]),
            ("cut in the head", good[..9].to_vec()),
            ("cut in the key", good[..14].to_vec()),
            ("unknown operation", [&[9], &good[1..]].concat()),
            ("delete with a value", [&[DELETE], &good[1..]].concat()),
        ];
        for (name, bytes) in cases {
            assert_eq!(decode(&bytes), None, "{name}");
        }
    }
}
