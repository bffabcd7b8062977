//! What controllers wrote and have not seen come back on the watch.
//!
//! A plan made on data that lacks the last plan's writes would repeat them: create a second pod on a node, count a
//! deleted one as there. So a set is planned again only when the data shows what was written for it.
//!
//! Invariants: an entry goes when it is seen, when a list begun after it was made is complete, or after
//! [`WRITES_SEEN_MAX`].
//!
//! Absent: counting expectations; each write is known by what it changed.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use crate::key::Key;
use crate::limits::WRITES_SEEN_MAX;

/// The object that writes were made for: plural of its kind, and key.
pub(crate) type Set = (&'static str, Key);

/// What one set waits for.
#[derive(Default)]
struct Waiting {
    /// Pods created, with their UID.
    created: BTreeMap<Key, String>,
    /// Pods deleted, with their UID.
    deleted: BTreeMap<Key, String>,
    /// Pods patched, with the version after it.
    patched: BTreeMap<Key, u64>,
    /// Other objects: plural, key and the version after the write; version 0 means that it was deleted.
    others: BTreeMap<(&'static str, Key), u64>,
    last: Option<Instant>,
}

/// What controllers wrote and have not seen come back.
#[derive(Default)]
pub(crate) struct Written(HashMap<Set, Waiting>);

impl Written {
    fn entry(&mut self, set: &Set) -> &mut Waiting {
        let waiting = self.0.entry(set.clone()).or_default();
        waiting.last = Some(Instant::now());
        waiting
    }

    pub(crate) fn pod_created(&mut self, set: &Set, pod: Key, uid: String) {
        self.entry(set).created.insert(pod, uid);
    }

    pub(crate) fn pod_deleted(&mut self, set: &Set, pod: Key, uid: String) {
        self.entry(set).deleted.insert(pod, uid);
    }

    pub(crate) fn pod_patched(&mut self, set: &Set, pod: Key, version: u64) {
        self.entry(set).patched.insert(pod, version);
    }

    pub(crate) fn changed(&mut self, set: &Set, plural: &'static str, key: Key, version: u64) {
        self.entry(set).others.insert((plural, key), version);
    }

    /// A pod is gone: nobody need wait to see it created.
    pub(crate) fn pod_gone(&mut self, set: &Set, pod: &Key) {
        if let Some(waiting) = self.0.get_mut(set) {
            waiting.created.remove(pod);
        }
    }

    /// A list begun at `began` is complete: what was written before is seen.
    pub(crate) fn listed(&mut self, began: Instant) {
        self.0.retain(|_, waiting| waiting.last.is_none_or(|last| last >= began));
    }

    /// Forgets a set.
    pub(crate) fn forget(&mut self, set: &Set) {
        self.0.remove(set);
    }

    /// True when everything written for `set` shows in the data: `pod` gives UID, deletion and version of a pod, `other`
    /// the version of another object.
    pub(crate) fn is_seen(
        &mut self,
        set: &Set,
        pod: impl Fn(&Key) -> Option<(String, bool, u64)>,
        other: impl Fn(&str, &Key) -> Option<u64>,
    ) -> bool {
        let Some(waiting) = self.0.get_mut(set) else { return true };
        waiting.created.retain(|key, uid| pod(key).is_none_or(|(seen, ..)| seen != *uid));
        waiting.deleted.retain(|key, uid| pod(key).is_some_and(|(seen, going, _)| seen == *uid && !going));
        waiting.patched.retain(|key, version| pod(key).is_some_and(|(_, _, seen)| seen < *version));
        waiting.others.retain(|(plural, key), version| match other(plural, key) {
            None => *version != 0 && *plural == "controllerrevisions",
            Some(seen) => *version == 0 || seen < *version,
        });
        let empty = waiting.created.is_empty()
            && waiting.deleted.is_empty()
            && waiting.patched.is_empty()
            && waiting.others.is_empty();
        let late = waiting.last.is_none_or(|last| last.elapsed() > WRITES_SEEN_MAX);
        if late && !empty {
            tracing::warn!(kind = set.0, key = %set.1, "own writes did not come back on the watch, going on without");
        }
        if empty || late {
            self.0.remove(set);
        }
        empty || late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Set {
        ("daemonsets", Key::new("x", "d"))
    }

    fn seen(written: &mut Written, pod: Option<(&str, bool, u64)>, other: Option<u64>) -> bool {
        written.is_seen(&set(), |_| pod.map(|(uid, going, version)| (uid.to_owned(), going, version)), |_, _| other)
    }

    #[tokio::test(start_paused = true)]
    async fn each_write_is_waited_for_until_it_shows() {
        let pod = || Key::new("x", "p");
        let mut written = Written::default();
        assert!(seen(&mut written, None, None), "nothing written, nothing to wait for");
        written.pod_created(&set(), pod(), "u".into());
        assert!(!seen(&mut written, None, None));
        assert!(!seen(&mut written, Some(("older", false, 1)), None));
        assert!(seen(&mut written, Some(("u", false, 1)), None));
        written.pod_deleted(&set(), pod(), "u".into());
        assert!(!seen(&mut written, Some(("u", false, 1)), None));
        assert!(seen(&mut written, Some(("u", true, 2)), None));
        written.pod_patched(&set(), pod(), 7);
        assert!(!seen(&mut written, Some(("u", false, 6)), None));
        assert!(seen(&mut written, Some(("u", false, 7)), None));
        written.changed(&set(), "controllerrevisions", Key::new("x", "r"), 9);
        assert!(!seen(&mut written, None, None), "a new revision is waited for");
        assert!(seen(&mut written, None, Some(9)));
        written.changed(&set(), "controllerrevisions", Key::new("x", "r"), 0);
        assert!(!seen(&mut written, None, Some(9)), "a deleted one too");
        assert!(seen(&mut written, None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_set_of_an_old_name_waits_for_nothing() {
        let mut written = Written::default();
        written.pod_created(&set(), Key::new("x", "p"), "u".into());
        assert!(!seen(&mut written, None, None));
        written.forget(&set());
        assert!(seen(&mut written, None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_by_deletion_list_or_time() {
        let mut written = Written::default();
        written.pod_created(&set(), Key::new("x", "p"), "u".into());
        written.pod_gone(&set(), &Key::new("x", "p"));
        assert!(seen(&mut written, None, None));
        written.pod_created(&set(), Key::new("x", "p"), "u".into());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        written.listed(Instant::now());
        assert!(seen(&mut written, None, None));
        written.pod_created(&set(), Key::new("x", "p"), "u".into());
        assert!(!seen(&mut written, None, None));
        tokio::time::advance(WRITES_SEEN_MAX * 2).await;
        assert!(seen(&mut written, None, None));
    }
}
