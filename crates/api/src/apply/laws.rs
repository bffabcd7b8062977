//! Laws of applies, held against random configurations of a Deployment.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decode::{self, FieldValidation};
use crate::kinds::{self, Kind};

const NAMES: &[&str] = &["a", "b", "c", "d"];

fn kind() -> &'static Kind {
    kinds::by_kind("apps/v1", "Deployment").expect("a kind")
}

/// What a manager may apply: some labels, containers with some of their fields, tolerations as a whole, replicas.
fn config() -> impl Strategy<Value = Value> {
    let small = || prop::sample::select(NAMES).prop_map(str::to_owned);
    let labels = prop::collection::btree_map(small(), small(), 0..3);
    let env = prop::collection::btree_map(small(), small(), 0..3);
    let containers =
        prop::collection::btree_map(small(), (prop::option::of(small()), env, prop::option::of(small())), 0..3);
    let finalizers = prop::collection::btree_set(small(), 0..3);
    (labels, containers, finalizers, prop::option::of(0..4_i64), any::<bool>()).prop_map(
        |(labels, containers, finalizers, replicas, tolerates)| {
            let containers = containers.into_iter().map(|(name, (image, env, command))| {
                let mut container = json!({"name": name});
                if let Some(image) = image {
                    container["image"] = image.into();
                }
                if let Some(command) = command {
                    container["command"] = json!([command]);
                }
                if !env.is_empty() {
                    let env: Vec<Value> = env.into_iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
                    container["env"] = env.into();
                }
                container
            });
            let containers: Vec<Value> = containers.collect();
            let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
                "spec": {"template": {"spec": {}}}});
            if !labels.is_empty() {
                config["metadata"]["labels"] = json!(labels);
            }
            if !finalizers.is_empty() {
                config["metadata"]["finalizers"] = json!(finalizers);
            }
            if !containers.is_empty() {
                config["spec"]["template"]["spec"]["containers"] = containers.into();
            }
            if tolerates {
                config["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            }
            if let Some(replicas) = replicas {
                config["spec"]["replicas"] = replicas.into();
            }
            config
        },
    )
}

fn applied(live: Option<&Value>, config: &Value, manager: &str, force: bool) -> Result<Value, crate::status::Status> {
    let writer = Writer { manager, subresource: "", now: "2026-01-01T00:00:00Z" };
    let mut object = apply(kind(), live, config, &writer, force)?;
    decode::normalize(kind(), &mut object, FieldValidation::Ignore).expect("an object");
    Ok(object)
}

fn set_of(object: &Value, manager: &str) -> Set {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let own = entries.filter(|entry| entry["manager"] == manager).map(|entry| &entry["fieldsV1"]);
    own.map(|fields| Set::from_fields(fields).expect("a set")).fold(Set::default(), Set::union)
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    object
}

proptest! {
    #[test]
    fn applying_twice_changes_nothing(first in config(), config in config()) {
        let live = applied(None, &first, "first", false).expect("an object");
        let once = applied(Some(&live), &config, "me", true).expect("force");
        let twice = applied(Some(&once), &config, "me", false).expect("no conflict with oneself");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn force_takes_what_differs(first in config(), config in config()) {
        let live = applied(None, &first, "first", false).expect("an object");
        let forced = applied(Some(&live), &config, "me", true).expect("force");
        let again = applied(Some(&forced), &config, "me", false);
        prop_assert!(again.is_ok());
        match applied(Some(&live), &config, "me", false) {
            Ok(object) => prop_assert_eq!(object, forced, "without conflicts, force does nothing"),
            Err(_) => {
                let lost = set_of(&live, "first").difference(&set_of(&forced, "first"));
                prop_assert!(!lost.is_empty());
            }
        }
    }

    #[test]
    fn those_who_agree_or_differ_in_nothing_never_conflict(config in config(), other in config()) {
        let live = applied(None, &config, "first", false).expect("an object");
        prop_assert!(applied(Some(&live), &config, "second", false).is_ok());
        let mut apart = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
        if let Some(labels) = other["metadata"].get("labels") {
            apart["metadata"]["annotations"] = labels.clone();
        }
        apart["spec"]["minReadySeconds"] = 5.into();
        prop_assert!(applied(Some(&live), &apart, "second", false).is_ok());
    }

    #[test]
    fn what_others_apply_stays(config in config(), mine in config()) {
        let live = applied(None, &config, "first", false).expect("an object");
        let both = applied(Some(&live), &mine, "me", true).expect("force");
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
        let gone = applied(Some(&both), &nothing, "me", false).expect("no conflict");
        let left = set_of(&both, "first");
        prop_assert_eq!(set_of(&gone, "first"), left.clone());
        prop_assert!(set_of(&gone, "me").is_empty());
        let root = super::spot::Spot::root(kind());
        let there = super::owned::owned(root, &gone).with_named_fields(root);
        for path in left.paths() {
            prop_assert!(there.has(&path), "{path:?}");
        }
    }

    #[test]
    fn what_one_alone_applied_goes(config in config()) {
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
        let live = applied(None, &config, "me", false).expect("an object");
        let gone = applied(Some(&live), &nothing, "me", false).expect("no conflict");
        let empty = applied(None, &nothing, "me", false).expect("an object");
        let strip = |object: &Value| {
            let mut object = bare(object);
            // A list that loses its last item stays, empty, until the types drop it.
            decode::normalize(kind(), &mut object, FieldValidation::Ignore).expect("an object");
            object
        };
        prop_assert_eq!(strip(&gone), strip(&empty));
    }

    #[test]
    fn sets_are_sets(one in config(), two in config()) {
        let root = super::spot::Spot::root(kind());
        let (a, b) = (super::owned::owned(root, &one), super::owned::owned(root, &two));
        let union = a.clone().union(b.clone());
        prop_assert_eq!(&union, &b.clone().union(a.clone()));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(union.clone().difference(&b).union(b.clone()), union.clone());
        prop_assert!(a.clone().difference(&a).is_empty());
        prop_assert_eq!(Set::from_fields(&union.clone().into_fields()).expect("a set"), union.clone());
        prop_assert_eq!(b.meets(&a.clone().into_fields()), !a.intersection(&b).is_empty());
        prop_assert!(a.is_within(&union.into_fields()));
    }
}
