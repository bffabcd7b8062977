//! Nodes with what is on them and when they were last heard of.
//!
//! Invariants: the load of a node is that of the pods bound to it that have not ended, and of those that the scheduler
//! is about to bind; it is kept even while the node is unknown, since pods may be reported first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use decide::node_health::{Grace, Heard, Verdict, Zones, judge};
use decide::schedule::Load;
use decide::view::{NodeView, PodView};
use jiff::Timestamp;
use tokio::time::Instant;

/// Where the scheduler is about to put a pod, and since when.
struct Assumed {
    node: String,
    since: Instant,
}

/// Nodes with what is on them and when they were last heard of.
#[derive(Default)]
pub(crate) struct Nodes {
    all: BTreeMap<String, Arc<NodeView>>,
    loads: HashMap<String, Load>,
    nothing: Load,
    heard: HashMap<String, Timestamp>,
    /// How long a node may be silent.
    pub(crate) grace: Grace,
    zones: Zones,
    all_lost: bool,
    /// Pods that the scheduler is about to bind, by UID, with their node.
    assumed: HashMap<String, Assumed>,
    /// Pods for which room is being made, by UID, with the node.
    nominated: HashMap<String, String>,
    /// Nodes with pods that ask something of other pods.
    asking: BTreeSet<String>,
}

impl Nodes {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<NodeView>> {
        self.all.get(name)
    }

    pub(super) fn put(&mut self, node: Arc<NodeView>) -> Option<Arc<NodeView>> {
        let before = self.all.insert(node.name.clone(), node.clone());
        self.zones.change(before.as_deref(), Some(&node));
        before
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<NodeView>> {
        self.heard.remove(name);
        let before = self.all.remove(name);
        self.zones.change(before.as_deref(), None);
        before
    }

    /// The verdict over a node, noted if it drives pods away.
    pub(crate) fn judge(&mut self, node: &NodeView, now: Timestamp) -> Verdict {
        let verdict = judge(node, self.heard(&node.name), &self.zones, now);
        if verdict.drives {
            self.zones.drove(node, now);
        }
        verdict
    }

    /// The names of all nodes, if none or some is healthy again since this was asked last: each is to be judged anew. When
    /// some is, whoever watches was blind until now, so that each has its time again to be heard of.
    pub(crate) fn turned(&mut self, now: Timestamp) -> Vec<String> {
        let all_lost = self.zones.all_lost();
        if std::mem::replace(&mut self.all_lost, all_lost) == all_lost {
            return Vec::new();
        }
        let names: Vec<String> = self.all.keys().cloned().collect();
        if !all_lost {
            names.iter().for_each(|name| self.hear(name, now));
        }
        names
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<NodeView>)> {
        self.all.iter()
    }

    /// When a node was last heard of.
    pub(crate) fn heard(&self, name: &str) -> Heard {
        Heard { at: self.heard.get(name).copied(), grace: self.grace }
    }

    /// Notes that a node was heard of.
    pub(crate) fn hear(&mut self, name: &str, now: Timestamp) {
        self.heard.insert(name.to_owned(), now);
    }

    /// Takes a change of a pod into account.
    pub(super) fn pod_changed(&mut self, before: Option<&Arc<PodView>>, after: Option<&Arc<PodView>>) {
        if let Some(pod) = before.filter(|p| counts(p)) {
            self.unload(pod.node.as_deref(), &pod.uid);
        }
        // Whatever the scheduler assumed of it is known now.
        let uid = after.filter(|p| p.node.is_some() || p.phase.is_terminal()).map(|p| &p.uid);
        let replaced = before.filter(|b| after.is_none_or(|a| a.uid != b.uid)).map(|b| &b.uid);
        for uid in uid.into_iter().chain(replaced) {
            self.forget(uid);
            self.nominate(uid, None);
        }
        let nomination = |pod: Option<&Arc<PodView>>| pod.and_then(|p| p.wishes.as_ref()?.nominated.clone());
        let (old, new) = (nomination(before), nomination(after));
        if let Some(pod) = after.filter(|_| new.is_some() || old.is_some()) {
            self.nominate(&pod.uid, new.map(|node| (node, pod.clone())));
        }
        if let Some(pod) = after.filter(|p| counts(p)) {
            self.load(pod.node.as_deref(), pod);
        }
    }

    /// Counts a pod that is about to be bound to a node.
    pub(crate) fn assume(&mut self, pod: &Arc<PodView>, node: &str) {
        self.nominate(&pod.uid, None);
        let assumed = Assumed { node: node.to_owned(), since: Instant::now() };
        if self.assumed.insert(pod.uid.clone(), assumed).is_none() {
            self.load(Some(node), pod);
        }
    }

    /// Takes an assumption back; returns the node that it was about.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<String> {
        let Assumed { node, .. } = self.assumed.remove(uid)?;
        self.unload(Some(&node), uid);
        Some(node)
    }

    /// Takes back what was assumed, before a list of all pods began, of pods that it does not have: they came and went unseen.
    pub(crate) fn listed<'p>(&mut self, began: Instant, pods: impl Iterator<Item = &'p Arc<PodView>>) {
        if self.assumed.is_empty() {
            return;
        }
        let there: HashSet<&str> = pods.map(|pod| pod.uid.as_str()).collect();
        let unseen = |(uid, assumed): &(&String, &Assumed)| assumed.since < began && !there.contains(uid.as_str());
        let lost: Vec<String> = self.assumed.iter().filter(unseen).map(|(uid, _)| uid.clone()).collect();
        for uid in lost {
            self.forget(&uid);
        }
    }

    /// True while a pod is about to be bound.
    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// Keeps room on a node for a pod, or no longer does.
    pub(crate) fn nominate(&mut self, uid: &str, to: Option<(String, Arc<PodView>)>) {
        if let Some(node) = self.nominated.remove(uid)
            && let Some(load) = self.loads.get_mut(&node)
        {
            load.nominated.remove(uid);
            self.tidy(&node);
        }
        if let Some((node, pod)) = to {
            self.loads.entry(node.clone()).or_default().nominated.insert(uid.to_owned(), pod);
            self.nominated.insert(uid.to_owned(), node);
        }
    }

    fn load(&mut self, node: Option<&str>, pod: &Arc<PodView>) {
        if let Some(node) = node {
            self.loads.entry(node.to_owned()).or_default().add(pod);
            self.tidy(node);
        }
    }

    fn unload(&mut self, node: Option<&str>, uid: &str) {
        let Some(node) = node else { return };
        if let Some(load) = self.loads.get_mut(node) {
            load.remove(uid);
            self.tidy(node);
        }
    }

    /// Brings what is kept about a node in line with its load.
    fn tidy(&mut self, node: &str) {
        let Some(load) = self.loads.get(node) else { return };
        if load.asking > 0 {
            self.asking.insert(node.to_owned());
        } else {
            self.asking.remove(node);
        }
        if load.is_empty() {
            self.loads.remove(node);
        }
    }

    fn load_of(&self, name: &str) -> &Load {
        self.loads.get(name).unwrap_or(&self.nothing)
    }

    /// Number of nodes.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// A node and what is on it.
    pub(crate) fn one(&self, name: &str) -> Option<(&NodeView, &Load)> {
        self.all.get(name).map(|node| (node.as_ref(), self.load_of(name)))
    }

    /// All nodes and what is on them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.all.iter().map(|(name, node)| (node.as_ref(), self.load_of(name)))
    }

    /// The nodes with pods that ask something of other pods.
    pub(crate) fn asking(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.asking.iter().filter_map(|name| self.one(name))
    }
}

fn counts(pod: &PodView) -> bool {
    pod.node.is_some() && !pod.phase.is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::terms::Terms;
    use decide::view::{Condition, Phase, Wishes};

    fn pod(node: Option<&str>) -> Arc<PodView> {
        Arc::new(PodView { uid: "u".into(), node: node.map(Into::into), ..PodView::default() })
    }

    fn pods_on(nodes: &Nodes, name: &str) -> usize {
        nodes.load_of(name).pods.len()
    }

    #[test]
    fn a_pod_is_counted_once_from_assumption_to_end() {
        let mut nodes = Nodes::default();
        let (unbound, bound) = (pod(None), pod(Some("n")));
        nodes.pod_changed(None, Some(&unbound));
        assert_eq!(pods_on(&nodes, "n"), 0);
        nodes.assume(&unbound, "n");
        nodes.assume(&unbound, "n");
        assert_eq!(pods_on(&nodes, "n"), 1);
        nodes.pod_changed(Some(&unbound), Some(&unbound));
        assert_eq!(pods_on(&nodes, "n"), 1, "a change before the binding is seen");
        nodes.pod_changed(Some(&unbound), Some(&bound));
        assert_eq!(pods_on(&nodes, "n"), 1);
        let ended = Arc::new(PodView { phase: Phase::Failed, ..bound.as_ref().clone() });
        nodes.pod_changed(Some(&bound), Some(&ended));
        assert_eq!(pods_on(&nodes, "n"), 0);
        nodes.pod_changed(Some(&ended), None);
        assert!(nodes.loads.is_empty());
    }

    #[test]
    fn an_assumption_about_a_pod_that_goes_is_taken_back() {
        let mut nodes = Nodes::default();
        nodes.assume(&pod(None), "n");
        nodes.pod_changed(Some(&pod(None)), None);
        assert_eq!((pods_on(&nodes, "n"), nodes.is_assumed("u")), (0, false));
    }

    #[test]
    fn what_came_and_went_unseen_is_taken_back_by_the_next_list() {
        let mut nodes = Nodes::default();
        let before = Instant::now();
        nodes.assume(&pod(None), "n");
        nodes.listed(before, std::iter::empty());
        assert_eq!(pods_on(&nodes, "n"), 1, "the list began before");
        let after = Instant::now() + std::time::Duration::from_nanos(1);
        nodes.listed(after, std::iter::once(&pod(None)));
        assert_eq!(pods_on(&nodes, "n"), 1, "it is there, not bound yet");
        nodes.listed(after, std::iter::empty());
        assert_eq!((pods_on(&nodes, "n"), nodes.is_assumed("u")), (0, false));
    }

    #[test]
    fn room_is_kept_until_the_pod_is_bound_or_gone() {
        let nominated = |to: Option<&str>| {
            let wishes = Wishes { nominated: to.map(Into::into), ..Wishes::default() };
            Arc::new(PodView { wishes: Some(Box::new(wishes)), ..pod(None).as_ref().clone() })
        };
        let kept = |nodes: &Nodes, name: &str| nodes.load_of(name).nominated.len();
        let mut nodes = Nodes::default();
        nodes.pod_changed(None, Some(&nominated(Some("n"))));
        nodes.pod_changed(Some(&nominated(Some("n"))), Some(&nominated(Some("m"))));
        assert_eq!((kept(&nodes, "n"), kept(&nodes, "m")), (0, 1));
        nodes.pod_changed(Some(&nominated(Some("m"))), Some(&nominated(None)));
        assert!(nodes.loads.is_empty());
        nodes.nominate("u", Some(("n".into(), nominated(None))));
        nodes.pod_changed(Some(&nominated(None)), Some(&nominated(None)));
        assert_eq!(kept(&nodes, "n"), 1, "not told yet");
        nodes.pod_changed(Some(&nominated(None)), Some(&pod(Some("m"))));
        assert_eq!((kept(&nodes, "n"), pods_on(&nodes, "m")), (0, 1));
    }

    #[test]
    fn when_all_or_not_all_is_lost_every_node_is_judged_anew() {
        let node = |name: &str, ready: &str| {
            let condition = Condition { status: ready.into(), ..Condition::default() };
            let conditions = [("Ready".to_owned(), condition)].into();
            Arc::new(NodeView { name: name.into(), conditions, ..NodeView::default() })
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut nodes = Nodes::default();
        nodes.put(node("a", "True"));
        nodes.put(node("b", "Unknown"));
        assert_eq!(nodes.turned(now), [""; 0]);
        nodes.put(node("a", "Unknown"));
        assert_eq!((nodes.turned(now), nodes.turned(now)), (vec!["a".into(), "b".into()], vec![]));
        assert_eq!(nodes.heard("b").at, None);
        nodes.put(node("a", "True"));
        assert_eq!((nodes.turned(now).len(), nodes.heard("b").at), (2, Some(now)), "b has its time again");
    }

    #[test]
    fn nodes_with_pods_that_ask_are_known() {
        let mut nodes = Nodes::default();
        nodes.put(Arc::new(NodeView { name: "n".into(), ..NodeView::default() }));
        let asking = PodView { terms: Some(Box::new(Terms::default())), ..pod(Some("n")).as_ref().clone() };
        let asking = Arc::new(asking);
        nodes.pod_changed(None, Some(&asking));
        assert_eq!(nodes.asking().count(), 1);
        nodes.pod_changed(Some(&asking), None);
        assert_eq!(nodes.asking().count(), 0);
    }
}
