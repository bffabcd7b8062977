//! Making room for more important pods.

use api::selector::Labels;
use serde_json::{Value, json};

use super::*;

fn victim(name: &str, priority: i32, amount: &str) -> PodView {
    let started = format!("2026-01-01T00:00:{:02}Z", name.len());
    pod(
        name,
        json!({"priority": priority, "containers": cpu(amount), "labels": {"app": name},
        "status": {"startTime": started}}),
    )
}

fn vip(amount: &str) -> Value {
    json!({"priority": 1000, "containers": cpu(amount)})
}

fn room(fleet: &Fleet, spec: Value) -> Option<(String, Vec<String>)> {
    let room = fleet.unfit(spec).room?;
    Some((room.0, room.1.iter().map(|p| p.name.clone()).collect()))
}

fn some(node: &str, victims: &[&str]) -> Option<(String, Vec<String>)> {
    Some((node.to_owned(), victims.iter().map(|v| (*v).to_owned()).collect()))
}

#[test]
fn a_full_node_makes_room_for_a_critical_daemon() {
    let mut fleet = Fleet::roomy(3);
    for node in ["n-0", "n-1", "n-2"] {
        fleet.put(node, victim(&format!("a-{node}"), 0, "4"));
    }
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-1"]}]});
    let spec = json!({"priority": 2_000_001_000, "containers": cpu("1"), "affinity": {"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    let unfit = fleet.unfit(spec.clone());
    assert_eq!(room(&fleet, spec), some("n-1", &["a-n-1"]));
    let why = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].";
    assert_eq!(unfit.why, why, "nothing is said of preemption that works");
}

#[test]
fn only_as_many_as_needed_and_the_least_important_end() {
    let mut fleet = Fleet::roomy(1);
    fleet.put("n-0", victim("low", 1, "1")).put("n-0", victim("mid", 5, "1"));
    fleet.put("n-0", victim("high", 9, "1")).put("n-0", victim("equal", 1000, "1"));
    assert_eq!(room(&fleet, vip("1")), some("n-0", &["low"]));
    assert_eq!(room(&fleet, vip("2")), some("n-0", &["mid", "low"]));
    let unfit = fleet.unfit(vip("4"));
    let tail = "preemption: 0/1 nodes are available: 1 Insufficient cpu.";
    assert!(unfit.room.is_none() && unfit.why.ends_with(tail), "{unfit:?}");
    assert_eq!(fleet.unfit(json!({"priority": 1, "containers": cpu("1")})).room, None, "equals are spared");
}

#[test]
fn the_youngest_of_equals_ends() {
    let mut fleet = Fleet::roomy(1);
    fleet.put("n-0", victim("a", 1, "2")).put("n-0", victim("bbb", 1, "2"));
    assert_eq!(room(&fleet, vip("2")), some("n-0", &["bbb"]));
}

#[test]
fn the_cheapest_node_is_chosen() {
    type Load<'a> = &'a [(&'a str, i32, &'a str)];
    let cases: &[(&str, Load<'_>, Load<'_>, &str)] = &[
        ("lower victims", &[("a", 5, "4")], &[("b", 4, "4")], "n-1"),
        ("smaller sum", &[("a", 5, "2"), ("b", 5, "2")], &[("c", 5, "2"), ("d", 1, "2")], "n-1"),
        ("fewer pods", &[("a", -9, "2"), ("b", -9, "2")], &[("c", -9, "4")], "n-1"),
        ("younger victims", &[("a", 5, "4")], &[("bbbb", 5, "4")], "n-1"),
        ("the first", &[("a", 5, "4")], &[("b", 5, "4")], "n-0"),
    ];
    for (what, first, second, expect) in cases {
        let mut fleet = Fleet::roomy(2);
        first.iter().for_each(|(n, p, c)| {
            fleet.put("n-0", victim(n, *p, c));
        });
        second.iter().for_each(|(n, p, c)| {
            fleet.put("n-1", victim(n, *p, c));
        });
        assert_eq!(room(&fleet, vip("4")).unwrap().0, *expect, "{what}");
    }
}

#[test]
fn budgets_are_kept_where_that_is_possible() {
    let mut fleet = Fleet::roomy(2);
    fleet.put("n-0", victim("guarded", 1, "4")).put("n-1", victim("free", 5, "4"));
    let budget = |left| Allowance {
        namespace: "d".into(),
        selector: Labels::parse("app=guarded").unwrap(),
        left,
        disrupted: Vec::new(),
    };
    fleet.allowances = vec![budget(1)];
    assert_eq!(room(&fleet, vip("1")), some("n-0", &["guarded"]));
    fleet.allowances = vec![budget(0)];
    assert_eq!(room(&fleet, vip("1")), some("n-1", &["free"]), "though it is more important");
    fleet.nodes.remove("n-1");
    assert_eq!(room(&fleet, vip("1")), some("n-0", &["guarded"]), "rather than nowhere");
    let mut shared = Fleet::roomy(1);
    shared.put("n-0", victim("guarded", 1, "2")).put("n-0", victim("free", 5, "2"));
    shared.allowances = vec![budget(0)];
    assert_eq!(room(&shared, vip("2")), some("n-0", &["free"]), "on one node too");
}

#[test]
fn some_may_not_preempt() {
    let mut fleet = Fleet::roomy(1);
    fleet.put("n-0", victim("a", 1, "4"));
    let mut meek = vip("1");
    meek["preemptionPolicy"] = json!("Never");
    let why = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: \
        not eligible due to preemptionPolicy=Never.";
    assert_eq!(fleet.unfit(meek).why, why);
}

#[test]
fn a_pod_waits_for_its_victims_to_go() {
    let mut fleet = Fleet::roomy(2);
    let mut going = victim("a", 1, "4");
    going.deleting = Some(jiff::Timestamp::UNIX_EPOCH);
    going.preempted = true;
    fleet.put("n-0", going.clone()).put("n-1", victim("b", 1, "4"));
    let mut nominated = vip("1");
    nominated["status"] = json!({"nominatedNodeName": "n-0"});
    let why = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: \
        not eligible due to a terminating pod on the nominated node.";
    let unfit = fleet.unfit(nominated.clone());
    assert_eq!((unfit.why.as_str(), unfit.room, unfit.drop_nomination), (why, None, false));
    fleet.nodes.get_mut("n-0").unwrap().0.unschedulable = true;
    assert_eq!(room(&fleet, nominated.clone()), some("n-1", &["b"]), "its node is out");
    fleet.nodes.get_mut("n-0").unwrap().0.unschedulable = false;
    fleet.nodes.get_mut("n-0").unwrap().1.remove("a");
    assert_eq!(fleet.bound(nominated.clone()), "n-0", "the nominated node comes first");
    fleet.put("n-0", victim("equal", 1000, "4"));
    fleet.nodes.get_mut("n-1").unwrap().1.remove("b");
    fleet.put("n-1", victim("also", 1000, "4"));
    assert!(fleet.unfit(nominated).drop_nomination, "it helps no more");
}

#[test]
fn room_that_is_made_is_kept() {
    let mut fleet = Fleet::roomy(1);
    let waiting = |priority| Arc::new(pod("vip", json!({"priority": priority, "containers": cpu("3")})));
    let nominate = |fleet: &mut Fleet, priority| {
        fleet.nodes.get_mut("n-0").unwrap().1.nominated.insert("vip".into(), waiting(priority));
    };
    nominate(&mut fleet, 1000);
    let small = json!({"priority": 1000, "containers": cpu("2")});
    assert_eq!(fleet.why(small.clone()), "0/1 nodes are available: 1 Insufficient cpu.");
    nominate(&mut fleet, 999);
    assert_eq!(fleet.bound(small), "n-0", "a more important one need not wait");
    assert_eq!(fleet.decide("vip", json!({"priority": 5, "containers": cpu("3")})), Decision::Bind("n-0".into()));
}

#[test]
fn ports_and_neighbours_can_be_made_room_for_too() {
    let port = json!([{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    let mut fleet = Fleet::roomy(1);
    fleet.put("n-0", pod("web", json!({"containers": port, "labels": {"app": "web"}})));
    assert_eq!(room(&fleet, json!({"priority": 1, "containers": port})), some("n-0", &["web"]));
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let shy = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    assert_eq!(room(&fleet, json!({"priority": 1, "affinity": shy})), some("n-0", &["web"]));
    let skew = json!([{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "minDomains": 2,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let spec = json!({"priority": 1, "labels": {"app": "web"}, "topologySpreadConstraints": skew});
    assert_eq!(room(&fleet, spec), some("n-0", &["web"]));
}
