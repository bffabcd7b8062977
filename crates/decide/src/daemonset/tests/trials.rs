//! Daemons that may still cut their nodes off: what a rollout makes of them until their trial is over.

use api::rollout_policy::{PROMOTED_ALL, Phase};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::*;
use super::fixture::{Cluster, set_image};
use super::policy::{governed, rolling};
use crate::node_health::Grace;

const AFTER_S: i32 = 60;

/// Three nodes with an update under this policy and a dead-man switch.
fn on_trial(mut policy: Value) -> Cluster {
    policy["deadMan"] = json!({"afterSeconds": AFTER_S});
    let mut cluster = governed(&rolling(3), 3, policy);
    set_image(&mut cluster.set, "x:2");
    cluster
}

/// Rounds of less time than a trial.
fn rounds(cluster: &mut Cluster) {
    for _ in 0..10 {
        cluster.round();
    }
}

fn good(cluster: &Cluster) -> Option<&str> {
    cluster.memory().unwrap().last_good_revision.as_deref()
}

/// The time of a whole trial passes, but for `less`.
fn trial_passes(cluster: &mut Cluster, less: i64) {
    cluster.pass(dead_man::proven_within_s(AFTER_S, cluster.grace) - less);
    cluster.round();
}

#[test]
fn a_trial_ends_only_once_a_silent_node_is_known_as_one() {
    for grace_s in [20, 600, i64::MAX] {
        let mut cluster = on_trial(json!({}));
        cluster.grace = Grace(grace_s);
        rounds(&mut cluster);
        let started = cluster.pods.values().filter_map(|pod| pod.started.or(pod.created)).max().unwrap();
        let trial = SignedDuration::from_secs(i64::from(AFTER_S).saturating_add(grace_s));
        let silence_is_known = started.checked_add(trial).unwrap_or(Timestamp::MAX);
        let due = cluster.plan().requeue_at.unwrap();
        assert!(cluster.phase() == Phase::Baking && due >= silence_is_known, "{grace_s} s: {due}");
        assert!(due <= silence_is_known.saturating_add(SignedDuration::from_secs(10)).unwrap(), "{grace_s} s: {due}");
    }
}

#[test]
fn a_revision_is_a_good_one_only_after_its_last_trial() {
    let mut cluster = on_trial(json!({}));
    let old = cluster.memory().unwrap().revision.clone();
    rounds(&mut cluster);
    let new = cluster.plan().hash;
    assert_eq!((cluster.updated().len(), cluster.phase(), good(&cluster)), (3, Phase::Baking, Some(old.as_str())));
    let message = cluster.memory().unwrap().message.clone().unwrap();
    assert!(message.starts_with("the last nodes may cut themselves off until "), "{message}");
    let due = cluster.plan().requeue_at.unwrap();
    trial_passes(&mut cluster, 30);
    assert_eq!((cluster.phase(), good(&cluster)), (Phase::Baking, Some(old.as_str())));
    assert!(due > cluster.now, "it is looked at again when the last trial is over");
    // One that started late holds up all.
    cluster.pod_on("n-0").started = Some(cluster.now);
    cluster.now = due;
    cluster.round();
    assert_eq!((cluster.phase(), good(&cluster)), (Phase::Baking, Some(old.as_str())));
    cluster.now = cluster.plan().requeue_at.unwrap();
    cluster.round();
    assert_eq!((cluster.phase(), good(&cluster)), (Phase::Complete, Some(new.as_str())));
    assert_eq!(cluster.memory().unwrap().message, None);
}

#[test]
fn a_node_that_goes_back_after_all_were_ready_fails_the_revision() {
    let mut cluster = on_trial(json!({"failure": {"action": "Rollback"}}));
    let old = cluster.memory().unwrap().revision.clone();
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (3, Phase::Baking));
    let pod = cluster.pod_on("n-1");
    (pod.phase, pod.ready, pod.cut_off) = (crate::view::Phase::Failed, false, true);
    cluster.round();
    let memory = cluster.memory().unwrap().clone();
    assert_eq!((memory.phase, memory.cause.as_deref()), (Phase::Failed, Some("DeadManSwitch")));
    // The way back is on trial nowhere.
    rounds(&mut cluster);
    assert_eq!((cluster.phase(), cluster.plan().hash == old), (Phase::Complete, true));
}

#[test]
fn a_trial_is_longer_than_the_deadline_for_progress_if_need_be() {
    let mut cluster = on_trial(json!({"progressDeadlineSeconds": 30}));
    rounds(&mut cluster);
    trial_passes(&mut cluster, 30);
    assert_eq!(cluster.phase(), Phase::Baking);
    trial_passes(&mut cluster, 0);
    assert_eq!(cluster.phase(), Phase::Complete);
}

#[test]
fn a_wave_waits_for_the_trials_of_the_one_before() {
    let waves = json!([{"name": "canary", "nodes": {"count": 1}, "bakeSeconds": 10}]);
    let mut cluster = on_trial(json!({"waves": waves}));
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Baking));
    let waited = cluster.observe(|observed| explain(&cluster.set, observed, cluster.now)).outlook.unwrap().waves;
    assert_eq!(waited[0].bake_s, dead_man::proven_within_s(AFTER_S, cluster.grace) + 10, "plans tell of it");
    trial_passes(&mut cluster, 0);
    assert_eq!((cluster.updated().len(), cluster.phase()), (1, Phase::Baking), "then it is watched");
    cluster.pass(10);
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (3, Phase::Baking));
    trial_passes(&mut cluster, 0);
    assert_eq!(cluster.phase(), Phase::Complete);

    // Who promotes a wave waits for its trials no longer, but the revision is no good one before.
    set_image(&mut cluster.set, "x:3");
    rounds(&mut cluster);
    assert_eq!(cluster.updated().len(), 1);
    cluster.memory_mut().promoted = Some("canary".into());
    rounds(&mut cluster);
    assert_eq!((cluster.updated().len(), cluster.phase()), (3, Phase::Baking));
    cluster.memory_mut().promoted = Some(PROMOTED_ALL.into());
    cluster.round();
    assert_eq!(cluster.phase(), Phase::Baking);
    assert_ne!(good(&cluster), Some(cluster.plan().hash.as_str()));
}

#[test]
fn no_zone_is_updated_beside_a_trial_in_another() {
    let waves = json!([{"name": "zones", "topologyKey": "zone"}]);
    let mut cluster = on_trial(json!({"waves": waves}));
    for (node, zone) in [("n-0", "a"), ("n-1", "b"), ("n-2", "b")] {
        cluster.nodes.get_mut(node).unwrap().labels.insert("zone".into(), zone.into());
    }
    rounds(&mut cluster);
    assert_eq!(cluster.updated(), ["n-0"]);
    trial_passes(&mut cluster, 0);
    cluster.round();
    // A node comes to the zone that is done, with an old daemon, while the next one is on trial.
    rounds(&mut cluster);
    assert_eq!(cluster.updated().len(), 3);
    let late = cluster.updated().pop().unwrap();
    cluster.nodes.get_mut("n-0").unwrap().labels.insert("zone".into(), "b".into());
    cluster.nodes.get_mut(&late).unwrap().labels.insert("zone".into(), "a".into());
    let hash = cluster.memory().unwrap().last_good_revision.clone().unwrap();
    cluster.pod_on(&late).labels.insert(HASH_LABEL.into(), hash);
    cluster.round();
    assert!(!moves_pods(&cluster), "one zone after the other");
}

fn moves_pods(cluster: &Cluster) -> bool {
    !super::fixture::moves(&cluster.plan()).is_empty()
}
