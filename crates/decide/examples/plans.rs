//! How long plans of one DaemonSet take: `cargo run --release -p decide --example plans [NODES]`.
//!
//! Each line is the median and the worst of several runs in one thread: of plans from a snapshot, without making that, and of
//! plans of a fleet that is told of a change, with taking that in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use decide::daemonset::{Around, Backoff, Fleet, HASH_LABEL, KIND, Observed, Plan, plan};
use decide::view::{Condition, Controller, NodeView, Phase, PodView};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use serde_json::json;

/// Nodes when nobody says how many.
const NODES: usize = 100_000;
/// Runs of each figure of a plan from a snapshot.
const RUNS: usize = 15;
/// Changes of each figure of a fleet.
const CHANGES: usize = 500;

/// A cluster with one DaemonSet.
struct Cluster {
    set: DaemonSet,
    nodes: Vec<NodeView>,
    pods: Vec<PodView>,
    revisions: Vec<ControllerRevision>,
    now: Timestamp,
}

fn daemon_set() -> DaemonSet {
    let value = json!({
        "metadata": {"name": "agent", "namespace": "default", "uid": "uid-agent", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "minReadySeconds": 5,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}},
            "template": {
                "metadata": {"labels": {"app": "agent", "tier": "node"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]},
                    ]}}},
                    "containers": [{"name": "agent", "image": "registry.example/agent:1",
                        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}],
                },
            },
        },
    });
    serde_json::from_value(value).unwrap_or_default()
}

fn node(at: usize) -> NodeView {
    let name = format!("node-{at:06}");
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("node.kubernetes.io/instance-type", "m5.large"),
        ("topology.kubernetes.io/region", "eu-west-1"),
        ("topology.kubernetes.io/zone", "eu-west-1a"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    labels.insert("kubernetes.io/hostname".to_owned(), name.clone());
    let ready = Condition { status: "True".to_owned(), reason: "KubeletReady".to_owned(), ..Condition::default() };
    let conditions = [("Ready".to_owned(), ready)].into();
    NodeView { uid: format!("uid-{name}"), name, labels, conditions, ..NodeView::default() }
}

fn pod(at: usize, hash: &str, since: Timestamp) -> PodView {
    // The names of pods are in no order of their nodes.
    let letters = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let labels = [("app", "agent"), ("tier", "node"), (HASH_LABEL, hash)];
    PodView {
        namespace: "default".to_owned(),
        name: format!("agent-{letters:08x}"),
        uid: format!("uid-{at}-{hash}"),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        controller: Some(Controller { kind: KIND.to_owned(), name: "agent".to_owned(), uid: "uid-agent".to_owned() }),
        created: Some(since),
        node: Some(format!("node-{at:06}")),
        target: Some(format!("node-{at:06}")),
        phase: Phase::Running,
        ready: true,
        ready_changed: Some(since),
        ..PodView::default()
    }
}

impl Cluster {
    /// Nodes without daemons.
    fn bare(nodes: usize) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap_or_default();
        let nodes = (0..nodes).map(node).collect();
        let mut cluster = Self { set: daemon_set(), nodes, pods: Vec::new(), revisions: Vec::new(), now };
        cluster.keep_history();
        cluster
    }

    /// Stores the revisions that a plan wants, and its status.
    fn keep_history(&mut self) {
        for _ in 0..2 {
            let plan = self.plan();
            for action in plan.actions {
                if let decide::daemonset::Action::CreateRevision(revision) = action {
                    self.revisions.push(*revision);
                }
            }
            self.set.status = plan.status.or_else(|| self.set.status.take());
        }
    }

    /// A daemon on each node.
    fn settled(nodes: usize) -> Self {
        let mut cluster = Self::bare(nodes);
        let hash = cluster.plan().hash;
        let since = cluster.now - SignedDuration::from_hours(1);
        cluster.pods = (0..nodes).map(|at| pod(at, &hash, since)).collect();
        cluster.keep_history();
        cluster
    }

    /// In the middle of an update: of three tenths of the nodes the daemon is new, of the next tenth it is not there, not
    /// ready or ready for a moment.
    fn updating(nodes: usize) -> Self {
        let mut cluster = Self::settled(nodes);
        if let Some(spec) = cluster.set.spec.as_mut().and_then(|s| s.template.spec.as_mut()) {
            spec.containers[0].image = Some("registry.example/agent:2".to_owned());
        }
        cluster.set.metadata.generation = Some(2);
        cluster.keep_history();
        let hash = cluster.plan().hash;
        for (at, pod) in cluster.pods.iter_mut().enumerate().take(nodes * 4 / 10) {
            pod.labels.insert(HASH_LABEL.to_owned(), hash.clone());
            if at >= nodes * 3 / 10 {
                pod.ready = at % 3 == 0;
                pod.ready_changed = Some(cluster.now - SignedDuration::from_secs(2));
            }
        }
        cluster.pods.retain(|pod| pod.ready || !pod.uid.contains("7-"));
        cluster.keep_history();
        cluster
    }

    fn plan(&self) -> Plan {
        self.timed().0
    }

    fn timed(&self) -> (Plan, Duration) {
        let nodes: BTreeMap<String, &NodeView> = self.nodes.iter().map(|node| (node.name.clone(), node)).collect();
        let pods: Vec<&PodView> = self.pods.iter().collect();
        let revisions: Vec<&ControllerRevision> = self.revisions.iter().collect();
        let none: BTreeMap<String, Backoff> = BTreeMap::new();
        let observed = Observed {
            nodes: &nodes,
            pods: &pods,
            revisions: &revisions,
            namespace_nodes: None,
            backoff: &none,
            policy: None,
        };
        let begun = Instant::now();
        let plan = plan(&self.set, observed, self.now);
        (plan, begun.elapsed())
    }
}

fn tell(what: &str, mut times: Vec<Duration>, plan: &Plan) {
    times.sort();
    let (middle, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what:44} {middle:>12.3?} {worst:>12.3?}   {} writes", plan.actions.len());
}

fn full(what: &str, cluster: &Cluster) {
    let runs: Vec<(Plan, Duration)> = (0..RUNS).map(|_| cluster.timed()).collect();
    tell(what, runs.iter().map(|(_, time)| *time).collect(), &runs[0].0);
}

/// A fleet that knows all of a cluster.
struct Known<'c> {
    cluster: &'c Cluster,
    set: Arc<DaemonSet>,
    revisions: Vec<Arc<ControllerRevision>>,
    fleet: Fleet,
}

impl<'c> Known<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        let mut fleet = Fleet::default();
        cluster.nodes.iter().for_each(|node| fleet.node(&node.name, Some(Arc::new(node.clone()))));
        cluster.pods.iter().for_each(|pod| fleet.pod(&pod.name, Some(Arc::new(pod.clone()))));
        let revisions = cluster.revisions.iter().cloned().map(Arc::new).collect();
        Self { cluster, set: Arc::new(cluster.set.clone()), revisions, fleet }
    }

    fn plan(&mut self) -> Plan {
        let around = Around { set: &self.set, revisions: &self.revisions, namespace_nodes: None };
        self.fleet.plan(around, self.cluster.now).unwrap_or_default()
    }

    /// Times the answers to so many changes, of nodes and pods all over the cluster.
    fn changes(&mut self, what: &str, mut change: impl FnMut(&mut Fleet, &NodeView, &PodView)) {
        let (mut times, mut last) = (Vec::new(), Plan::default());
        for at in 0..CHANGES {
            let place = at * 7919;
            let node = &self.cluster.nodes[place % self.cluster.nodes.len()];
            let pod = &self.cluster.pods[place % self.cluster.pods.len()];
            let begun = Instant::now();
            change(&mut self.fleet, node, pod);
            last = self.plan();
            times.push(begun.elapsed());
        }
        tell(what, times, &last);
    }
}

fn told(what: &str, cluster: &Cluster) {
    let mut known = Known::new(cluster);
    let begun = Instant::now();
    let plan = known.plan();
    tell(&format!("a fleet's first plan: {what}"), vec![begun.elapsed()], &plan);
    known.changes("  a pod is not ready", |fleet, _, pod| {
        fleet.pod(&pod.name, Some(Arc::new(PodView { ready: false, ..pod.clone() })));
    });
    known.changes("  a pod is gone", |fleet, _, pod| fleet.pod(&pod.name, None));
    known.changes("  a pod is back", |fleet, _, pod| fleet.pod(&pod.name, Some(Arc::new(pod.clone()))));
    known.changes("  a node has another label", |fleet, node, _| {
        let mut node = node.clone();
        node.labels.insert("kubernetes.io/os".to_owned(), "plan9".to_owned());
        fleet.node(&node.name, Some(Arc::new(node.clone())));
    });
    known.changes("  a node is gone", |fleet, node, _| fleet.node(&node.name, None));
    known.changes("  nothing has changed", |_, _, _| {});
}

fn main() {
    let nodes = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(NODES);
    println!("{:44} {:>12} {:>12}", format!("plans for {nodes} nodes"), "median", "worst");
    full("from a snapshot: no daemons yet", &Cluster::bare(nodes));
    full("from a snapshot: all is well", &Cluster::settled(nodes));
    full("from a snapshot: in the middle of an update", &Cluster::updating(nodes));
    told("all is well", &Cluster::settled(nodes));
    told("in the middle of an update", &Cluster::updating(nodes));
}
