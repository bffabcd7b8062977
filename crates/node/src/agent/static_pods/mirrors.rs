//! The mirror pods that the API server has for this node, as they were last seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use decide::static_pods::full_name;
use k8s_openapi::api::core::v1::Pod;

/// By namespace and name.
#[derive(Default)]
pub(crate) struct Mirrors(Mutex<BTreeMap<String, Arc<Pod>>>);

fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_ref()?.parse().ok()
}

impl Mirrors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Pod>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, full: &str) -> Option<Arc<Pod>> {
        self.lock().get(full).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Pod>> {
        self.lock().values().cloned().collect()
    }

    /// One was seen; what is older than what is known changes nothing.
    pub(super) fn note(&self, pod: Arc<Pod>) {
        let mut all = self.lock();
        let full = full_name(&pod);
        let newer = all
            .get(&full)
            .is_some_and(|known| known.metadata.uid == pod.metadata.uid && version(known) > version(&pod));
        if !newer {
            all.insert(full, pod);
        }
    }

    /// One is gone; another of its name stays.
    pub(super) fn forget(&self, pod: &Pod) {
        let mut all = self.lock();
        let full = full_name(pod);
        if all.get(&full).is_some_and(|known| known.metadata.uid == pod.metadata.uid) {
            all.remove(&full);
        }
    }

    /// The API server has those with these UIDs, and no others.
    pub(crate) fn keep(&self, uids: &[String]) {
        self.lock().retain(|_, pod| pod.metadata.uid.as_ref().is_some_and(|uid| uids.contains(uid)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, version: &str) -> Pod {
        let mut pod = Pod::default();
        (pod.metadata.namespace, pod.metadata.name) = (Some("d".to_owned()), Some("p".to_owned()));
        (pod.metadata.uid, pod.metadata.resource_version) = (Some(uid.to_owned()), Some(version.to_owned()));
        pod
    }

    #[test]
    fn the_newest_counts() {
        let mirrors = Mirrors::default();
        let seen = || mirrors.get("d/p").and_then(|pod| Some((pod.metadata.uid.clone()?, version(&pod)?)));
        for (uid, v, expect) in [("a", "9", 9), ("a", "10", 10), ("a", "9", 10), ("b", "8", 8)] {
            mirrors.note(Arc::new(pod(uid, v)));
            assert_eq!(seen(), Some((uid.to_owned(), expect)));
        }
        mirrors.forget(&pod("a", "11"));
        assert!(seen().is_some(), "another one of its name");
        mirrors.keep(&["a".to_owned()]);
        assert_eq!(seen(), None);
    }
}
