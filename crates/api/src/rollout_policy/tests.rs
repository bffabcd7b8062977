//! The definition, the types that go with it, what is refused, and windows.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn spec(more: Value) -> Spec {
    let mut spec = json!({"targets": {"names": ["d"]}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

#[test]
fn the_definition_is_one_that_the_server_takes_and_establishes() {
    let mut definition = definition();
    let kind = crate::kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
    crate::defaults::apply(kind, &mut definition);
    definition["metadata"]["uid"] = "u".into();
    definition["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    crate::prepare::create(kind, &mut definition);
    assert_eq!(crate::validate::create(kind, &definition), []);
    let settled = crate::crd::settle(&definition, &crate::crd::Names::default(), "2026-01-01T00:00:00Z").unwrap();
    let conditions = settled["status"]["conditions"].as_array().unwrap();
    let is_true = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
    assert!(is_true("Established") && !is_true("NonStructuralSchema"), "{conditions:?}");
}

#[test]
fn a_policy_that_cannot_be_read_still_says_whom_it_is_for() {
    let policy = json!({"metadata": {"name": "p"}, "spec": {"targets": {"names": ["d"]}, "paused": "perhaps"}});
    let policy: RolloutPolicy = serde_json::from_value(policy).unwrap();
    assert!(policy.unreadable.is_some() && policy.targets("d", None));
}

#[test]
fn a_status_comes_back_as_it_was_stored() {
    let memory = json!({"name": "d", "uid": "u", "phase": "Baking", "revision": "r", "wave": "canary",
        "since": "2026-01-01T00:00:00Z", "excusedNodeCount": 1, "excusedNodes": [{"node": "n", "reason": "NodeNotReady"}]});
    let value = json!({"apiVersion": "everynode.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "p"},
        "spec": {"targets": {"names": ["d"]}, "paused": false, "frozen": false},
        "status": {"daemonSets": [memory]}});
    let policy: RolloutPolicy = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&policy).unwrap(), value);
    assert!(policy.memory("d", "u").is_some() && policy.memory("d", "other").is_none());
}

#[test]
fn what_cannot_work_is_named() {
    let wave = |nodes: Value| json!({"waves": [{"name": "w", "nodes": nodes}]});
    let window = |window: Value| json!({"windows": [window]});
    let two = |first: Value| json!({"waves": [first, {"name": "b", "nodes": {"count": 1}}]});
    let cases = [
        (json!({}), ""),
        (json!({"targets": {}}), "spec.targets"),
        (json!({"targets": {"names": ["d"], "selector": {}}}), "spec.targets"),
        (json!({"deadMan": {"afterSeconds": 30}}), ""),
        (json!({"deadMan": {"afterSeconds": 29}}), "spec.deadMan.afterSeconds"),
        (wave(json!({"count": 1})), ""),
        (wave(json!({"count": 1, "percent": 5})), "spec.waves[0].nodes"),
        (json!({"waves": [{"name": "w"}]}), "spec.waves[0]"),
        (json!({"waves": [{"name": "rest", "topologyKey": "z"}]}), "spec.waves[0].name"),
        (
            json!({"waves": [{"name": "a", "topologyKey": "z"}, {"name": "a", "topologyKey": "z"}]}),
            "spec.waves[1].name",
        ),
        (json!({"targets": {"names": []}}), "spec.targets.names"),
        (
            json!({"targets": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            "spec.targets.selector",
        ),
        (json!({"targets": {"selector": {"matchLabels": {"-a": "b"}}}}), "spec.targets.selector"),
        (json!({"failure": {"maxFailedNodes": 3}}), ""),
        (json!({"failure": {"maxFailedNodes": "100%"}}), ""),
        (json!({"failure": {"maxFailedNodes": "101%"}}), "spec.failure.maxFailedNodes"),
        (json!({"failure": {"maxFailedNodes": "3"}}), "spec.failure.maxFailedNodes"),
        (json!({"waves": [{"name": "a", "nodes": {"percent": 100}}]}), ""),
        (two(json!({"name": "a", "nodes": {"percent": 99}})), ""),
        (two(json!({"name": "a", "nodes": {"percent": 100}})), "spec.waves[1]"),
        (two(json!({"name": "a", "topologyKey": "z"})), "spec.waves[1]"),
        (two(json!({"name": "a", "nodes": {"selector": {}}})), "spec.waves[1]"),
        (wave(json!({"selector": {"matchLabels": {"a": "b c"}}})), "spec.waves[0].nodes.selector"),
        (window(json!({"schedule": "0 22 * * 1-5", "durationSeconds": 3600})), ""),
        (window(json!({"schedule": "0 22 * * *", "start": "22:00", "durationSeconds": 3600})), "spec.windows[0]"),
        (window(json!({"durationSeconds": 3600})), "spec.windows[0]"),
        (window(json!({"schedule": "0 0 30 2 *", "durationSeconds": 3600})), "spec.windows[0]"),
        (window(json!({"schedule": "0 22 * *", "durationSeconds": 3600})), "spec.windows[0]"),
        (window(json!({"schedule": "60 22 * * *", "durationSeconds": 3600})), "spec.windows[0]"),
        (window(json!({"start": "22:30", "days": ["Mon"], "durationSeconds": 3600})), ""),
        (window(json!({"start": "22:30", "durationSeconds": 0})), "spec.windows[0]"),
        (window(json!({"start": "22:30", "durationSeconds": 60, "timeZone": "Mars/Base"})), "spec.windows[0]"),
    ];
    for (more, field) in cases {
        let faults = validate(&spec(more.clone()));
        assert_eq!(faults.first().map_or("", |f| f.field.as_str()), field, "{more}: {faults:?}");
    }
}

#[test]
fn a_stored_fault_does_not_stand_in_the_way_of_other_changes() {
    let policy = |paused: bool, schedules: &[&str]| {
        let windows: Vec<Value> = schedules.iter().map(|s| json!({"schedule": s, "durationSeconds": 60})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"targets": {"names": ["d"]}, "paused": paused, "windows": windows}})
    };
    let (never, always) = ("0 0 30 2 *", "0 0 * * *");
    let fields = |new: &Value, old: Option<&Value>| -> Vec<String> {
        admit(new, old).into_iter().map(|e| format!("{e}")).collect()
    };
    let says = ["spec.windows[0]: Invalid value: it never comes due: no month that it names has such a day"];
    assert_eq!(fields(&policy(false, &[never]), None), says);
    assert_eq!(fields(&policy(true, &[never]), Some(&policy(false, &[never]))), [""; 0]);
    assert_eq!(fields(&policy(false, &[never]), Some(&policy(false, &[always]))), says);
    assert_eq!(fields(&policy(false, &[never, never]), Some(&policy(false, &[never]))).len(), 1);
}

fn opening(window: Value) -> Opening {
    Opening::read(&serde_json::from_value(window).unwrap()).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn windows_open_and_close() {
    let nights =
        json!({"days": ["Mon", "Tue"], "start": "22:00", "durationSeconds": 14_400, "timeZone": "Europe/Berlin"});
    let cron = json!({"schedule": "*/30 9-10 1,15 * *", "durationSeconds": 600});
    let either = json!({"schedule": "0 0 13 * fri", "durationSeconds": 3600});
    // 2026-01-05 is a Monday; Berlin is an hour ahead in winter, two in summer.
    let cases = [
        (&nights, "2026-01-05T20:59:59Z", None, "2026-01-05T21:00:00Z"),
        (&nights, "2026-01-05T21:00:00Z", Some("2026-01-06T01:00:00Z"), "2026-01-06T21:00:00Z"),
        (&nights, "2026-01-06T00:30:00Z", Some("2026-01-06T01:00:00Z"), "2026-01-06T21:00:00Z"),
        (&nights, "2026-01-06T01:00:00Z", None, "2026-01-06T21:00:00Z"),
        (&nights, "2026-07-07T20:30:00Z", Some("2026-07-08T00:00:00Z"), "2026-07-13T20:00:00Z"),
        (&cron, "2026-01-15T10:35:00Z", Some("2026-01-15T10:40:00Z"), "2026-02-01T09:00:00Z"),
        (&cron, "2026-01-15T10:41:00Z", None, "2026-02-01T09:00:00Z"),
        (&either, "2026-01-09T00:30:00Z", Some("2026-01-09T01:00:00Z"), "2026-01-13T00:00:00Z"),
    ];
    for (window, now, until, next) in cases {
        let opening = opening(window.clone());
        assert_eq!(opening.open_until(time(now)), until.map(time), "{window} at {now}");
        assert_eq!(opening.opens_after(time(now)), Some(time(next)), "{window} after {now}");
    }
}

#[test]
fn a_window_that_is_always_open_is_open_at_any_time() {
    let always = opening(json!({"start": "00:00", "durationSeconds": 604_800}));
    for hour in 0..200 {
        let now = time("2026-03-01T00:00:00Z") + jiff::SignedDuration::from_hours(hour);
        assert!(always.open_until(now).is_some(), "{now}");
    }
}
