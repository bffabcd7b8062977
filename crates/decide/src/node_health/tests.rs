//! Silence, conditions, taints, eviction and the brakes of zones.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::*;
use crate::view::{Condition, PodView};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn node(ready: Option<&str>) -> NodeView {
    let condition = |status: &str| Condition { status: status.into(), ..Condition::default() };
    let mut conditions: std::collections::BTreeMap<String, Condition> =
        REPORTED.iter().map(|c| ((*c).to_owned(), condition("False"))).collect();
    match ready {
        Some(status) => conditions.insert("Ready".into(), condition(status)),
        None => conditions.remove("Ready"),
    };
    NodeView { name: "n".into(), created: Some(at(0)), conditions, ..NodeView::default() }
}

/// A node that was last heard of then.
fn heard(second: i64) -> Heard {
    Heard { at: Some(at(second)), ..Heard::default() }
}

/// Zones in which one more unhealthy node matters little.
fn calm() -> Zones {
    let mut zones = Zones::default();
    (0..10).for_each(|_| assert!(zones.change(None, Some(&node(Some("True"))))));
    zones
}

fn short(taints: &[Taint]) -> Vec<String> {
    taints.iter().map(|t| format!("{}:{}", t.key.rsplit('/').next().unwrap(), t.effect)).collect()
}

#[test]
fn silence_and_conditions_become_taints() {
    type Case<'a> = (&'a str, Option<&'a str>, i64, bool, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("healthy", Some("True"), 10, false, &[]),
        ("not ready", Some("False"), 10, false, &["not-ready:NoSchedule", "not-ready:NoExecute"]),
        ("new", None, 10, false, &["not-ready:NoSchedule"]),
        ("just in time", Some("True"), 49, false, &[]),
        ("silent", Some("True"), 50, true, &["unreachable:NoSchedule", "unreachable:NoExecute"]),
    ];
    for (what, ready, silence, lost, expect) in cases {
        let verdict = judge(&node(*ready), heard(0), &calm(), at(*silence));
        assert_eq!(verdict.lost, *lost, "{what}");
        assert_eq!(short(&verdict.taints.unwrap_or_default()), *expect, "{what}");
    }
}

#[test]
fn silence_lasts_as_long_as_one_was_told() {
    let patient = |grace_s| Heard { grace: Grace(grace_s), ..heard(0) };
    for (grace_s, silence, lost) in [(15, 14, false), (15, 15, true), (120, 119, false), (120, 120, true)] {
        let verdict = judge(&node(Some("True")), patient(grace_s), &calm(), at(silence));
        assert_eq!(verdict.lost, lost, "{grace_s} {silence}");
        assert_eq!(verdict.look_again, (!lost).then_some(at(grace_s)), "{grace_s} {silence}");
    }
}

#[test]
fn recovery_takes_the_taints_back_and_keeps_those_of_others() {
    let mut node = node(Some("True"));
    node.taints = vec![
        taint(UNREACHABLE, "NoExecute", None),
        taint("mine", "NoExecute", None),
        taint(UNREACHABLE, "NoSchedule", None),
    ];
    let verdict = judge(&node, heard(0), &calm(), at(1));
    assert_eq!(short(&verdict.taints.unwrap()), ["mine:NoExecute"]);
    assert_eq!(verdict.look_again, Some(at(GRACE_S)));
}

#[test]
fn cordon_and_pressure_taint() {
    let mut node = node(Some("True"));
    node.unschedulable = true;
    node.conditions.get_mut("DiskPressure").unwrap().status = "True".into();
    let verdict = judge(&node, heard(0), &calm(), at(1));
    node.taints = verdict.taints.unwrap();
    assert_eq!(short(&node.taints), ["disk-pressure:NoSchedule", "unschedulable:NoSchedule"]);
    assert_eq!(judge(&node, heard(0), &calm(), at(1)).taints, None);
}

#[test]
fn a_node_that_is_lost_is_told_once() {
    let mut node = node(Some("Unknown"));
    node.conditions.values_mut().for_each(|c| c.status = "Unknown".into());
    assert!(!judge(&node, heard(0), &calm(), at(100)).lost);
}

#[test]
fn a_new_node_has_longer() {
    assert!(!judge(&node(None), Heard::default(), &calm(), at(50)).lost);
    assert!(judge(&node(None), Heard::default(), &calm(), at(60)).lost);
}

#[test]
fn eviction_follows_tolerations() {
    let toleration = |seconds| Toleration {
        key: Some("a".into()),
        operator: Some("Exists".into()),
        toleration_seconds: seconds,
        ..Toleration::default()
    };
    let taints = [taint("a", "NoExecute", Some(at(0)))];
    let cases = [
        (vec![], Eviction::Go),
        (vec![toleration(None)], Eviction::Stay),
        (vec![toleration(Some(30))], Eviction::StayUntil(at(30))),
        (vec![toleration(Some(5))], Eviction::Go),
        (vec![toleration(Some(0))], Eviction::Go),
    ];
    for (tolerations, expect) in cases {
        let pod = PodView { tolerations, ..PodView::default() };
        assert_eq!(evict(&pod, &taints, at(0), at(10)), expect, "{:?}", pod.tolerations);
    }
    assert_eq!(evict(&PodView::default(), &[taint("a", "NoSchedule", None)], at(0), at(10)), Eviction::Stay);
}

#[test]
fn the_first_toleration_of_a_taint_counts() {
    let toleration = |key: Option<&str>, seconds| Toleration {
        key: key.map(Into::into),
        operator: Some("Exists".into()),
        toleration_seconds: seconds,
        ..Toleration::default()
    };
    let taints = [taint("a", "NoExecute", Some(at(0))), taint("b", "NoExecute", Some(at(0)))];
    let cases = [
        (vec![toleration(None, None), toleration(Some("a"), Some(5))], Eviction::Stay),
        (vec![toleration(Some("a"), Some(5)), toleration(None, None)], Eviction::Go),
        (vec![toleration(Some("a"), Some(50)), toleration(Some("b"), Some(30))], Eviction::StayUntil(at(30))),
        (vec![toleration(Some("a"), Some(50))], Eviction::Go),
    ];
    for (tolerations, expect) in cases {
        let pod = PodView { tolerations, ..PodView::default() };
        assert_eq!(evict(&pod, &taints, at(0), at(10)), expect, "{:?}", pod.tolerations);
    }
}

/// A node of a zone, ready or silent since long.
fn member(name: &str, zone: &str, ready: bool) -> NodeView {
    let mut node = node(Some(if ready { "True" } else { "Unknown" }));
    node.name = name.into();
    node.labels.insert("topology.kubernetes.io/zone".into(), zone.into());
    node
}

fn zones(members: &[(&str, usize, usize)]) -> Zones {
    let mut zones = Zones::default();
    for (zone, ready, unready) in members {
        (0..*ready).for_each(|_| assert!(zones.change(None, Some(&member("r", zone, true)))));
        (0..*unready).for_each(|_| assert!(zones.change(None, Some(&member("u", zone, false)))));
    }
    zones
}

/// What happens to a node of zone `a` that is silent: driven, or when it is looked at again.
fn judged(zones: &Zones, name: &str, now: i64) -> (bool, Option<Timestamp>) {
    let verdict = judge(&member(name, "a", false), heard(-100), zones, at(now));
    assert!(short(verdict.taints.as_ref().unwrap()).contains(&"unreachable:NoSchedule".to_owned()));
    (verdict.drives, verdict.look_again)
}

#[test]
fn zones_have_states() {
    let cases = [
        ((0, 0), ZoneState::Normal),
        ((0, 1), ZoneState::Full),
        ((1, 2), ZoneState::Normal),
        ((2, 3), ZoneState::Partial),
        ((3, 3), ZoneState::Normal),
        ((9, 11), ZoneState::Partial),
        ((10, 11), ZoneState::Normal),
    ];
    for ((ready, unready), expect) in cases {
        assert_eq!(zones(&[("a", ready, unready)]).state(":a"), expect, "{ready} ready, {unready} not");
    }
}

#[test]
fn one_node_of_a_zone_drives_away_at_a_time() {
    let mut zones = zones(&[("a", 9, 3), ("b", 9, 0)]);
    assert_eq!(judged(&zones, "u-1", 0), (true, None));
    zones.drove(&member("u-1", "a", false), at(0));
    assert_eq!(judged(&zones, "u-2", 1), (false, Some(at(10))));
    assert_eq!(judged(&zones, "u-1", 1), (true, None), "it may try again");
    assert_eq!(judged(&zones, "u-2", 10), (true, None));
    let other = judge(&member("u-9", "b", false), heard(-100), &zones, at(1));
    assert!(other.drives, "zones do not wait for each other");
}

#[test]
fn most_of_a_zone_lost_brakes_harder() {
    assert_eq!(judged(&zones(&[("a", 2, 8), ("b", 1, 0)]), "u-1", 0), (false, Some(at(5))), "a small one stops");
    let mut large = zones(&[("a", 20, 80)]);
    assert_eq!(judged(&large, "u-1", 0), (true, None));
    large.drove(&member("u-1", "a", false), at(0));
    assert_eq!(judged(&large, "u-2", 10), (false, Some(at(100))), "a large one slows down");
    assert_eq!(judged(&zones(&[("a", 0, 8), ("b", 1, 0)]), "u-1", 0), (true, None), "all of one is a real outage");
}

#[test]
fn when_all_is_lost_nobody_is_driven_away() {
    let all_lost = zones(&[("a", 0, 3), ("b", 0, 2)]);
    assert!(all_lost.all_lost());
    assert_eq!(judged(&all_lost, "u-1", 0), (false, None));
    let mut driven = member("u-1", "a", false);
    driven.taints = vec![taint(UNREACHABLE, "NoExecute", None), taint("mine", "NoExecute", None)];
    let verdict = judge(&driven, heard(-100), &all_lost, at(0));
    assert_eq!(short(&verdict.taints.unwrap()), ["mine:NoExecute", "unreachable:NoSchedule"]);
    assert!(!judge(&driven, heard(-100), &calm(), at(0)).drives, "once is enough");
}

#[test]
fn the_last_healthy_node_that_falls_silent_counts_at_once() {
    let mut zones = Zones::default();
    let silent = member("n", "a", true);
    zones.change(None, Some(&silent));
    let verdict = judge(&silent, heard(-100), &zones, at(0));
    assert_eq!((verdict.lost, short(&verdict.taints.unwrap())), (true, vec!["unreachable:NoSchedule".to_owned()]));
}

#[test]
fn a_driven_node_keeps_its_taint_when_the_reason_changes() {
    let mut node = member("u-2", "a", false);
    node.taints = vec![taint(NOT_READY, "NoExecute", None)];
    let mut zones = zones(&[("a", 9, 3)]);
    zones.drove(&member("u-1", "a", false), at(0));
    let taints = judge(&node, heard(-100), &zones, at(1)).taints.unwrap();
    assert_eq!(short(&taints), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
}

#[test]
fn nodes_are_counted_where_they_are_as_they_are() {
    let mut zones = Zones::default();
    let (ready, unready) = (member("n", "a", true), member("n", "a", false));
    zones.change(None, Some(&ready));
    assert!(!zones.change(Some(&ready), Some(&ready)));
    zones.change(Some(&ready), Some(&unready));
    assert_eq!(zones.state(":a"), ZoneState::Full);
    let moved = member("n", "b", false);
    zones.change(Some(&unready), Some(&moved));
    assert_eq!((zones.state(":a"), zones.state(":b")), (ZoneState::Normal, ZoneState::Full));
    let mut excluded = moved.clone();
    excluded.labels.insert("node.kubernetes.io/exclude-disruption".into(), String::new());
    zones.change(Some(&moved), Some(&excluded));
    zones.change(Some(&excluded), None);
    assert_eq!(zones, Zones::default());
}

#[test]
fn old_labels_follow_the_new() {
    let (os, old_os, arch) = ("kubernetes.io/os", "beta.kubernetes.io/os", "kubernetes.io/arch");
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (&[], &[]),
        (&[(os, "linux")], &[(old_os, "linux")]),
        (&[(os, "linux"), (old_os, "linux")], &[]),
        (&[(os, "linux"), (old_os, "plan9")], &[(old_os, "linux")]),
        (&[(old_os, "linux")], &[]),
        (&[(os, "linux"), (arch, "arm64")], &[("beta.kubernetes.io/arch", "arm64"), (old_os, "linux")]),
    ];
    for (labels, expect) in cases {
        let mut node = node(None);
        node.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found = old_labels(&node);
        assert_eq!(found.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>(), *expect, "{labels:?}");
    }
}

#[test]
fn every_condition_has_its_taint() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("MemoryPressure", "True", &["memory-pressure:NoSchedule"]),
        ("DiskPressure", "True", &["disk-pressure:NoSchedule"]),
        ("PIDPressure", "True", &["pid-pressure:NoSchedule"]),
        ("NetworkUnavailable", "True", &["network-unavailable:NoSchedule"]),
        ("NetworkUnavailable", "False", &[]),
        ("MemoryPressure", "Unknown", &[]),
    ];
    for (kind, status, expect) in cases {
        let mut node = node(Some("True"));
        node.conditions.entry((*kind).to_owned()).or_default().status = (*status).to_owned();
        let verdict = judge(&node, heard(0), &calm(), at(1));
        assert_eq!(short(&verdict.taints.unwrap_or_default()), *expect, "{kind} {status}");
    }
}
