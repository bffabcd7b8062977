//! Topology spread.

use api::selector::Labels;
use serde_json::{Value, json};

use super::*;

fn constraint(key: &str, skew: i32, how: &str) -> Value {
    json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": how, "labelSelector": {"matchLabels": {"app": "w"}}})
}

fn spread(constraints: &[Value]) -> Value {
    json!({"labels": {"app": "w"}, "topologySpreadConstraints": constraints})
}

fn hard(skew: i32) -> Value {
    spread(&[constraint("zone", skew, "DoNotSchedule")])
}

fn worker(name: &str) -> PodView {
    pod(name, json!({"labels": {"app": "w"}}))
}

#[test]
fn no_domain_gets_ahead_by_more_than_the_skew() {
    let mut fleet = Fleet::zones(&["a", "a", "b"]);
    fleet.put("n-0", worker("1"));
    assert_eq!(fleet.bound(hard(1)), "n-2");
    fleet.put("n-2", worker("2")).put("n-2", worker("3"));
    assert_eq!(fleet.bound(hard(1)), "n-1", "zone a is behind, and n-1 is its emptier node");
    fleet.nodes.get_mut("n-0").unwrap().0.unschedulable = true;
    fleet.nodes.get_mut("n-1").unwrap().0.unschedulable = true;
    let unfit = fleet.unfit(hard(1));
    let lead = "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
        2 node(s) were unschedulable.";
    assert!(unfit.why.starts_with(lead) && unfit.heeds_pods, "{unfit:?}");
    assert_eq!(fleet.bound(hard(3)), "n-2");
}

#[test]
fn nodes_without_the_label_are_no_domain() {
    let fleet = Fleet::zones(&[""]);
    let why =
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).";
    assert_eq!(fleet.why(hard(1)), why);
    let mut mixed = Fleet::zones(&["a", ""]);
    mixed.put("n-1", worker("1"));
    assert_eq!(mixed.bound(hard(1)), "n-0", "pods elsewhere do not count");
}

#[test]
fn too_few_domains_count_as_one_that_is_empty() {
    let mut fleet = Fleet::zones(&["a", "b"]);
    fleet.put("n-0", worker("1")).put("n-1", worker("2"));
    let mut three = constraint("zone", 1, "DoNotSchedule");
    assert_eq!(fleet.bound(spread(&[three.clone()])), "n-0");
    three["minDomains"] = json!(3);
    let why = "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.";
    assert_eq!(fleet.why(spread(&[three])), why);
}

#[test]
fn policies_say_which_nodes_count() {
    let mut fleet = Fleet::zones(&["a", "b"]);
    fleet.nodes.get_mut("n-0").unwrap().0.labels.insert("ssd".into(), "true".into());
    fleet.put("n-0", worker("1"));
    let picky = |policy: Option<&str>| {
        let mut one = constraint("zone", 1, "DoNotSchedule");
        one["nodeAffinityPolicy"] = json!(policy);
        let mut spec = spread(&[one]);
        spec["nodeSelector"] = json!({"ssd": "true"});
        fleet.decide("new", spec) == Decision::Bind("n-0".into())
    };
    assert!(picky(None), "only nodes that the selector allows count");
    assert!(!picky(Some("Ignore")), "zone b is empty");

    let mut tainted = Fleet::zones(&["a", "b"]);
    let taint = serde_json::from_value(json!({"key": "k", "effect": "NoSchedule"})).unwrap();
    tainted.nodes.get_mut("n-1").unwrap().0.taints.push(taint);
    tainted.put("n-0", worker("1"));
    let mut one = constraint("zone", 1, "DoNotSchedule");
    assert!(matches!(tainted.decide("new", spread(&[one.clone()])), Decision::Unschedulable(_)), "zone b counts");
    one["nodeTaintsPolicy"] = json!("Honor");
    assert_eq!(tainted.bound(spread(&[one])), "n-0");
}

#[test]
fn pods_that_go_and_pods_of_others_do_not_count() {
    let mut fleet = Fleet::zones(&["a", "b"]);
    let mut going = worker("1");
    going.deleting = Some(jiff::Timestamp::UNIX_EPOCH);
    let mut foreign = worker("2");
    foreign.namespace = "other".into();
    fleet.put("n-0", going).put("n-0", foreign).put("n-1", worker("3"));
    assert_eq!(fleet.bound(hard(1)), "n-0");
}

#[test]
fn soft_constraints_only_prefer() {
    let soft = |key: &str| spread(&[constraint(key, 1, "ScheduleAnyway")]);
    let mut fleet = Fleet::zones(&["a", "a", "b"]);
    fleet.put("n-0", worker("1")).put("n-2", pod("x", json!({}))).put("n-2", pod("y", json!({})));
    assert_eq!(fleet.bound(soft("zone")), "n-2", "though it has more pods of others");
    fleet.nodes.get_mut("n-2").unwrap().0.unschedulable = true;
    assert_eq!(fleet.bound(soft("kubernetes.io/hostname")), "n-1");
    fleet.nodes.get_mut("n-1").unwrap().0.unschedulable = true;
    assert_eq!(fleet.bound(soft("zone")), "n-0", "rather than nowhere");
}

#[test]
fn pods_of_a_replica_set_are_spread_unasked() {
    let mut fleet = Fleet::zones(&["a", "a", "b"]);
    fleet.put("n-0", worker("1")).put("n-1", worker("2"));
    fleet.put("n-2", pod("x", json!({}))).put("n-2", pod("y", json!({})));
    assert_ne!(fleet.bound(json!({"labels": {"app": "w"}})), "n-2", "the emptiest without siblings");
    fleet.siblings = Some(Labels::parse("app=w").unwrap());
    assert_eq!(fleet.bound(json!({"labels": {"app": "w"}})), "n-2");
}
