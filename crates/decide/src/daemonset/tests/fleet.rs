//! A fleet plans as a look at everything does, whatever happens and in whatever order it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;
use proptest::prelude::*;

use super::super::*;
use super::fixture::{Cluster, moves, node, set, set_image};
use crate::view::{Phase, PodView};

/// A fleet, and what it was told.
#[derive(Default)]
struct Follower {
    fleet: Fleet,
    nodes: BTreeMap<String, Arc<NodeView>>,
    pods: BTreeMap<String, Arc<PodView>>,
    revisions: BTreeMap<String, Arc<ControllerRevision>>,
    set: Option<Arc<DaemonSet>>,
    /// Plans that one and the same fleet made one after the other.
    kept: usize,
}

/// Brings `known` in line with `truth`; names what changed.
fn changes<T: Clone + PartialEq>(
    known: &mut BTreeMap<String, Arc<T>>,
    truth: &BTreeMap<String, T>,
) -> Vec<(String, Option<Arc<T>>)> {
    let gone = known.keys().filter(|name| !truth.contains_key(*name)).map(|name| (name.clone(), None));
    let other = truth.iter().filter(|(name, now)| known.get(*name).is_none_or(|before| before.as_ref() != *now));
    let changes: Vec<_> = gone.chain(other.map(|(name, now)| (name.clone(), Some(Arc::new(now.clone()))))).collect();
    for (name, now) in &changes {
        match now {
            Some(now) => drop(known.insert(name.clone(), now.clone())),
            None => drop(known.remove(name)),
        }
    }
    changes
}

impl Follower {
    fn tell(&mut self, cluster: &Cluster) {
        for (name, node) in changes(&mut self.nodes, &cluster.nodes) {
            self.fleet.node(&name, node);
        }
        for (name, pod) in changes(&mut self.pods, &cluster.pods) {
            self.fleet.pod(&name, pod);
        }
        changes(&mut self.revisions, &cluster.revisions);
        if self.set.as_deref() != Some(&cluster.set) {
            self.set = Some(Arc::new(cluster.set.clone()));
        }
    }

    fn plan(&mut self, cluster: &Cluster) -> Option<Plan> {
        self.tell(cluster);
        let revisions: Vec<Arc<ControllerRevision>> = self.revisions.values().cloned().collect();
        let set = self.set.as_ref().unwrap();
        let around = Around { set, revisions: &revisions, namespace_nodes: cluster.namespace_nodes.as_ref() };
        let mut plan = self.fleet.plan(around, cluster.now)?;
        plan.backoff = self.fleet.backoff().clone();
        Some(plan)
    }

    /// The plan of the fleet for the cluster, which is that of a look at everything.
    fn same(&mut self, cluster: &Cluster) -> Plan {
        let full = cluster.observe(|observed| plan(&cluster.set, observed, cluster.now));
        if let Some(ours) = self.plan(cluster) {
            assert_eq!(ours, full);
            self.kept += 1;
            return full;
        }
        self.begin(self.fleet.backoff().clone());
        if let Some(ours) = self.plan(cluster) {
            assert_eq!(ours, full);
        } else {
            let is_history = |action: &Action| {
                use Action::{AdoptRevision, CreateRevision, DeleteRevision, ReleaseRevision, UpdateRevision};
                matches!(
                    action,
                    AdoptRevision(_)
                        | CreateRevision(_)
                        | DeleteRevision(_)
                        | ReleaseRevision(_)
                        | UpdateRevision { .. }
                )
            };
            assert!(full.hash.is_empty() || full.actions.iter().any(is_history), "a fleet makes no plan: {full:?}");
            self.begin(full.backoff.clone());
        }
        full
    }

    /// Begins a new fleet.
    fn begin(&mut self, backoff: BTreeMap<String, Backoff>) {
        *self = Self { fleet: Fleet::new(backoff), kept: self.kept, ..Self::default() };
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Plan, and make this share of the writes (in 255ths).
    Plan(u8),
    NodesWork,
    Ready(u8, bool),
    Phase(u8, u8),
    Delete(u8),
    Finish(u8),
    Bind(u8),
    Orphan(u8),
    OtherOwner(u8),
    PodLabel(u8, bool),
    Image(u8),
    Strategy(u8),
    MinReady(u8),
    Label(u8, bool),
    Taint(u8, u8),
    AddNode(u8),
    RemoveNode(u8),
    Namespace(bool),
    DropRevision(u8),
    Selector(&'static str),
    Doomed(bool),
    Pass(i16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pod = || any::<u8>();
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Plan),
        8 => Just(Step::Plan(255)),
        6 => Just(Step::NodesWork),
        2 => (pod(), any::<bool>()).prop_map(|(n, on)| Step::Ready(n, on)),
        2 => (pod(), 0..5_u8).prop_map(|(n, phase)| Step::Phase(n, phase)),
        1 => pod().prop_map(Step::Delete),
        1 => pod().prop_map(Step::Finish),
        1 => pod().prop_map(Step::Bind),
        1 => pod().prop_map(Step::Orphan),
        1 => pod().prop_map(Step::OtherOwner),
        1 => (pod(), any::<bool>()).prop_map(|(n, on)| Step::PodLabel(n, on)),
        1 => (0..3_u8).prop_map(Step::Image),
        1 => (0..8_u8).prop_map(Step::Strategy),
        1 => (0..10_u8).prop_map(Step::MinReady),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, on)| Step::Label(n, on)),
        1 => (any::<u8>(), 0..4_u8).prop_map(|(n, kind)| Step::Taint(n, kind)),
        1 => (0..12_u8).prop_map(Step::AddNode),
        1 => (0..12_u8).prop_map(Step::RemoveNode),
        1 => any::<bool>().prop_map(Step::Namespace),
        1 => any::<u8>().prop_map(Step::DropRevision),
        1 => prop_oneof![2 => Just("d"), 1 => Just("other")].prop_map(Step::Selector),
        1 => prop_oneof![3 => Just(false), 1 => Just(true)].prop_map(Step::Doomed),
        3 => (0..20_i16).prop_map(Step::Pass),
        1 => (-40..2000_i16).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}

fn nth(cluster: &mut Cluster, n: u8) -> Option<&mut PodView> {
    let count = cluster.pods.len();
    cluster.pods.values_mut().nth(usize::from(n) % count.max(1))
}

fn nth_node(cluster: &mut Cluster, n: u8) -> Option<&mut NodeView> {
    let count = cluster.nodes.len();
    cluster.nodes.values_mut().nth(usize::from(n) % count.max(1))
}

fn strategy(n: u8) -> serde_json::Value {
    let limits = |limits: serde_json::Value| serde_json::json!({"type": "RollingUpdate", "rollingUpdate": limits});
    match n {
        0 => serde_json::json!({"type": "OnDelete"}),
        1 => limits(serde_json::json!({"maxUnavailable": 2})),
        2 => limits(serde_json::json!({"maxUnavailable": "50%"})),
        3 => limits(serde_json::json!({"maxUnavailable": "100%", "maxSurge": 0})),
        4 => limits(serde_json::json!({"maxUnavailable": 0, "maxSurge": 1})),
        5 => limits(serde_json::json!({"maxUnavailable": 0, "maxSurge": "50%"})),
        6 => limits(serde_json::json!({"maxUnavailable": 0, "maxSurge": "0%"})),
        _ => limits(serde_json::json!({"maxUnavailable": 1})),
    }
}

fn happen(cluster: &mut Cluster, step: &Step) {
    let now = cluster.now;
    match step {
        Step::Plan(_) => {}
        Step::NodesWork => cluster.nodes_work(),
        Step::Ready(n, on) => {
            if let Some(pod) = nth(cluster, *n) {
                (pod.ready, pod.ready_changed) = (*on, Some(now));
            }
        }
        Step::Phase(n, phase) => {
            let phases = [Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed, Phase::Failed];
            if let Some(pod) = nth(cluster, *n) {
                pod.phase = phases[usize::from(*phase)];
            }
        }
        Step::Delete(n) => {
            if let Some(pod) = nth(cluster, *n) {
                pod.deleting.get_or_insert(now);
            }
        }
        Step::Finish(n) => {
            let name = nth(cluster, *n).map(|p| p.name.clone()).unwrap_or_default();
            cluster.pods.remove(&name);
        }
        Step::Bind(n) => {
            if let Some(pod) = nth(cluster, *n) {
                pod.node = pod.target.clone();
            }
        }
        Step::Orphan(n) => {
            if let Some(pod) = nth(cluster, *n) {
                pod.controller = None;
            }
        }
        Step::OtherOwner(n) => {
            if let Some(controller) = nth(cluster, *n).and_then(|p| p.controller.as_mut()) {
                controller.uid = "uid-other".into();
            }
        }
        Step::PodLabel(n, on) => {
            if let Some(pod) = nth(cluster, *n) {
                pod.labels.insert("app".into(), if *on { "d" } else { "other" }.into());
            }
        }
        Step::Image(n) => set_image(&mut cluster.set, &format!("x:{n}")),
        Step::Strategy(n) => {
            cluster.set.spec.as_mut().unwrap().update_strategy = serde_json::from_value(strategy(*n)).ok();
            *cluster.set.metadata.generation.as_mut().unwrap() += 1;
        }
        Step::MinReady(n) => {
            cluster.set.spec.as_mut().unwrap().min_ready_seconds = Some((*n).into());
            *cluster.set.metadata.generation.as_mut().unwrap() += 1;
        }
        Step::Label(n, on) => {
            if let Some(node) = nth_node(cluster, *n) {
                node.labels.insert("on".into(), on.to_string());
            }
        }
        Step::Taint(n, kind) => {
            let effects = ["NoSchedule", "NoExecute", "PreferNoSchedule"];
            let taint = |effect: &&str| Taint { key: "t".into(), effect: (*effect).into(), ..Taint::default() };
            if let Some(node) = nth_node(cluster, *n) {
                node.taints = effects.get(usize::from(*kind)).map(taint).into_iter().collect();
            }
        }
        Step::AddNode(n) => {
            let name = format!("n-{n}");
            cluster.nodes.entry(name.clone()).or_insert_with(|| node(&name));
        }
        Step::RemoveNode(n) => drop(cluster.nodes.remove(&format!("n-{n}"))),
        Step::Namespace(on) => cluster.namespace_nodes = on.then(|| Labels::parse("on=true").unwrap()),
        Step::DropRevision(n) => {
            let count = cluster.revisions.len();
            let name = cluster.revisions.keys().nth(usize::from(*n) % count.max(1)).cloned();
            cluster.revisions.remove(&name.unwrap_or_default());
        }
        Step::Selector(app) => {
            let selector = &mut cluster.set.spec.as_mut().unwrap().selector;
            selector.match_labels.as_mut().unwrap().insert("app".into(), (*app).into());
        }
        Step::Doomed(on) => cluster.set.metadata.deletion_timestamp = on.then(|| now.into()),
        Step::Pass(s) => cluster.pass(i64::from(*s)),
    }
}

/// As the fixture's, but for writes of what is gone, which fail.
fn write(cluster: &mut Cluster, plan: &Plan, count: usize) {
    for action in &plan.actions[..count] {
        let is_there = match action {
            Action::DeletePod(t) => cluster.pods.get(&t.name).is_some_and(|p| p.deleting.is_none()),
            Action::CreateRevision(revision) => {
                !cluster.revisions.contains_key(revision.metadata.name.as_ref().unwrap())
            }
            _ => true,
        };
        if is_there {
            cluster.write(plan, action);
        }
    }
}

#[test]
fn requests_that_a_policy_left_are_ended_by_a_look_at_everything() {
    let mut cluster = Cluster::settled(set("{}"), 3);
    let mut follower = Follower::default();
    assert!(follower.plan(&cluster).is_some());
    let request = crate::pre_pull::Request { images: "x:2".into(), since: None, done: false, trouble: None };
    cluster.pod_on("n-1").pre_pull = Some(Box::new(request));
    assert_eq!(follower.plan(&cluster), None);
    assert!(cluster.plan().actions.iter().any(|action| matches!(action, Action::PrePull(_, None))));
    cluster.pod_on("n-1").pre_pull = None;
    assert!(follower.plan(&cluster).is_some(), "the request is gone");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fleet_plans_as_a_look_at_everything_does(
        (kind, selects, annotated) in (0..8_u8, any::<bool>(), any::<bool>()),
        nodes in 1..9_usize,
        steps in steps(),
    ) {
        let selector = if selects { r#"{"template":{"spec":{"nodeSelector":{"on":"true"}}}}"# } else { "{}" };
        let mut cluster = Cluster::new(set(selector), nodes);
        if selects {
            cluster.nodes.values_mut().for_each(|n| drop(n.labels.insert("on".into(), "true".into())));
        }
        if annotated {
            let annotations = cluster.set.metadata.annotations.get_or_insert_default();
            annotations.insert(GENERATION_ANNOTATION.into(), "1".into());
        }
        cluster.set.spec.as_mut().unwrap().revision_history_limit = Some(i32::from(kind % 3));
        cluster.set.spec.as_mut().unwrap().update_strategy = serde_json::from_value(strategy(kind)).ok();
        let mut follower = Follower::default();
        for step in &steps {
            happen(&mut cluster, step);
            if let Step::Plan(share) = step {
                let plan = follower.same(&cluster);
                let count = plan.actions.len() * usize::from(*share) / 255;
                write(&mut cluster, &plan, count);
                // What was planned of failed pods is known, whatever became of the writes.
                cluster.backoff = plan.backoff.clone();
                if *share == 255 {
                    cluster.set.status = plan.status.or_else(|| cluster.set.status.take());
                }
            } else if matches!(step, Step::Ready(n, _) | Step::Bind(n) if n % 2 == 0) {
                // It may be told of a thing and not be asked.
                follower.tell(&cluster);
            }
        }
        happen(&mut cluster, &Step::Selector("d"));
        follower.kept = 0;
        for _ in 0..60 {
            cluster.set.metadata.deletion_timestamp = None;
            let plan = follower.same(&cluster);
            write(&mut cluster, &plan, plan.actions.len());
            cluster.backoff = plan.backoff.clone();
            cluster.set.status = plan.status.or_else(|| cluster.set.status.take());
            cluster.nodes_work();
            cluster.pass(2);
        }
        prop_assert!(follower.kept > 40, "{} of 60 plans were made by a fleet that was kept", follower.kept);
    }
}

#[test]
fn more_than_a_burst_is_the_same() {
    for kind in 0..8 {
        let mut cluster = Cluster::new(set("{}"), 600);
        cluster.set.spec.as_mut().unwrap().update_strategy = serde_json::from_value(strategy(kind)).ok();
        let mut follower = Follower::default();
        for round in 0..14 {
            let plan = follower.same(&cluster);
            cluster.apply(&plan);
            cluster.nodes_work();
            cluster.pass(1);
            if round == 5 {
                set_image(&mut cluster.set, "x:2");
                cluster.pods.values_mut().step_by(3).for_each(|p| p.ready = false);
            }
        }
    }
}

#[test]
fn a_change_of_one_node_is_answered() {
    let mut cluster = Cluster::settled(set("{}"), 3);
    let mut follower = Follower::default();
    assert_eq!(moves(&follower.same(&cluster)), [""; 0]);
    cluster.pods.remove("d-0002");
    assert_eq!(moves(&follower.same(&cluster)), ["+n-1"]);
    assert_eq!(follower.kept, 2);
}

#[test]
fn a_pause_begins_once_and_ends_by_itself() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    let mut follower = Follower::default();
    follower.same(&cluster);
    cluster.pod_on("n-0").phase = Phase::Failed;
    for expect in [&["-d-0001"][..], &[], &[]] {
        let plan = follower.same(&cluster);
        assert_eq!(moves(&plan), expect, "nobody makes the write");
        cluster.backoff = plan.backoff;
    }
    cluster.pass(1);
    assert_eq!(moves(&follower.same(&cluster)), ["-d-0001"]);
    assert_eq!(follower.kept, 5);
}

#[test]
fn time_alone_makes_daemons_available_and_back() {
    let mut cluster = Cluster::settled(set(r#"{"minReadySeconds":5}"#), 2);
    let mut follower = Follower::default();
    follower.same(&cluster);
    let pod = cluster.pod_on("n-0");
    pod.ready_changed = Some(super::fixture::at(100));
    for (second, available) in [(104, Some(1)), (105, None), (106, None), (104, Some(1))] {
        cluster.now = super::fixture::at(second);
        let status = follower.same(&cluster).status;
        assert_eq!(status.map(|s| s.number_available.unwrap_or_default()), available, "at {second} s");
    }
    assert_eq!(follower.kept, 5);
}
