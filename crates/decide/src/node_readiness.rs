//! Whether a node has to wait for its daemons: other pods are kept off a new node by a taint until the daemons that a policy
//! calls required have been ready there once.
//!
//! Invariants: only a node that joined after a daemon became required gets the taint; a node that was let go once never gets
//! it again, whatever becomes of its daemons; with nobody to wait for, the taint goes.
//!
//! Absent: which DaemonSets are required, and on which nodes they want a daemon (`daemonset`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use crate::view::NodeView;

/// Key of the taint. One for all daemons: a node may have a key once only.
pub const TAINT: &str = "everynode.dev/daemons-not-ready";
/// Annotation of a node whose required daemons have been ready; its value is when that was.
pub const READY_ANNOTATION: &str = "everynode.dev/daemons-ready";
/// Type of the condition of a policy that says since when new nodes wait.
pub const CONDITION: &str = "NodesWait";
const NO_SCHEDULE: &str = "NoSchedule";

/// A daemon that has to be ready on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// Namespace and name of its DaemonSet.
    pub name: String,
    /// Since when nodes wait for it.
    pub since: Timestamp,
    /// Whether its pod on the node is ready.
    pub ready: bool,
}

/// What to do about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Give it the taint; it waits for these.
    Hold(Vec<String>),
    /// Take the taint away, if it has it, and note that it was let go.
    Release,
}

/// True for the taint of a node that waits.
#[must_use]
pub fn is_taint(taint: &Taint) -> bool {
    taint.key == TAINT && taint.effect == NO_SCHEDULE
}

/// True when a node waits.
#[must_use]
pub fn is_held(node: &NodeView) -> bool {
    node.taints.iter().any(is_taint)
}

/// What to do about a node for which these daemons are required.
#[must_use]
pub fn step(node: &NodeView, required: &[Required]) -> Step {
    if node.deleting {
        return Step::Keep;
    }
    let missing = || required.iter().filter(|daemon| !daemon.ready);
    if is_held(node) {
        return if missing().next().is_none() { Step::Release } else { Step::Keep };
    }
    let is_new_for = |daemon: &Required| node.created.is_some_and(|created| created >= daemon.since);
    if node.daemons_were_ready || !required.iter().any(is_new_for) {
        return Step::Keep;
    }
    let held_by: Vec<String> =
        missing().filter(|daemon| is_new_for(daemon)).map(|daemon| daemon.name.clone()).collect();
    match held_by.is_empty() {
        // Its daemons were ready before anybody looked: it is let go without having waited.
        true if missing().next().is_none() => Step::Release,
        true => Step::Keep,
        false => Step::Hold(held_by),
    }
}

/// The taints of a node after a step that is not [`Step::Keep`].
#[must_use]
pub fn taints(node: &NodeView, step: &Step) -> Vec<Taint> {
    let mut taints: Vec<Taint> = node.taints.iter().filter(|taint| !is_taint(taint)).cloned().collect();
    if matches!(step, Step::Hold(_)) {
        taints.push(Taint { key: TAINT.to_owned(), effect: NO_SCHEDULE.to_owned(), ..Taint::default() });
    }
    taints
}

/// Lets a daemon's pod onto nodes that wait: they wait for nothing else.
pub fn tolerate(pod: &mut Pod) {
    let list = pod.spec.get_or_insert_default().tolerations.get_or_insert_default();
    let toleration = Toleration {
        key: Some(TAINT.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(NO_SCHEDULE.to_owned()),
        ..Toleration::default()
    };
    if !list.contains(&toleration) {
        list.push(toleration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(created: i64, held: bool, were_ready: bool) -> NodeView {
        let other = Taint { key: "other".into(), effect: NO_SCHEDULE.into(), ..Taint::default() };
        let mut node = NodeView {
            name: "n".into(),
            created: Some(at(created)),
            daemons_were_ready: were_ready,
            ..NodeView::default()
        };
        node.taints.push(other);
        if held {
            node.taints = taints(&node, &Step::Hold(Vec::new()));
        }
        node
    }

    fn daemon(name: &str, since: i64, ready: bool) -> Required {
        Required { name: name.into(), since: at(since), ready }
    }

    #[test]
    fn new_nodes_wait_once() {
        let hold = |names: &[&str]| Step::Hold(names.iter().map(|n| (*n).to_owned()).collect());
        let cases = [
            ("nobody is required", node(10, false, false), vec![], Step::Keep),
            ("it joined before", node(10, false, false), vec![daemon("a", 11, false)], Step::Keep),
            ("it joined at that moment", node(10, false, false), vec![daemon("a", 10, false)], hold(&["a"])),
            ("it waits", node(10, true, false), vec![daemon("a", 5, false)], Step::Keep),
            (
                "one of two is ready",
                node(10, true, false),
                vec![daemon("a", 5, true), daemon("b", 5, false)],
                Step::Keep,
            ),
            ("all are ready", node(10, true, false), vec![daemon("a", 5, true), daemon("b", 5, true)], Step::Release),
            ("they were ready first", node(10, false, false), vec![daemon("a", 5, true)], Step::Release),
            ("one fails later", node(10, false, true), vec![daemon("a", 5, false)], Step::Keep),
            ("nobody is required any more", node(10, true, false), vec![], Step::Release),
            (
                "a later one is not waited for",
                node(10, false, false),
                vec![daemon("a", 5, true), daemon("b", 20, false)],
                Step::Keep,
            ),
            (
                "only the earlier one holds it",
                node(10, false, false),
                vec![daemon("a", 5, false), daemon("b", 20, false)],
                hold(&["a"]),
            ),
            ("it came with the taint", node(10, true, false), vec![daemon("a", 20, false)], Step::Keep),
        ];
        for (what, node, required, want) in cases {
            assert_eq!(step(&node, &required), want, "{what}");
        }
        let going = NodeView { deleting: true, ..node(10, false, false) };
        assert_eq!(step(&going, &[daemon("a", 5, false)]), Step::Keep);
    }

    #[test]
    fn only_its_own_taint_comes_and_goes() {
        let free = node(1, false, false);
        let held = node(1, true, false);
        assert_eq!(held.taints.iter().map(|t| t.key.as_str()).collect::<Vec<_>>(), ["other", TAINT]);
        assert_eq!(taints(&held, &Step::Release), free.taints);
        assert_eq!(taints(&held, &Step::Hold(Vec::new())), held.taints, "no key twice");
        let lasting = Taint { key: TAINT.into(), effect: "NoExecute".into(), ..Taint::default() };
        assert!(!is_taint(&lasting), "what nobody here has set stays");
    }

    #[test]
    fn pods_tolerate_it_once() {
        let mut pod = Pod::default();
        tolerate(&mut pod);
        tolerate(&mut pod);
        let tolerations = pod.spec.unwrap().tolerations.unwrap();
        assert_eq!(tolerations.len(), 1);
        let taint = Taint { key: TAINT.into(), effect: NO_SCHEDULE.into(), ..Taint::default() };
        assert!(api::taint::tolerates(&tolerations[0], &taint));
    }
}
