//! Which changes of nodes concern a DaemonSet.

use api::selector::Labels;
use k8s_openapi::api::core::v1::Taint;

use super::super::{Demands, namespace_nodes};
use super::fixture::{node, set};
use crate::view::{Condition, NodeView};

#[test]
fn only_what_changes_the_answer_wakes() {
    let plain = node("n-0");
    let labelled = NodeView { labels: [("ssd".to_owned(), "true".to_owned())].into(), ..plain.clone() };
    let tainted = |effect: &str| NodeView {
        taints: vec![Taint { key: "a".into(), effect: effect.into(), ..Taint::default() }],
        ..plain.clone()
    };
    let unready = NodeView {
        conditions: [("Ready".to_owned(), Condition { status: "False".into(), ..Condition::default() })].into(),
        ..plain.clone()
    };
    let mut roomier = plain.clone();
    roomier.allocatable.0.insert("cpu".into(), 9);
    let picky = r#"{"template":{"spec":{"nodeSelector":{"ssd":"true"}}}}"#;
    type Case<'a> = (&'a str, &'a str, Option<&'a NodeView>, Option<&'a NodeView>, bool);
    let (soft, hard) = (tainted("NoSchedule"), tainted("NoExecute"));
    let cases: &[Case<'_>] = &[
        ("nothing changed", picky, Some(&plain), Some(&plain), false),
        ("a node that is not wanted comes", picky, None, Some(&plain), false),
        ("a node that is wanted comes", "{}", None, Some(&plain), true),
        ("a tainted node comes", "{}", None, Some(&soft), true),
        ("an excluded node comes", "{}", None, Some(&hard), false),
        ("labels begin to match", picky, Some(&plain), Some(&labelled), true),
        ("labels cease to match", picky, Some(&labelled), Some(&plain), true),
        ("other labels change", "{}", Some(&plain), Some(&labelled), false),
        ("a taint goes", "{}", Some(&soft), Some(&plain), true),
        ("a taint comes", "{}", Some(&plain), Some(&hard), true),
        ("the node is unready", "{}", Some(&plain), Some(&unready), false),
        ("the node has more room", "{}", Some(&plain), Some(&roomier), false),
        ("a wanted node goes", "{}", Some(&plain), None, true),
        ("an unwanted node goes", picky, Some(&plain), None, false),
    ];
    for (what, spec, before, after, expect) in cases {
        let set = set(spec);
        assert_eq!(Demands::of(&set, None).heed(*before, *after), *expect, "{what}");
    }
}

#[test]
fn a_namespace_may_be_for_some_nodes() {
    let read = |text: &str| {
        let annotations = [(super::super::NAMESPACE_NODES.to_owned(), text.to_owned())].into();
        namespace_nodes(Some(&annotations))
    };
    assert_eq!((namespace_nodes(None), read("a=b")), (None, Some(Labels::parse("a=b").unwrap())));
    assert!(read("a in (").unwrap().is_nothing(), "what cannot be read selects nothing");
    let set = set("{}");
    let nodes = read("pool=x");
    let demands = Demands::of(&set, nodes.as_ref());
    let (outside, mut inside) = (node("n-0"), node("n-1"));
    inside.labels.insert("pool".into(), "x".into());
    assert!(demands.place(&inside).may_start());
    assert!(!demands.place(&outside).may_stay());
    assert!(demands.heed(Some(&outside), Some(&inside)));
}
