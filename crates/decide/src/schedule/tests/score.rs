//! Which node is best.

use serde_json::{Value, json};

use super::*;

#[test]
fn the_emptiest_then_the_one_with_fewest_pods_then_the_first() {
    let mut fleet = Fleet::roomy(3);
    fleet.put("n-0", pod("a", json!({"containers": cpu("1")})));
    assert_eq!(fleet.bound(json!({})), "n-1");
    fleet.put("n-1", pod("b", json!({})));
    assert_eq!(fleet.bound(json!({})), "n-2");
}

#[test]
fn what_containers_do_not_ask_for_is_reckoned() {
    let usual = |spec: Value| {
        let usual = pod("p", spec).usual;
        (usual.cpu, usual.memory)
    };
    assert_eq!(usual(json!({})), (100, 200 << 20));
    assert_eq!(usual(json!({"containers": [{"name": "a"}, {"name": "b"}]})), (200, 400 << 20));
    assert_eq!(usual(json!({"containers": cpu("1")})), (1000, 200 << 20));
}

#[test]
fn balance_is_preferred() {
    let mut fleet = Fleet::of(vec![
        node("n-0", r#"{"status":{"allocatable":{"cpu":"10","memory":"10Gi","pods":"9"}}}"#),
        node("n-1", r#"{"status":{"allocatable":{"cpu":"10","memory":"10Gi","pods":"9"}}}"#),
    ]);
    let both = |cpu: &str, memory: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]});
    fleet.put("n-0", pod("a", both("6", "0"))).put("n-1", pod("b", both("0", "6Gi")));
    assert_eq!(fleet.bound(both("0", "1Gi")), "n-0");
    assert_eq!(fleet.bound(both("1", "0")), "n-1");
}

#[test]
fn soft_taints_repel_and_preferred_labels_attract() {
    let mut fleet = Fleet::roomy(3);
    let taint = json!({"key": "k", "effect": "PreferNoSchedule"});
    fleet.nodes.get_mut("n-0").unwrap().0.taints.push(serde_json::from_value(taint).unwrap());
    assert_eq!(fleet.bound(json!({})), "n-1");
    assert_eq!(fleet.bound(json!({"tolerations": [{"key": "k", "operator": "Exists"}]})), "n-0");
    let preferred = json!([{"weight": 5, "preference": {"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n-2"]}]}}]);
    let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}});
    assert_eq!(fleet.bound(spec), "n-2");
}

#[test]
fn large_images_attract() {
    let mut fleet = Fleet::roomy(2);
    fleet.nodes.get_mut("n-1").unwrap().0 = node(
        "n-1",
        r#"{"status":{"allocatable":{"cpu":"4","memory":"8Gi","pods":"110"},
        "images":[{"names":["r/big:latest"],"sizeBytes":900000000},{"names":["r/small:1"],"sizeBytes":1000}]}}"#,
    );
    assert_eq!(fleet.bound(json!({"containers": [{"name": "c", "image": "r/big"}]})), "n-1");
    assert_eq!(fleet.bound(json!({"containers": [{"name": "c", "image": "r/small:1"}]})), "n-0", "too small to matter");
}
