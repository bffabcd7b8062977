//! Which of etcd's keys are ours, and what stands where.
//!
//! `PREFIX/keys` and the key of an entry; beside them `PREFIX/meta/`, what servers tell each other.

/// Where the keys of one cluster are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    entries: Vec<u8>,
    meta: Vec<u8>,
    whole: Vec<u8>,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Layout {
        Layout {
            entries: format!("{prefix}/keys").into_bytes(),
            meta: format!("{prefix}/meta/").into_bytes(),
            whole: format!("{prefix}/").into_bytes(),
        }
    }

    /// The key of an entry, or where a prefix begins.
    pub(super) fn entry(&self, key: &[u8]) -> Vec<u8> {
        [self.entries.as_slice(), key].concat()
    }

    /// The key of a fact.
    pub(super) fn fact(&self, name: &str) -> Vec<u8> {
        [self.meta.as_slice(), name.as_bytes()].concat()
    }

    /// Begin and end of all that is ours.
    pub(super) fn everything(&self) -> (Vec<u8>, Vec<u8>) {
        (self.whole.clone(), end(&self.whole))
    }

    /// The store's key of one of etcd's; None for what is no entry.
    pub(super) fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.entries.as_slice())
    }
}

/// The first key behind all that begin with `prefix`.
pub(super) fn end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd's word for: to the last key.
    vec![0]
}

/// The first key behind `key`.
pub(super) fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_behind_their_last_key() {
        for (prefix, want) in [(&b"/a"[..], &b"/b"[..]), (b"/a\xff", b"/b"), (b"\xff\xff", b"\0"), (b"a/", b"a0")] {
            assert_eq!(end(prefix), want);
        }
    }

    #[test]
    fn entries_and_facts_are_apart() {
        let layout = Layout::new("/x");
        assert_eq!(layout.strip(&layout.entry(b"/registry/a")), Some(&b"/registry/a"[..]));
        assert_eq!(layout.strip(&layout.fact("compaction")), None);
        let (from, to) = layout.everything();
        for key in [layout.entry(b"\xff"), layout.fact("a")] {
            assert!(from <= key && key < to);
        }
    }
}
