//! Pods that nobody else ends: those that go and have no node, those that go on nodes that are out of service, and the
//! oldest of too many that have ended.
//!
//! Invariants: a pod that runs on a node that answers is never collected.
//!
//! Absent: pods of nodes that are gone; whoever clears up after nodes must ask the API server first.

use crate::view::{NodeView, PodView};

/// Pods that have ended and are kept for users to read. Kubernetes' figure.
pub const ENDED_KEPT: usize = 12_500;

/// The taint by which a user says that a node is down for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// True for a pod that goes and that no node will end.
#[must_use]
pub fn is_stuck(pod: &PodView, node: Option<&NodeView>) -> bool {
    if pod.deleting.is_none() {
        return false;
    }
    if pod.node.is_none() {
        return true;
    }
    let down = |node: &NodeView| {
        let ready = node.conditions.get("Ready").is_some_and(|c| c.status == "True");
        !ready && node.taints.iter().any(|t| t.key == OUT_OF_SERVICE)
    };
    node.is_some_and(down)
}

/// The ended pods that are too many: evicted ones first, then the oldest.
#[must_use]
pub fn surplus<'a>(ended: impl Iterator<Item = &'a PodView>, kept: usize) -> Vec<&'a PodView> {
    let mut ended: Vec<&PodView> = ended.filter(|p| p.phase.is_terminal()).collect();
    let number = ended.len().saturating_sub(kept);
    if number == 0 {
        return Vec::new();
    }
    ended.sort_by(|a, b| (!a.evicted, a.created, &a.name).cmp(&(!b.evicted, b.created, &b.name)));
    ended.truncate(number);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Condition, Phase};
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Taint;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn what_no_node_will_end_is_stuck() {
        let node = |ready: &str, taint: &str| NodeView {
            conditions: [("Ready".to_owned(), Condition { status: ready.into(), ..Condition::default() })].into(),
            taints: vec![Taint { key: taint.into(), effect: "NoExecute".into(), ..Taint::default() }],
            ..NodeView::default()
        };
        let pod = |node: Option<&str>, going: bool| PodView {
            node: node.map(Into::into),
            deleting: going.then(|| at(0)),
            ..PodView::default()
        };
        let cases = [
            ("unbound and going", pod(None, true), None, true),
            ("unbound", pod(None, false), None, false),
            ("going on a node that works", pod(Some("n"), true), Some(node("True", "x")), false),
            ("going on a node that is down", pod(Some("n"), true), Some(node("Unknown", "x")), false),
            ("out of service", pod(Some("n"), true), Some(node("Unknown", OUT_OF_SERVICE)), true),
            ("out of service but ready", pod(Some("n"), true), Some(node("True", OUT_OF_SERVICE)), false),
            ("out of service, not going", pod(Some("n"), false), Some(node("Unknown", OUT_OF_SERVICE)), false),
            ("going on a node that is gone", pod(Some("n"), true), None, false),
        ];
        for (what, pod, node, expect) in cases {
            assert_eq!(is_stuck(&pod, node.as_ref()), expect, "{what}");
        }
    }

    #[test]
    fn evicted_then_oldest_go_first() {
        let pod = |name: &str, phase, created, evicted| PodView {
            name: name.into(),
            phase,
            created: Some(at(created)),
            evicted,
            ..PodView::default()
        };
        let pods = [
            pod("new", Phase::Succeeded, 9, false),
            pod("old", Phase::Failed, 1, false),
            pod("evicted", Phase::Failed, 10, true),
            pod("running", Phase::Running, 0, false),
            pod("unknown", Phase::Unknown, 0, false),
        ];
        let names = |kept| surplus(pods.iter(), kept).iter().map(|p| p.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names(3), [""; 0]);
        assert_eq!(names(2), ["evicted"]);
        assert_eq!(names(1), ["evicted", "old"]);
        assert_eq!(names(0), ["evicted", "old", "new"]);
    }
}
