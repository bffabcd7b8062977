//! Pod affinity and anti-affinity.

use serde_json::{Value, json};

use super::*;

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn needs(term: Value) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn shuns(term: Value) -> Value {
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn labelled(mut spec: Value, app: &str) -> Value {
    spec["labels"] = json!({"app": app});
    spec
}

fn app(name: &str) -> PodView {
    pod(name, json!({"labels": {"app": name}}))
}

#[test]
fn needs_are_met_within_the_topology() {
    let mut fleet = Fleet::zones(&["a", "a", "b", ""]);
    fleet.put("n-1", app("db"));
    assert_eq!(fleet.bound(needs(term("kubernetes.io/hostname", "db"))), "n-1");
    assert_eq!(fleet.bound(needs(term("zone", "db"))), "n-0", "the emptier of the zone");
    let lonely = fleet.unfit(needs(term("zone", "cache")));
    assert!(lonely.why.starts_with("0/4 nodes are available: 4 node(s) didn't match pod affinity rules."));
    assert!(lonely.why.ends_with("4 Preemption is not helpful for scheduling."), "no end of a pod brings one near");
    assert!(lonely.heeds_pods);
}

#[test]
fn the_first_of_a_series_needs_nobody() {
    let fleet = Fleet::zones(&["a", ""]);
    assert_eq!(fleet.bound(labelled(needs(term("zone", "db")), "db")), "n-0");
    let mut settled = Fleet::zones(&["a", "b"]);
    settled.put("n-1", app("db"));
    assert_eq!(settled.bound(labelled(needs(term("zone", "db")), "db")), "n-1", "the second goes to the first");
}

#[test]
fn all_terms_must_mean_the_same_pod() {
    let two = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [term("zone", "db"), {"topologyKey": "zone", "labelSelector": {"matchLabels": {"tier": "x"}}}]}}});
    let mut fleet = Fleet::zones(&["a"]);
    fleet.put("n-0", app("db")).put("n-0", pod("x", json!({"labels": {"tier": "x"}})));
    assert_eq!(fleet.why(two.clone()), "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.");
    fleet.put("n-0", pod("both", json!({"labels": {"app": "db", "tier": "x"}})));
    assert_eq!(fleet.bound(two), "n-0");
}

#[test]
fn shunned_pods_are_kept_away_from_both_ways() {
    let mut fleet = Fleet::zones(&["a", "a", "b"]);
    fleet.put("n-0", app("db"));
    assert_eq!(fleet.bound(shuns(term("zone", "db"))), "n-2");
    assert_eq!(fleet.bound(shuns(term("kubernetes.io/hostname", "db"))), "n-1");
    fleet.put("n-2", app("db2")).put("n-2", pod("d", json!({"labels": {"app": "db"}})));
    let why = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(fleet.why(shuns(term("zone", "db"))), why);

    let mut guarded = Fleet::zones(&["a", "a", ""]);
    guarded.put("n-0", pod("guard", shuns(term("zone", "db"))));
    assert_eq!(guarded.bound(json!({"labels": {"app": "db"}})), "n-2", "a node without the label is near nobody");
    guarded.nodes.remove("n-2");
    let unfit = guarded.unfit(json!({"labels": {"app": "db"}}));
    let lead = "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert!(unfit.why.starts_with(lead) && unfit.heeds_pods, "{unfit:?}");
    assert_eq!(guarded.bound(json!({"labels": {"app": "web"}})), "n-1", "others are welcome");
}

#[test]
fn namespaces_are_listed_selected_or_the_own_one() {
    let elsewhere = |mut pod: PodView| {
        pod.namespace = "other".into();
        pod
    };
    let mut fleet = Fleet::zones(&["a"]);
    fleet.namespaces.insert("other".into(), [("team".to_owned(), "x".to_owned())].into());
    fleet.put("n-0", elsewhere(app("db")));
    let with = |field: &str, value: Value| {
        let mut term = term("zone", "db");
        term[field] = value;
        fleet.decide("new", needs(term)) == Decision::Bind("n-0".into())
    };
    assert!(!with("topologyKey", json!("zone")), "its own namespace only");
    assert!(with("namespaces", json!(["other"])));
    assert!(with("namespaceSelector", json!({"matchLabels": {"team": "x"}})));
    assert!(!with("namespaceSelector", json!({"matchLabels": {"team": "y"}})));
    assert!(with("namespaceSelector", json!({})), "an empty selector means all");
}

#[test]
fn a_term_without_a_selector_means_nobody() {
    let mut fleet = Fleet::zones(&["a"]);
    fleet.put("n-0", app("db"));
    assert_eq!(fleet.bound(shuns(json!({"topologyKey": "zone"}))), "n-0");
    assert_eq!(
        fleet.why(needs(json!({"topologyKey": "zone"}))),
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."
    );
}

#[test]
fn preferences_of_both_sides_weigh() {
    let prefer = |kind: &str, app: &str| {
        json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 10, "podAffinityTerm": term("zone", app)}]}}})
    };
    let mut fleet = Fleet::zones(&["a", "b", "c"]);
    fleet.put("n-1", app("db"));
    assert_eq!(fleet.bound(prefer("podAffinity", "db")), "n-1");
    fleet.put("n-0", app("web"));
    assert_eq!(fleet.bound(prefer("podAntiAffinity", "web")), "n-2", "away from web, and emptier than n-1");
    fleet.put("n-2", pod("host", prefer("podAffinity", "guest")));
    assert_eq!(fleet.bound(json!({"labels": {"app": "guest"}})), "n-2", "where it is liked");
    fleet.put("n-1", pod("needy", labelled(needs(term("zone", "guest2")), "x")));
    assert_eq!(fleet.bound(json!({"labels": {"app": "guest2"}})), "n-1", "where it is needed");
}
