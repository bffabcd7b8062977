//! Which values are kept compressed, and how: those of kinds that are many, alike, and seldom read.
//!
//! A value is packed against one that came before it and is kept plain: what the two have in common takes next to no room.
//! A value that has little in common with that one stays plain, and those after it are packed against it.
//!
//! # Invariants
//! - What was packed reads back the same, whatever it is and whatever came after it.
//! - What is kept is smaller than the plain value, or is the plain value.
//!
//! # Absent
//! The disk, the hub and clients: they all have the plain value.

use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block;

use super::limits::{PACKED_BYTES_MAX, PACKED_SHARE};
use crate::{Entry, Revision};

/// Packs what comes in one order.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// A prefix of keys whose values are packed, and what those that come next are packed against.
    dictionaries: Vec<(&'static [u8], Bytes)>,
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
    pub(crate) fn new(prefixes: &[&'static [u8]]) -> Self {
        Self { dictionaries: prefixes.iter().map(|prefix| (*prefix, Bytes::new())).collect() }
    }

    /// How an entry is kept.
    pub(crate) fn keep(&mut self, entry: &Entry) -> Arc<Kept> {
        let Entry { key, create_revision, mod_revision, .. } = entry;
        let value = match self.dictionaries.iter_mut().find(|(prefix, _)| key.starts_with(prefix)) {
            Some((_, dictionary)) if entry.value.len() <= PACKED_BYTES_MAX => pack(&entry.value, dictionary),
            _ => Value::Plain(entry.value.clone()),
        };
        Arc::new(Kept { key: key.clone(), value, create_revision: *create_revision, mod_revision: *mod_revision })
    }
}

fn pack(value: &Bytes, dictionary: &mut Bytes) -> Value {
    let bytes = block::compress_with_dict(value, dictionary);
    if bytes.len() < value.len() / PACKED_SHARE {
        // Boxed with no room to grow.
        let bytes = bytes.as_slice().into();
        return Value::Packed { bytes, plain_bytes: value.len(), dictionary: dictionary.clone() };
    }
    *dictionary = value.clone();
    Value::Plain(value.clone())
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
        ];
        let kept: Vec<_> = cases.iter().map(|(key, value, _)| packer.keep(&entry(key, value))).collect();
        for ((key, value, packed), kept) in cases.iter().zip(&kept) {
            assert_eq!(is_packed(kept), *packed, "{key}");
            assert_eq!(kept.value_bytes() < 30, *packed, "{key}");
            assert_eq!(kept.entry(), entry(key, value), "{key}");
        }
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
