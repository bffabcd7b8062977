//! Rules that look at one node alone.

use serde_json::{Value, json};

use super::*;

fn daemon(node: &str, more: Value) -> Value {
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
    let mut spec = json!({"affinity": {"nodeAffinity": required}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn daemon_pods_go_where_they_say() {
    assert_eq!(Fleet::roomy(3).bound(daemon("n-1", json!({}))), "n-1");
}

#[test]
fn terms_that_name_nodes_are_alternatives_and_all_must_name_some() {
    let term = |names: &[&str]| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]});
    let spec = |terms: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": terms}}}})
    };
    let mut fleet = Fleet::roomy(3);
    fleet.put("n-1", pod("a", json!({"containers": cpu("4")})));
    let hungry = |terms: Value| {
        let mut spec = spec(terms);
        spec["containers"] = cpu("1");
        spec
    };
    assert_eq!(fleet.bound(hungry(json!([term(&["n-1"]), term(&["n-2"])]))), "n-2");
    let exists = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]});
    assert_eq!(fleet.bound(hungry(json!([term(&["n-1"]), exists]))), "n-0");
    let mut both = term(&["n-0"]);
    both["matchFields"].as_array_mut().unwrap().extend(term(&["n-2"])["matchFields"].as_array().unwrap().clone());
    let text = "0/3 nodes are available: pod affinity terms conflict. no new claims to deallocate, preemption: \
        0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    assert_eq!(fleet.unfit(spec(json!([both]))).why, text);
}

#[test]
fn pods_that_are_not_ours_are_left() {
    let cases =
        [json!({"schedulerName": "mine"}), json!({"nodeName": "n-0"}), json!({"schedulingGates": [{"name": "g"}]})];
    for spec in cases {
        assert_eq!(Fleet::roomy(1).decide("p", spec.clone()), Decision::Leave, "{spec}");
    }
    let mut going = pod("p", json!({}));
    going.deleting = Some(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(decide(&going, &Fleet::roomy(1)), Decision::Leave);
}

#[test]
fn obstacles_are_counted() {
    let fleet = Fleet::of(vec![
        node("n-0", r#"{"spec":{"unschedulable":true},"status":{"allocatable":{"cpu":"4","pods":"9"}}}"#),
        node("n-1", r#"{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]},"status":{"allocatable":{"cpu":"4"}}}"#),
        node("n-2", r#"{"status":{"allocatable":{"cpu":"100m","pods":"0"}}}"#),
        node("n-3", r#"{"status":{"allocatable":{"cpu":"4","pods":"0"}}}"#),
    ]);
    let text = "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
        1 node(s) were unschedulable, 2 Too many pods. no new claims to deallocate, preemption: 0/4 nodes are available: \
        1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.";
    assert_eq!(fleet.unfit(json!({"containers": cpu("200m")})).why, text, "n-2 will never have enough");
}

#[test]
fn a_daemon_pod_that_does_not_fit_says_so_of_its_node() {
    let mut fleet = Fleet::roomy(5);
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    fleet.put("n-1", pod("a", port.clone()));
    let text = "0/5 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, \
        4 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: \
        0/5 nodes are available: 1 No preemption victims found for incoming pod, 4 Preemption is not helpful for scheduling.";
    let unfit = fleet.unfit(daemon("n-1", port.clone()));
    assert_eq!((unfit.why.as_str(), unfit.nodes, unfit.heeds_pods), (text, vec!["n-1".to_owned()], false));
    fleet.nodes.get_mut("n-1").unwrap().1.remove("a");
    assert!(fleet.nodes["n-1"].1.ports.is_empty());
    assert_eq!(fleet.bound(daemon("n-1", port)), "n-1");
}

#[test]
fn host_ports_clash_by_address_protocol_and_number() {
    let port = |ip: &str, protocol: &str, number: i32| {
        json!({"containers": [{"name": "c", "ports":
            [{"containerPort": 1, "hostPort": number, "hostIP": ip, "protocol": protocol}]}]})
    };
    let cases = [
        (port("", "TCP", 80), port("", "TCP", 80), false),
        (port("", "TCP", 80), port("", "TCP", 81), true),
        (port("", "TCP", 80), port("", "UDP", 80), true),
        (port("127.0.0.1", "TCP", 80), port("127.0.0.2", "TCP", 80), true),
        (port("127.0.0.1", "TCP", 80), port("0.0.0.0", "TCP", 80), false),
        (port("", "UDP", 80), port("127.0.0.1", "UDP", 80), false),
    ];
    for (there, new, fits) in cases {
        let mut fleet = Fleet::roomy(1);
        fleet.put("n-0", pod("a", there.clone()));
        assert_eq!(fleet.decide("new", new.clone()) == Decision::Bind("n-0".into()), fits, "{there} {new}");
    }
}

#[test]
fn selectors_and_missing_nodes() {
    let lost = "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, \
        preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(Fleet::roomy(2).unfit(daemon("n-9", json!({}))).why, lost);
    let picky = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to \
        deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(Fleet::roomy(1).unfit(json!({"nodeSelector": {"a": "b"}})).why, picky);
    assert_eq!(Fleet::roomy(0).unfit(json!({})).why, "no nodes available to schedule pods");
}

#[test]
fn extended_resources_are_counted_by_name() {
    let mut fleet = Fleet::of(vec![node("n-0", r#"{"status":{"allocatable":{"cpu":"4","x.com/gpu":"2"}}}"#)]);
    let gpus = |n: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"x.com/gpu": n}}}]});
    fleet.put("n-0", pod("a", gpus("1")));
    assert_eq!(fleet.bound(gpus("1")), "n-0");
    assert_eq!(fleet.why(gpus("2")), "0/1 nodes are available: 1 Insufficient x.com/gpu.");
    let other = json!({"containers": [{"name": "c", "resources": {"requests": {"y.com/fpga": "1"}}}]});
    assert_eq!(fleet.why(other), "0/1 nodes are available: 1 Insufficient y.com/fpga.");
}

#[test]
fn requests_count_init_containers_sidecars_and_overhead() {
    let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let spec = |init: Vec<Value>| json!({"containers": [container("a", "100m"), container("b", "50m")], "initContainers": init});
    let mut heavy = spec(vec![]);
    heavy["overhead"] = json!({"cpu": "7m"});
    let mut whole = spec(vec![]);
    whole["resources"] = json!({"requests": {"cpu": "1"}});
    let cases = [
        (spec(vec![]), 150),
        (spec(vec![container("i", "400m")]), 400),
        (spec(vec![sidecar("30m")]), 180),
        (spec(vec![sidecar("30m"), container("i", "160m")]), 190),
        (spec(vec![container("i", "160m"), sidecar("30m")]), 180),
        (heavy, 157),
        (whole, 1000),
    ];
    for (spec, expect) in cases {
        assert_eq!(pod("p", spec.clone()).requests.get("cpu"), expect, "{spec}");
    }
}

#[test]
fn a_change_of_a_node_helps_only_whom_it_may() {
    let helps = |fleet: &Fleet, spec: Value| {
        let (node, load) = &fleet.nodes["n-0"];
        may_help(&pod("new", spec), None, node, load)
    };
    let mut fleet = Fleet::roomy(1);
    assert!(helps(&fleet, json!({"containers": cpu("4")})));
    assert!(!helps(&fleet, json!({"containers": cpu("5")})));
    assert!(!helps(&fleet, json!({"nodeSelector": {"gpu": "true"}})));
    let cordoned = NodeView { unschedulable: true, ..fleet.nodes["n-0"].0.clone() };
    let (node, load) = &fleet.nodes["n-0"];
    let picky = pod("new", json!({"nodeSelector": {"gpu": "true"}}));
    assert!(may_help(&picky, Some(&cordoned), node, load), "another reason is to be told");
    assert!(!may_help(&picky, Some(node), node, load));
    fleet.put("n-0", pod("a", json!({"priority": 5, "containers": cpu("4")})));
    assert!(!helps(&fleet, json!({"containers": cpu("1")})));
    assert!(helps(&fleet, json!({"priority": 6, "containers": cpu("1")})), "room can be made");
}
