//! Rollouts in waves: who is first, what is waited for, and what becomes of a rollout whose ground moves.

use api::rollout_policy::{PROMOTED_ALL, Phase};
use serde_json::{Value, json};

use super::super::*;
use super::fixture::{Cluster, node, set_image};
use super::policy::{changed, governed, rolling};

fn label(cluster: &mut Cluster, node: &str, key: &str, value: &str) {
    cluster.nodes.get_mut(node).unwrap().labels.insert(key.into(), value.into());
}

/// Rounds enough for all that can be done without the user and without more time.
fn rounds(cluster: &mut Cluster) {
    for _ in 0..20 {
        cluster.round();
    }
}

fn wave(cluster: &Cluster) -> Option<&str> {
    cluster.memory().unwrap().wave.as_deref()
}

fn image(cluster: &Cluster, node: &str) -> String {
    let current = cluster.updated().iter().any(|n| n == node);
    if current { "new".into() } else { "old".into() }
}

/// Six nodes with an update under these waves, half of them in zone a, half in zone b.
fn in_waves(waves: Value) -> Cluster {
    let mut cluster = governed(&rolling(6), 6, json!({"waves": waves}));
    for i in 0..6 {
        label(&mut cluster, &format!("n-{i}"), "zone", if i % 2 == 0 { "a" } else { "b" });
        label(&mut cluster, &format!("n-{i}"), "arch", if i < 4 { "x" } else { "y" });
    }
    set_image(&mut cluster.set, "x:2");
    cluster
}

#[test]
fn the_first_wave_is_as_large_as_it_is_said_to_be() {
    let cases = [
        (json!({"count": 2}), vec!["n-0", "n-1"]),
        (json!({"percent": 50}), vec!["n-0", "n-1", "n-2"]),
        (json!({"percent": 1}), vec!["n-0"]),
        (json!({"selector": {"matchLabels": {"arch": "y"}}}), vec!["n-4", "n-5"]),
        (json!({"diverse": ["arch"]}), vec!["n-0", "n-4"]),
        (json!({"diverse": ["arch", "zone"]}), vec!["n-0", "n-1", "n-4", "n-5"]),
        (json!({"count": 100}), vec!["n-0", "n-1", "n-2", "n-3", "n-4", "n-5"]),
    ];
    for (nodes, want) in cases {
        let mut cluster = in_waves(json!([{"name": "canary", "nodes": nodes, "gate": "Manual"}]));
        rounds(&mut cluster);
        assert_eq!(cluster.updated(), want, "{nodes}");
        assert_eq!((cluster.phase(), wave(&cluster)), (Phase::WaitingForPromotion, Some("canary")), "{nodes}");
    }
}

#[test]
fn a_promotion_opens_one_gate() {
    let gated = |name: &str| json!({"name": name, "nodes": {"count": 1}, "gate": "Manual"});
    let mut cluster = in_waves(json!([gated("one"), gated("two")]));
    rounds(&mut cluster);
    let waits = Reason::Outdated { pod: "d-0002".into(), hold: Hold::Promotion("one".into()) };
    assert_eq!(cluster.plan().reasons["n-1"], waits);
    cluster.memory_mut().promoted = Some("one".into());
    rounds(&mut cluster);
    assert_eq!(
        (cluster.updated().len(), cluster.phase(), wave(&cluster)),
        (2, Phase::WaitingForPromotion, Some("two"))
    );
    cluster.memory_mut().promoted = Some("two".into());
    cluster.settle();
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete));
}

#[test]
fn a_promotion_of_all_passes_gates_and_bake_times() {
    let waves = json!([{"name": "one", "nodes": {"count": 1}, "bakeSeconds": 9000, "gate": "Manual"},
        {"name": "two", "nodes": {"count": 1}, "bakeSeconds": 9000, "gate": "Manual"}]);
    let mut cluster = in_waves(waves);
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Baking));
    cluster.memory_mut().promoted = Some(PROMOTED_ALL.into());
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete));
    set_image(&mut cluster.set, "x:3");
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Baking), "another revision was not promoted");
}

#[test]
fn a_wave_is_watched_before_the_next_begins() {
    let mut cluster = in_waves(json!([{"name": "canary", "nodes": {"count": 1}, "bakeSeconds": 300}]));
    rounds(&mut cluster);
    assert_eq!((cluster.updated(), cluster.phase()), (vec!["n-0".to_owned()], Phase::Baking));
    let until = cluster.plan().requeue_at.unwrap();
    assert!(
        matches!(&cluster.plan().reasons["n-1"], Reason::Outdated { hold: Hold::Bakes { until: at, .. }, .. } if *at == Some(until))
    );
    cluster.pod_on("n-0").ready = false;
    cluster.pod_on("n-0").phase = crate::view::Phase::Pending;
    cluster.bad.insert(cluster.plan().hash);
    cluster.now = until;
    cluster.round();
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Rolling), "it is not well");
    cluster.bad.clear();
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Baking), "the time begins anew");
    cluster.pass(300);
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete));
}

#[test]
fn a_promotion_ends_the_watch() {
    let mut cluster = in_waves(json!([{"name": "canary", "nodes": {"count": 1}, "bakeSeconds": 9000}]));
    rounds(&mut cluster);
    assert_eq!(cluster.phase(), Phase::Baking);
    cluster.memory_mut().promoted = Some("canary".into());
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete));
}

#[test]
fn never_two_zones_at_once() {
    let mut cluster = in_waves(json!([{"name": "zones", "topologyKey": "zone"}]));
    cluster.nodes.insert("none".into(), node("none"));
    let zone = |cluster: &Cluster, pod: &PodView| {
        let node = &cluster.nodes[pod.node_or_target().unwrap()];
        node.labels.get("zone").cloned()
    };
    let mut order = Vec::new();
    for _ in 0..40 {
        let plan = cluster.plan();
        cluster.apply(&plan);
        let hash = plan.hash;
        let busy = cluster.pods.values().filter(|p| p.deleting.is_some() || (p.labels[HASH_LABEL] == hash && !p.ready));
        let zones: BTreeSet<Option<String>> = busy.map(|p| zone(&cluster, p)).collect();
        assert!(zones.len() <= 1, "{zones:?}");
        order.extend(zones.into_iter().filter(|zone| order.last() != Some(zone)).collect::<Vec<_>>());
        cluster.nodes_work();
        cluster.pass(2);
    }
    assert_eq!((cluster.updated().len(), cluster.phase()), (7, Phase::Complete));
    let zones: Vec<Option<&str>> = order.iter().map(Option::as_deref).collect();
    assert_eq!(zones.iter().filter(|z| z.is_some()).collect::<Vec<_>>(), [&Some("a"), &Some("b")]);
}

#[test]
fn a_wave_that_selects_no_node_is_passed_by_the_user_only() {
    let mut cluster = in_waves(json!([{"name": "lab", "nodes": {"selector": {"matchLabels": {"lab": "yes"}}}}]));
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (0, Phase::WaitingForPromotion));
    let message = cluster.memory().unwrap().message.clone().unwrap();
    assert_eq!(message, "wave lab selects no node: correct the policy, or promote the wave");
    label(&mut cluster, "n-3", "lab", "yes");
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete), "or a node gets the label");
}

#[test]
fn a_node_that_moves_to_a_later_wave_waits_and_one_that_moves_to_a_passed_wave_follows() {
    let pick =
        |name: &str| json!({"name": name, "nodes": {"selector": {"matchLabels": {"wave": name}}}, "gate": "Manual"});
    let mut cluster = in_waves(json!([pick("one"), pick("two")]));
    for (node, wave) in [("n-0", "one"), ("n-1", "one"), ("n-2", "two"), ("n-3", "two")] {
        label(&mut cluster, node, "wave", wave);
    }
    cluster.plan();
    label(&mut cluster, "n-1", "wave", "two");
    rounds(&mut cluster);
    assert_eq!(cluster.updated(), ["n-0"], "n-1 waits with its new wave");
    label(&mut cluster, "n-0", "wave", "two");
    label(&mut cluster, "n-4", "wave", "one");
    rounds(&mut cluster);
    assert_eq!(
        cluster.updated(),
        ["n-0", "n-4"],
        "an updated node keeps its daemon; one that moves into the wave follows"
    );
    cluster.memory_mut().promoted = Some("one".into());
    rounds(&mut cluster);
    assert_eq!(cluster.updated(), ["n-0", "n-1", "n-2", "n-3", "n-4"]);
    assert_eq!((cluster.phase(), wave(&cluster)), (Phase::WaitingForPromotion, Some("two")));
    label(&mut cluster, "n-5", "wave", "one");
    rounds(&mut cluster);
    assert_eq!(image(&cluster, "n-5"), "new", "its wave is passed already");
    assert_eq!(wave(&cluster), Some("two"), "and the rollout does not go back for it");
}

#[test]
fn an_undo_during_a_canary_takes_the_canary_back_at_once() {
    let waves = json!([{"name": "canary", "nodes": {"count": 2}, "bakeSeconds": 9000, "gate": "Manual"}]);
    let mut cluster = in_waves(waves);
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (2, Phase::Baking));
    let kept: Vec<String> = ["n-2", "n-5"].map(|n| cluster.pod_on(n).uid.clone()).to_vec();
    set_image(&mut cluster.set, "x:1");
    cluster.settle();
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete), "no wave, no bake, no gate");
    assert_eq!(["n-2", "n-5"].map(|n| cluster.pod_on(n).uid.clone()).to_vec(), kept, "who never left is left alone");
    assert_eq!(cluster.memory().unwrap().promoted, None);
}

#[test]
fn another_revision_during_a_canary_begins_with_the_same_nodes() {
    let waves = json!([{"name": "canary", "nodes": {"count": 2}, "gate": "Manual"}]);
    let mut cluster = in_waves(waves);
    rounds(&mut cluster);
    cluster.memory_mut().promoted = Some("canary".into());
    set_image(&mut cluster.set, "x:3");
    rounds(&mut cluster);
    assert_eq!(cluster.updated(), ["n-0", "n-1"], "and the promotion of the other does not count");
    assert_eq!(cluster.phase(), Phase::WaitingForPromotion);
}

#[test]
fn without_its_policy_a_rollout_in_waves_goes_on_as_kubernetes_does() {
    let mut cluster = in_waves(json!([{"name": "canary", "nodes": {"count": 1}, "gate": "Manual"}]));
    rounds(&mut cluster);
    assert_eq!(cluster.updated().len(), 1);
    cluster.policy = None;
    cluster.settle();
    assert_eq!(cluster.updated().len(), 6);
}

#[test]
fn a_policy_that_comes_again_in_mid_rollout_knows_no_good_revision_and_begins_with_the_first_wave() {
    let waves = json!({"waves": [{"name": "canary", "nodes": {"count": 1}, "gate": "Manual"}]});
    let mut cluster = changed(&rolling(1), 4, waves.clone());
    rounds(&mut cluster);
    cluster.policy = None;
    cluster.round();
    cluster.govern(waves);
    rounds(&mut cluster);
    assert_eq!(cluster.phase(), Phase::WaitingForPromotion, "what ran everywhere before is found by its pods");
    assert!(cluster.updated().len() < 4, "{:?}", cluster.updated());
}

#[test]
fn nodes_that_join_get_what_their_wave_has() {
    let mut cluster =
        in_waves(json!([{"name": "canary", "nodes": {"selector": {"matchLabels": {"lab": "yes"}}}, "gate": "Manual"}]));
    label(&mut cluster, "n-0", "lab", "yes");
    rounds(&mut cluster);
    for (name, lab) in [("m-0", true), ("m-1", false)] {
        cluster.nodes.insert(name.into(), node(name));
        if lab {
            label(&mut cluster, name, "lab", "yes");
        }
    }
    rounds(&mut cluster);
    assert_eq!(cluster.updated(), ["m-0", "n-0"], "the other joins with the last good revision");
    assert_eq!(cluster.pods_on("m-1").len(), 1);
}
