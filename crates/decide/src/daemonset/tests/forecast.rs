//! What is forecast is what happens.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::fixture::{Cluster, set, set_image};
use super::policy::{governed, rolling};
use crate::forecast::{Change, Forecast, forecast};

fn foresee(cluster: &Cluster, wanted: &DaemonSet) -> Forecast {
    cluster.observe(|observed| forecast(Some(&cluster.set), wanted, observed, cluster.now))
}

fn names(list: &[crate::forecast::NodeWhy]) -> Vec<&str> {
    list.iter().map(|n| n.node.as_str()).collect()
}

fn restarted(forecast: &Forecast) -> Vec<&str> {
    forecast.steps.iter().flat_map(|s| s.nodes.iter().map(String::as_str)).collect()
}

#[test]
fn a_new_image_restarts_every_pod_in_order_and_says_how_long_it_takes() {
    let mut cluster = Cluster::settled(set(r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":2}}}"#), 5);
    for pod in cluster.pods.values_mut() {
        let created = pod.created.unwrap();
        pod.ready_changed = created.checked_add(jiff::SignedDuration::from_secs(7)).ok();
    }
    cluster.pod_on("n-3").ready = false;
    let mut wanted = cluster.set.clone();
    set_image(&mut wanted, "x:2");
    let seen = foresee(&cluster, &wanted);
    assert_eq!(seen.change, Change::Updated);
    let paths: Vec<&str> = seen.fields.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["spec.template.spec.containers[c].image"]);
    assert_eq!(restarted(&seen), ["n-3", "n-0", "n-1", "n-2", "n-4"], "what is not available goes first");
    assert_eq!(names(&seen.unavailable), ["n-3"]);
    assert_eq!((seen.pace.at_a_time, seen.pace.desired, seen.kept), (2, 5, 0));
    let estimate = seen.estimate.unwrap();
    assert_eq!((estimate.start_seconds, estimate.seconds, estimate.pods), (7, 21, 4), "three rounds of 7 s");
}

#[test]
fn nodes_come_and_go_with_reasons() {
    let mut cluster = Cluster::new(set(r#"{"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}"#), 3);
    for (node, disk) in [("n-0", "ssd"), ("n-1", "hdd")] {
        cluster.nodes.get_mut(node).unwrap().labels.insert("disk".into(), disk.into());
    }
    cluster.settle();
    let mut wanted = cluster.set.clone();
    let spec = wanted.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    spec.node_selector = Some([("disk".to_owned(), "hdd".to_owned())].into());
    let seen = foresee(&cluster, &wanted);
    assert_eq!(seen.gained[0].why, "until now the node selector asks for disk=ssd, and the node has disk=hdd");
    assert_eq!(seen.lost[0].why, "the node selector asks for disk=hdd, and the node has disk=ssd");
    assert_eq!((names(&seen.gained), names(&seen.lost), restarted(&seen)), (vec!["n-1"], vec!["n-0"], vec![]));
}

#[test]
fn what_asks_for_no_restart_restarts_nothing() {
    let mut cluster = Cluster::settled(set("{}"), 3);
    assert!(foresee(&cluster, &cluster.set.clone()).is_empty());
    let mut wanted = cluster.set.clone();
    wanted.spec.as_mut().unwrap().min_ready_seconds = Some(5);
    let seen = foresee(&cluster, &wanted);
    let others: Vec<&str> = seen.other_fields.iter().map(|f| f.path.as_str()).collect();
    assert_eq!((others, seen.restarted(), seen.kept), (vec!["spec.minReadySeconds"], 0, 3));
    // Halfway through an update, the way back restarts only what was updated.
    set_image(&mut cluster.set, "x:2");
    for _ in 0..2 {
        let plan = cluster.plan();
        cluster.apply(&plan);
        cluster.nodes_work();
    }
    let mut back = cluster.set.clone();
    set_image(&mut back, "x:1");
    assert_eq!(restarted(&foresee(&cluster, &back)), ["n-0"]);
    let taint = Taint { key: "a".into(), effect: "NoSchedule".into(), ..Taint::default() };
    cluster.nodes.get_mut("n-2").unwrap().taints.push(taint);
    let mut next = cluster.set.clone();
    set_image(&mut next, "x:3");
    let seen = foresee(&cluster, &next);
    assert_eq!(seen.lost[0].why, "its pod is outdated, and none would start: the taint a:NoSchedule is not tolerated");
}

/// Six nodes in two zones under a policy, and the DaemonSet with another image.
fn governed_by(policy: serde_json::Value) -> (Cluster, DaemonSet) {
    let mut cluster = governed(&rolling(6), 6, policy);
    for (at, node) in cluster.nodes.values_mut().enumerate() {
        node.labels.insert("zone".into(), ["a", "b"][at % 2].into());
    }
    for pod in cluster.pods.values_mut() {
        pod.ready_changed = pod.created.and_then(|at| at.checked_add(jiff::SignedDuration::from_secs(7)).ok());
    }
    let mut wanted = cluster.set.clone();
    set_image(&mut wanted, "x:2");
    (cluster, wanted)
}

/// Each step in one line.
fn steps(forecast: &Forecast) -> Vec<String> {
    let line = |step: &crate::forecast::Step| {
        let gated = if step.gated { " gated" } else { "" };
        format!("{}: {} +{}{gated}", step.wave.as_deref().unwrap_or("-"), step.nodes.join(" "), step.bake_seconds)
    };
    forecast.steps.iter().map(line).collect()
}

#[test]
fn waves_come_in_order_with_what_each_waits_for() {
    let waves = json!([{"name": "canary", "nodes": {"count": 1}, "bakeSeconds": 300}, {"name": "zones", "topologyKey": "zone"}]);
    let (cluster, wanted) = governed_by(json!({"waves": waves}));
    let seen = foresee(&cluster, &wanted);
    assert_eq!(steps(&seen), ["canary: n-0 +300", "zones/a: n-2 n-4 +0", "zones/b: n-1 n-3 n-5 +0"]);
    let estimate = seen.estimate.unwrap();
    let rounds =
        i64::try_from([1, 2, 3].map(|n: usize| n.div_ceil(seen.pace.at_a_time)).iter().sum::<usize>()).unwrap();
    assert_eq!((estimate.start_seconds, estimate.seconds), (7, 300 + 7 * rounds));
    assert_eq!((seen.held, seen.excused), (vec![], vec![]));
}

#[test]
fn what_is_forecast_of_a_wave_is_what_is_updated_first() {
    let (mut cluster, wanted) =
        governed_by(json!({"waves": [{"name": "canary", "nodes": {"percent": 30}, "gate": "Manual"}]}));
    let seen = foresee(&cluster, &wanted);
    assert_eq!(steps(&seen), ["canary: n-0 n-1 +0 gated", "rest: n-2 n-3 n-4 n-5 +0"]);
    assert_eq!(seen.estimate, None, "it depends on a person");
    cluster.set = wanted.clone();
    for _ in 0..20 {
        cluster.round();
    }
    assert_eq!(cluster.updated(), seen.steps[0].nodes);
    let seen = foresee(&cluster, &wanted);
    assert_eq!(steps(&seen), ["rest: n-2 n-3 n-4 n-5 +0"]);
    assert_eq!(seen.held, ["wave canary is done and waits to be promoted"]);
}

#[test]
fn a_wave_of_no_node_has_to_be_passed() {
    let waves = json!([{"name": "gone", "nodes": {"selector": {"matchLabels": {"zone": "z"}}}}]);
    let (cluster, wanted) = governed_by(json!({"waves": waves}));
    let seen = foresee(&cluster, &wanted);
    assert_eq!(steps(&seen), ["gone:  +0 gated", "rest: n-0 n-1 n-2 n-3 n-4 n-5 +0"]);
    assert_eq!(seen.held, ["wave gone selects no node: correct the policy, or promote the wave"]);
}

#[test]
fn sick_nodes_are_excused_by_a_policy_and_use_the_budget_up_without() {
    let (mut cluster, wanted) = governed_by(json!({}));
    cluster.pod_on("n-1").ready = false;
    cluster.node_ready("n-4", false);
    let seen = foresee(&cluster, &wanted);
    let why: Vec<String> = seen.excused.iter().map(|n| format!("{}: {}", n.node, n.why)).collect();
    assert_eq!(
        why,
        ["n-1: its daemon is not available already now", "n-4: it is not ready: its turn comes when it is back"]
    );
    assert_eq!((names(&seen.unavailable), restarted(&seen)), (vec![], vec!["n-1", "n-0", "n-2", "n-3", "n-5"]));
    cluster.policy = None;
    let seen = foresee(&cluster, &wanted);
    assert_eq!((names(&seen.unavailable), names(&seen.excused)), (vec!["n-1", "n-4"], vec![]));
}

#[test]
fn what_holds_a_rollout_up_is_said() {
    for (policy, want) in [
        (json!({"paused": true}), "the policy pauses rollouts"),
        (json!({"frozen": true}), "the policy freezes the DaemonSet"),
        (json!({"windows": [{"start": "15:00", "durationSeconds": 600}]}), "the next window opens at "),
    ] {
        let (cluster, wanted) = governed_by(policy.clone());
        let seen = foresee(&cluster, &wanted);
        assert!(seen.held.len() == 1 && seen.held[0].starts_with(want), "{policy}: {:?}", seen.held);
        assert_eq!((seen.restarted(), seen.estimate), (6, None), "{policy}");
        assert_eq!(foresee(&cluster, &cluster.set.clone()).held, Vec::<String>::new(), "nothing to do");
    }
}

#[test]
fn a_host_port_beside_itself_ends_no_rollout() {
    let port = r#"{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},
        "template":{"spec":{"containers":[{"name":"c","image":"x:1","ports":[{"containerPort":80,"hostPort":80}]}]}}}"#;
    let cluster = Cluster::settled(set(port), 2);
    let mut wanted = cluster.set.clone();
    set_image(&mut wanted, "x:2");
    let seen = foresee(&cluster, &wanted);
    assert!(seen.stuck.as_deref().is_some_and(|why| why.contains("hostPort")), "{:?}", seen.stuck);
    assert_eq!(seen.estimate, None);
    assert_eq!(foresee(&cluster, &cluster.set.clone()).stuck, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_forecast_happens(
        nodes in 1..9_usize, limit in 1..4_u32, labels in any::<u16>(), taints in any::<u16>(), sick in any::<u16>(),
        image in 1..3_u8, selects in any::<[bool; 2]>(), surge in any::<bool>(),
    ) {
        let limits = match surge {
            true => format!(r#"{{"maxSurge":{limit},"maxUnavailable":0}}"#),
            false => format!(r#"{{"maxUnavailable":{limit}}}"#),
        };
        let template = |on: bool| if on { r#""nodeSelector":{"on":"true"}"# } else { "" };
        let spec = |on: bool| format!(
            r#"{{"updateStrategy":{{"rollingUpdate":{limits}}},"template":{{"spec":{{{}}}}}}}"#, template(on));
        let mut cluster = Cluster::new(set(&spec(selects[0])), nodes);
        for (at, node) in cluster.nodes.values_mut().enumerate() {
            node.labels.insert("on".into(), (labels >> at & 1 == 1).to_string());
        }
        cluster.settle();
        let current = cluster.set.clone();
        prop_assert!(foresee(&cluster, &current).is_empty(), "converged means nothing to do");
        for (at, node) in cluster.nodes.values_mut().enumerate() {
            if taints >> at & 1 == 1 {
                node.taints.push(Taint { key: "a".into(), effect: "NoSchedule".into(), ..Taint::default() });
            }
        }
        for (at, pod) in cluster.pods.values_mut().enumerate() {
            pod.ready = sick >> at & 1 == 0;
        }
        let mut wanted = DaemonSet { status: current.status.clone(), ..set(&spec(selects[1])) };
        set_image(&mut wanted, &format!("x:{image}"));
        let seen = foresee(&cluster, &wanted);
        prop_assert_eq!(serde_json::to_string(&seen).unwrap(), serde_json::to_string(&foresee(&cluster, &wanted)).unwrap());

        let before: BTreeMap<String, String> =
            cluster.pods.values().map(|p| (p.node_or_target().unwrap().to_owned(), p.uid.clone())).collect();
        cluster.set = wanted;
        cluster.settle();
        let after: BTreeMap<String, String> =
            cluster.pods.values().map(|p| (p.node_or_target().unwrap().to_owned(), p.uid.clone())).collect();
        let gained: Vec<&str> = after.keys().filter(|n| !before.contains_key(*n)).map(String::as_str).collect();
        let lost: Vec<&str> = before.keys().filter(|n| !after.contains_key(*n)).map(String::as_str).collect();
        let anew: Vec<&str> =
            after.iter().filter(|(n, uid)| before.get(*n).is_some_and(|b| b != *uid)).map(|(n, _)| n.as_str()).collect();
        let mut foreseen = restarted(&seen);
        foreseen.sort_unstable();
        prop_assert_eq!((names(&seen.gained), names(&seen.lost), foreseen), (gained, lost, anew));
        let done = cluster.set.clone();
        prop_assert!(foresee(&cluster, &done).is_empty(), "what was forecast and done leaves nothing");
    }
}
