//! Which values are kept compressed, and how: those of kinds that are many and alike.
//!
//! A value is packed against one that came before it and is kept plain: what the two have in common takes next to no room.
//! A value that has little in common with that one stays plain, and those after it are packed against it. Keys that differ
//! only after their last hyphen, as the pods of a DaemonSet and the nodes of a fleet do, have one such value.
//!
//! # Invariants
//! - What was packed reads back the same, whatever it is and whatever came after it.
//! - What is kept is smaller than the plain value, or is the plain value.
//!
//! # Absent
//! The disk, the hub and clients: they all have the plain value.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block;

use super::limits::{DICTIONARIES_MAX, DICTIONARY_USES, PACKED_BYTES_MAX, PACKED_SHARE};
use crate::{Entry, Revision};

/// Packs what comes in one order.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// The values of keys that begin with one of these are packed.
    prefixes: &'static [&'static [u8]],
    /// What values are packed against, by what their keys have in common.
    dictionaries: HashMap<Box<[u8]>, Dictionary>,
}

#[derive(Debug)]
struct Dictionary {
    value: Bytes,
    /// How many values were packed against it.
    uses: usize,
}

/// One key as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) key: Bytes,
    value: Value,
    create_revision: Revision,
    pub(super) mod_revision: Revision,
}

#[derive(Debug)]
enum Value {
    Plain(Bytes),
    Packed { bytes: Box<[u8]>, plain_bytes: usize, dictionary: Bytes },
}

impl Packer {
    /// Packs the values of keys that begin with one of these.
    pub(crate) fn new(prefixes: &'static [&'static [u8]]) -> Self {
        Self { prefixes, dictionaries: HashMap::new() }
    }

    /// How an entry is kept.
    pub(crate) fn keep(&mut self, entry: &Entry) -> Arc<Kept> {
        let Entry { key, create_revision, mod_revision, .. } = entry;
        let is_packed = entry.value.len() <= PACKED_BYTES_MAX && self.prefixes.iter().any(|p| key.starts_with(p));
        let value = if is_packed { self.pack(key, &entry.value) } else { Value::Plain(entry.value.clone()) };
        Arc::new(Kept { key: key.clone(), value, create_revision: *create_revision, mod_revision: *mod_revision })
    }

    fn pack(&mut self, key: &[u8], value: &Bytes) -> Value {
        let stem = stem(key);
        if let Some(dictionary) = self.dictionaries.get_mut(stem) {
            return dictionary.pack(value);
        }
        if self.dictionaries.len() == DICTIONARIES_MAX {
            self.dictionaries.clear();
        }
        self.dictionaries.insert(stem.into(), Dictionary { value: value.clone(), uses: 0 });
        Value::Plain(value.clone())
    }
}

/// What a key has in common with those of its kind.
fn stem(key: &[u8]) -> &[u8] {
    let end = key.iter().rposition(|byte| matches!(byte, b'-' | b'/'));
    &key[..end.map_or(0, |end| end + 1)]
}

impl Dictionary {
    fn pack(&mut self, value: &Bytes) -> Value {
        let bytes = block::compress_with_dict(value, &self.value);
        if bytes.len() >= value.len() / PACKED_SHARE {
            *self = Dictionary { value: value.clone(), uses: 0 };
            return Value::Plain(value.clone());
        }
        // Boxed with no room to grow.
        let packed =
            Value::Packed { bytes: bytes.as_slice().into(), plain_bytes: value.len(), dictionary: self.value.clone() };
        self.uses += 1;
        // Objects grow until they run: one that has all of it serves better than the first, which had nothing yet.
        if self.uses >= DICTIONARY_USES && value.len() >= self.value.len() {
            *self = Dictionary { value: value.clone(), uses: 0 };
        }
        packed
    }
}

impl Kept {
    /// What was kept.
    pub(crate) fn entry(&self) -> Entry {
        let Kept { key, create_revision, mod_revision, .. } = self;
        let value = match &self.value {
            Value::Plain(value) => value.clone(),
            Value::Packed { bytes, plain_bytes, dictionary } => {
                match block::decompress_with_dict(bytes, *plain_bytes, dictionary) {
                    Ok(value) => value.into(),
                    Err(e) => unreachable!("what was packed against a value is not read back against it: {e}"),
                }
            }
        };
        Entry { key: key.clone(), value, create_revision: *create_revision, mod_revision: *mod_revision }
    }

    /// How much the value takes.
    pub(super) fn value_bytes(&self) -> usize {
        match &self.value {
            Value::Plain(value) => value.len(),
            Value::Packed { bytes, .. } => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &[u8]) -> Entry {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::copy_from_slice(value));
        Entry { key, value, create_revision: Revision(3), mod_revision: Revision(5) }
    }

    fn packer() -> Packer {
        Packer::new(&[b"/events/", b"/leases/"])
    }

    /// Text without repetitions of its own.
    fn text(seed: u64) -> Vec<u8> {
        (1..100).flat_map(|n| (n * seed * 2_654_435_761 % 99_991).to_string().into_bytes()).collect()
    }

    fn is_packed(kept: &Kept) -> bool {
        matches!(kept.value, Value::Packed { .. })
    }

    #[test]
    fn what_is_like_one_before_it_is_packed() {
        let (one, other) = (text(3), text(5));
        let mut packer = packer();
        let cases = [
            ("/events/a", &one, false), // nothing before it
            ("/events/b", &one, true),
            ("/leases/a", &one, false), // another kind
            ("/pods/a", &one, false),   // not asked for
            ("/pods/b", &one, false),
            ("/events", &one, false),
            ("/events/c", &other, false), // unlike what came before it
            ("/events/d", &other, true),
            ("/leases/b", &one, true),
            ("/events/e", &one, false),
            ("/events/d/a-b", &one, false), // named like nothing before it
            ("/events/d/a-c", &one, true),
            ("/events/d/b-c", &other, false),
            ("/events/d/a-d", &one, true),
            ("/events/d/b-d", &other, true),
        ];
        let kept: Vec<_> = cases.iter().map(|(key, value, _)| packer.keep(&entry(key, value))).collect();
        for ((key, value, packed), kept) in cases.iter().zip(&kept) {
            assert_eq!(is_packed(kept), *packed, "{key}");
            assert_eq!(kept.value_bytes() < 30, *packed, "{key}");
            assert_eq!(kept.entry(), entry(key, value), "{key}");
        }
    }

    #[test]
    fn what_has_grown_is_packed_against_from_then_on() {
        let mut packer = packer();
        let (short, long) = (text(3), [text(3), text(5), text(7)].concat());
        packer.keep(&entry("/events/a", &short));
        let mut sizes = Vec::new();
        for _ in 0..=DICTIONARY_USES {
            sizes.push(packer.keep(&entry("/events/a", &[&long[..], &[b'x'; 3000]].concat())).value_bytes());
        }
        assert!(sizes[0] > 500 && sizes[DICTIONARY_USES - 1] == sizes[0], "{sizes:?}");
        assert!(sizes[DICTIONARY_USES] < 50, "{sizes:?}");
        // The short ones are a part of it, and do not take its place.
        for _ in 0..=DICTIONARY_USES {
            assert!(packer.keep(&entry("/events/a", &short)).value_bytes() < 50);
        }
        assert!(packer.keep(&entry("/events/a", &[&long[..], &[b'x'; 3000]].concat())).value_bytes() < 50);
    }

    #[test]
    fn names_without_end_take_no_room_without_end() {
        let mut packer = packer();
        for number in 0..DICTIONARIES_MAX + 5 {
            packer.keep(&entry(&format!("/events/{number}-"), b"x"));
        }
        assert_eq!(packer.dictionaries.len(), 5);
    }

    #[test]
    fn small_and_large_values_read_back() {
        let mut packer = packer();
        for value in [&b""[..], b"x", b"", &vec![b'x'; PACKED_BYTES_MAX], &vec![b'x'; PACKED_BYTES_MAX + 1], b"x"] {
            let kept = packer.keep(&entry("/events/a", value));
            assert_eq!(kept.entry(), entry("/events/a", value));
            assert_eq!(is_packed(&kept), value.len() == PACKED_BYTES_MAX, "{}", value.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_values_read_back(values: Vec<(Vec<u8>, u8)>) {
            let mut packer = packer();
            let values: Vec<Entry> =
                values.iter().map(|(value, times)| entry("/events/a", &value.repeat(usize::from(*times)))).collect();
            let kept: Vec<_> = values.iter().map(|value| packer.keep(value)).collect();
            for (kept, value) in kept.iter().zip(values) {
                proptest::prop_assert!(kept.value_bytes() <= value.value.len());
                proptest::prop_assert_eq!(kept.entry(), value);
            }
        }
    }
}
