//! The image of a static pod at the API server, by which people see it: its mirror pod.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{HASH, MIRROR, note};

/// What is to be done so that a static pod has its mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is there.
    Nothing,
    /// Make one.
    Create,
    /// Delete the one that is there, then make one.
    Replace,
}

/// What is to be done; `seen` is the mirror of that name, if the API server has one.
#[must_use]
pub fn need(pod: &Pod, seen: Option<&Pod>) -> Need {
    match seen {
        None => Need::Create,
        Some(seen) if seen.metadata.deletion_timestamp.is_some() => Need::Replace,
        Some(seen) if note(seen, MIRROR) != note(pod, HASH) => Need::Replace,
        Some(_) => Need::Nothing,
    }
}

/// The mirror of a static pod, owned by its node, so that it goes with that.
#[must_use]
pub fn mirror(pod: &Pod, node: &str, node_uid: &str) -> Pod {
    let meta = &pod.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), note(pod, HASH).unwrap_or_default().to_owned());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let mut spec = pod.spec.clone();
    if let Some(spec) = &mut spec {
        // They follow from the class, which the API server looks up; it refuses numbers of others.
        (spec.priority, spec.preemption_policy) = (None, None);
    }
    Pod {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::static_pods::{is_mirror, is_static, read};

    fn pod(image: &str) -> Pod {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{priorityClassName: x, priority: 7, \
             containers: [{{name: c, image: {image}}}]}}}}"
        );
        read("n", "/d", "f", &text).unwrap().pod
    }

    #[test]
    fn mirrors() {
        let (first, second) = (pod("a"), pod("b"));
        let seen = mirror(&first, "n", "77");
        let owner = &seen.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("Node", "77", Some(true)));
        assert_eq!((&seen.metadata.uid, &seen.status), (&None, &None));
        assert_eq!((seen.spec.as_ref().unwrap().priority, first.spec.as_ref().unwrap().priority), (None, Some(7)));
        assert!(is_mirror(&seen) && !is_static(&seen) && is_static(&first) && !is_mirror(&first));
        let mut ending = seen.clone();
        ending.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        for (pod, seen, expect) in [
            (&first, None, Need::Create),
            (&first, Some(&seen), Need::Nothing),
            (&second, Some(&seen), Need::Replace),
            (&first, Some(&ending), Need::Replace),
        ] {
            assert_eq!(need(pod, seen), expect, "{:?}", seen.map(|s| &s.metadata));
        }
    }
}
