//! Which nodes a DaemonSet may start on and stay on.

use k8s_openapi::api::core::v1::Taint;

use super::super::{Demands, Placement};
use super::fixture::{node, set};

fn taint(text: &str) -> Taint {
    let (key, effect) = text.split_once(':').unwrap();
    Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
}

fn place(spec: &str, labels: &[(&str, &str)], taints: &[&str]) -> Placement {
    let mut node = node("n-0");
    node.labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    node.taints = taints.iter().map(|t| taint(t)).collect();
    node.unschedulable = taints.iter().any(|t| t.contains("unschedulable"));
    let set = set(spec);
    Demands::of(&set, None).place(&node)
}

#[test]
fn a_node_that_waits_for_its_daemons_excludes_none_of_them() {
    let set = super::fixture::set("{}");
    let mut node = super::fixture::node("n");
    node.taints = crate::node_readiness::taints(&node, &crate::node_readiness::Step::Hold(Vec::new()));
    assert_eq!(node.taints.len(), 1);
    assert_eq!(Demands::of(&set, None).place(&node), Placement::Run);
    node.taints[0].effect = "NoExecute".into();
    assert!(!Demands::of(&set, None).place(&node).may_stay(), "another effect is somebody else's");
}

#[test]
fn start_and_stay() {
    let template = |spec: &str| format!(r#"{{"template":{{"spec":{spec}}}}}"#);
    let affinity = |terms: &str| {
        template(&format!(
            r#"{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":{terms}}}}}}}}}"#
        ))
    };
    type Case<'a> = (&'a str, String, &'a [(&'a str, &'a str)], &'a [&'a str], bool, bool);
    let cases: &[Case<'_>] = &[
        ("a plain set on a plain node", "{}".into(), &[], &[], true, true),
        ("cordoned", "{}".into(), &[], &["node.kubernetes.io/unschedulable:NoSchedule"], true, true),
        ("not ready", "{}".into(), &[], &["node.kubernetes.io/not-ready:NoExecute"], true, true),
        ("unreachable", "{}".into(), &[], &["node.kubernetes.io/unreachable:NoExecute"], true, true),
        ("disk pressure", "{}".into(), &[], &["node.kubernetes.io/disk-pressure:NoSchedule"], true, true),
        ("memory pressure", "{}".into(), &[], &["node.kubernetes.io/memory-pressure:NoSchedule"], true, true),
        ("pid pressure", "{}".into(), &[], &["node.kubernetes.io/pid-pressure:NoSchedule"], true, true),
        ("no network", "{}".into(), &[], &["node.kubernetes.io/network-unavailable:NoSchedule"], false, true),
        (
            "no network, own not needed",
            template(r#"{"hostNetwork":true}"#),
            &[],
            &["node.kubernetes.io/network-unavailable:NoSchedule"],
            true,
            true,
        ),
        ("NoSchedule", "{}".into(), &[], &["a:NoSchedule"], false, true),
        ("PreferNoSchedule", "{}".into(), &[], &["a:PreferNoSchedule"], true, true),
        ("NoExecute", "{}".into(), &[], &["a:NoExecute"], false, false),
        ("both", "{}".into(), &[], &["a:NoSchedule", "a:NoExecute"], false, false),
        (
            "tolerated",
            template(r#"{"tolerations":[{"key":"a","operator":"Exists"}]}"#),
            &[],
            &["a:NoExecute"],
            true,
            true,
        ),
        ("other node named", template(r#"{"nodeName":"n-1"}"#), &[], &[], false, false),
        ("node named", template(r#"{"nodeName":"n-0"}"#), &[], &[], true, true),
        ("selector, no label", template(r#"{"nodeSelector":{"ssd":"true"}}"#), &[], &[], false, false),
        (
            "selector, other value",
            template(r#"{"nodeSelector":{"ssd":"true"}}"#),
            &[("ssd", "false")],
            &[],
            false,
            false,
        ),
        ("selector", template(r#"{"nodeSelector":{"ssd":"true"}}"#), &[("ssd", "true")], &[], true, true),
        (
            "affinity",
            affinity(r#"[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]"#),
            &[("a", "")],
            &[],
            true,
            true,
        ),
        (
            "affinity, no label",
            affinity(r#"[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]"#),
            &[],
            &[],
            false,
            false,
        ),
        (
            "affinity by name",
            affinity(r#"[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n-0"]}]}]"#),
            &[],
            &[],
            true,
            true,
        ),
        (
            "affinity by other name",
            affinity(r#"[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n-9"]}]}]"#),
            &[],
            &[],
            false,
            false,
        ),
        (
            "affinity that cannot be read",
            affinity(r#"[{"matchExpressions":[{"key":"a","operator":"Near"}]}]"#),
            &[],
            &[],
            false,
            false,
        ),
    ];
    for (what, spec, labels, taints, start, stay) in cases {
        let placement = place(spec, labels, taints);
        assert_eq!((placement.may_start(), placement.may_stay()), (*start, *stay), "{what}: {placement:?}");
    }
}

#[test]
fn exclusions_say_why() {
    let cases = [
        (place("{}", &[], &["a:NoExecute"]), "the taint a:NoExecute is not tolerated"),
        (place(r#"{"template":{"spec":{"nodeSelector":{"a":"b"}}}}"#, &[], &[]), "the node selector asks for a=b"),
        (place(r#"{"template":{"spec":{"nodeName":"n-1"}}}"#, &[], &[]), "the template names node n-1"),
    ];
    for (placement, text) in cases {
        let (Placement::Exclude(why) | Placement::Stay(why)) = placement else { panic!("{placement:?}") };
        assert_eq!(why.to_string(), text);
    }
}

#[test]
fn own_tolerations_come_first_and_lose_their_end() {
    let set = set(r#"{"template":{"spec":{"tolerations":[{"key":"a","operator":"Exists"},
        {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}]}}}"#);
    let list = super::super::tolerations(set.spec.as_ref().unwrap().template.spec.as_ref().unwrap());
    let keys: Vec<_> = list.iter().map(|t| t.key.as_deref().unwrap()).collect();
    let rest = ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
    assert_eq!(keys[0], "a");
    assert_eq!(keys[1..].iter().map(|k| k.rsplit('/').next().unwrap()).collect::<Vec<_>>(), rest);
    assert!(list.iter().all(|t| t.toleration_seconds.is_none()));
}
