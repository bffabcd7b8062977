//! Properties over random clusters and random orders of what happens to them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::*;
use super::fixture::{Cluster, set, set_image};
use crate::view::{Phase, PodView};

#[derive(Debug, Clone)]
enum Step {
    /// Plan and make this share of the writes (in 255ths): a crash in between.
    Plan(u8),
    NodesWork,
    Unready(u8),
    Fail(u8),
    Finish(u8),
    Image(u8),
    Label(u8, bool),
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Plan),
        4 => Just(Step::Plan(255)),
        4 => Just(Step::NodesWork),
        1 => any::<u8>().prop_map(Step::Unready),
        1 => any::<u8>().prop_map(Step::Fail),
        2 => any::<u8>().prop_map(Step::Finish),
        1 => (0..3_u8).prop_map(Step::Image),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(n, on)| Step::Label(n, on)),
        2 => (0..20_u8).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

fn spec() -> impl Strategy<Value = String> {
    let limits = prop_oneof![
        (1..4_u32).prop_map(|n| format!(r#"{{"maxUnavailable":{n}}}"#)),
        (1..100_u32).prop_map(|n| format!(r#"{{"maxUnavailable":"{n}%"}}"#)),
        (1..4_u32).prop_map(|n| format!(r#"{{"maxSurge":{n},"maxUnavailable":0}}"#)),
    ];
    (limits, 0..6_u32, any::<bool>()).prop_map(|(limits, ready, selector)| {
        let selector = if selector { r#""nodeSelector":{"on":"true"}"# } else { "" };
        format!(
            r#"{{"minReadySeconds":{ready},"updateStrategy":{{"rollingUpdate":{limits}}},"template":{{"spec":{{{selector}}}}}}}"#
        )
    })
}

fn nth(cluster: &mut Cluster, n: u8) -> Option<&mut PodView> {
    let count = cluster.pods.len();
    cluster.pods.values_mut().nth(usize::from(n) % count.max(1))
}

/// Available daemons on nodes that want one, not counting those in `without`.
fn available(cluster: &Cluster, without: &BTreeSet<&str>) -> usize {
    let demands = Demands::of(&cluster.set, None);
    let seconds = cluster.set.spec.as_ref().unwrap().min_ready_seconds.unwrap_or_default();
    let wanting = cluster.nodes.values().filter(|n| demands.place(n).may_start());
    wanting
        .filter(|n| {
            let mut pods = cluster.pods_on(&n.name).into_iter().filter(|p| !without.contains(p.name.as_str()));
            pods.any(|p| p.is_available(seconds, cluster.now))
        })
        .count()
}

/// The promise of a rollout: deletions of wanted, available daemons never leave more than the budget missing.
fn check(cluster: &Cluster, plan: &Plan) {
    let demands = Demands::of(&cluster.set, None);
    let desired = cluster.nodes.values().filter(|n| demands.place(n).may_start()).count();
    let budget = Budget::of(&cluster.set, desired);
    let deleted: BTreeSet<&str> = plan
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::DeletePod(t) => Some(t.name.as_str()),
            _ => None,
        })
        .collect();
    let (before, after) = (available(cluster, &BTreeSet::new()), available(cluster, &deleted));
    let allowed = if budget.surge_max > 0 { 0 } else { budget.unavailable_max };
    assert!(
        after == before || desired - after <= allowed,
        "{before} available before, {after} after, of {desired}, {allowed} may be missing: {:?}",
        plan.actions
    );
    for node in cluster.nodes.keys() {
        let staying = cluster.pods_on(node).into_iter().filter(|p| !deleted.contains(p.name.as_str())).count();
        let created = plan.actions.iter().filter(|a| matches!(a, Action::CreatePod(n) if n == node)).count();
        let most = if budget.surge_max > 0 { 2 } else { 1 };
        assert!(created == 0 || staying + created <= most, "{node}: {staying} stay, {created} created");
    }
}

fn run(cluster: &mut Cluster, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Plan(share) => {
                let plan = cluster.plan();
                check(cluster, &plan);
                assert_eq!(plan, cluster.plan(), "the same input gives the same plan");
                if *share == 255 {
                    cluster.apply(&plan);
                } else {
                    let count = plan.actions.len() * usize::from(*share) / 255;
                    for action in &plan.actions[..count] {
                        cluster.write(&plan, action);
                    }
                }
            }
            Step::NodesWork => cluster.nodes_work(),
            Step::Unready(n) => {
                if let Some(pod) = nth(cluster, *n) {
                    pod.ready = false;
                }
            }
            Step::Fail(n) => {
                if let Some(pod) = nth(cluster, *n) {
                    pod.phase = Phase::Failed;
                    pod.ready = false;
                }
            }
            Step::Finish(n) => {
                let name = nth(cluster, *n).filter(|p| p.deleting.is_some()).map(|p| p.name.clone());
                cluster.pods.remove(&name.unwrap_or_default());
            }
            Step::Image(n) => set_image(&mut cluster.set, &format!("x:{n}")),
            Step::Label(n, on) => {
                let count = cluster.nodes.len();
                let node = cluster.nodes.values_mut().nth(usize::from(*n) % count).unwrap();
                node.labels.insert("on".into(), on.to_string());
            }
            Step::Pass(s) => cluster.pass(i64::from(*s)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn safe_at_every_step_and_converges_after(spec in spec(), nodes in 1..8_usize, steps in steps()) {
        let mut cluster = Cluster::new(set(&spec), nodes);
        run(&mut cluster, &steps);
        cluster.settle();
        let plan = cluster.plan();
        prop_assert_eq!(plan.actions, vec![], "settled means nothing to do");
        let demands = Demands::of(&cluster.set, None);
        for node in cluster.nodes.values() {
            let pods = cluster.pods_on(&node.name);
            if demands.place(node).may_start() {
                prop_assert_eq!(pods.len(), 1);
                prop_assert_eq!(&pods[0].labels[HASH_LABEL], &plan.hash);
            } else {
                prop_assert_eq!(pods.len(), 0);
            }
        }
    }
}
