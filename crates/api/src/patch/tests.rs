use super::*;
use crate::decode::FieldValidation;
use crate::kinds::by_any_name;
use serde_json::json;

fn kind(name: &str) -> &'static Kind {
    by_any_name(name).unwrap_or_else(|| panic!("no kind {name}"))
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn check(spec: Value, patch: Value, expect: Value) {
    let patched = strategic(kind("pod"), &pod(spec), &pod(patch.clone()));
    assert_eq!(patched, Ok(pod(expect)), "{patch}");
}

#[test]
fn lists_merge_by_their_keys() {
    check(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
        json!({"containers": [{"name": "b", "image": "2"}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
    );
    check(
        json!({"containers": [{"name": "a", "image": "1"}]}),
        json!({"containers": [{"name": "c", "image": "3", "env": null}, {"name": "d"}]}),
        json!({"containers": [{"name": "c", "image": "3"}, {"name": "d"}, {"name": "a", "image": "1"}]}),
    );
    check(
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "command": ["x"]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}], "command": ["y"]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "command": ["y"]}]}),
    );
    check(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "b"}]}),
        json!({"tolerations": [{"key": "b"}]}),
    );
}

#[test]
fn maps_merge_and_nulls_delete() {
    check(
        json!({"nodeSelector": {"a": "1", "b": "2"}, "hostname": "h", "affinity": {"nodeAffinity": {}}}),
        json!({"nodeSelector": {"a": "3", "b": null, "c": "4"}, "hostname": null, "affinity": null, "subdomain": null}),
        json!({"nodeSelector": {"a": "3", "c": "4"}}),
    );
    check(
        json!({}),
        json!({"affinity": {"nodeAffinity": null, "podAffinity": {}}}),
        json!({"affinity": {"podAffinity": {}}}),
    );
}

#[test]
fn directives() {
    check(
        json!({"nodeSelector": {"a": "1"}}),
        json!({"nodeSelector": {"$patch": "replace", "b": "2"}}),
        json!({"nodeSelector": {"b": "2"}}),
    );
    check(
        json!({"nodeSelector": {"a": "1"}}),
        json!({"nodeSelector": {"$patch": "delete"}}),
        json!({"nodeSelector": {}}),
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        json!({"containers": [{"name": "c"}]}),
    );
    check(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
    );
    check(
        json!({}),
        json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
}

#[test]
fn maps_that_are_replaced() {
    let budget = |labels: Value| json!({"spec": {"selector": {"matchLabels": labels}}});
    let patched = strategic(kind("pdb"), &budget(json!({"a": "1"})), &budget(json!({"b": "2"})));
    assert_eq!(patched, Ok(budget(json!({"b": "2"}))));
}

#[test]
fn primitive_lists() {
    let node = json!({"spec": {"podCIDRs": ["a", "b"]}, "metadata": {"finalizers": ["x", "y", "z"]}});
    let patch = json!({
        "spec": {"podCIDRs": ["c"]},
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "$setElementOrder/finalizers": ["z", "w", "y"], "finalizers": ["w"]}
    });
    let patched = strategic(kind("node"), &node, &patch).expect("applies");
    assert_eq!(patched["metadata"]["finalizers"], json!(["z", "w", "y"]));
    assert_eq!(patched["spec"]["podCIDRs"], json!(["c", "a", "b"]));
}

#[test]
fn element_order() {
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
        json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "c", "image": "i"}]}),
        json!({"containers": [{"name": "b"}, {"name": "c", "image": "i"}, {"name": "a"}]}),
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": [{"name": "b"}, {"name": "a"}]}),
    );
    check(
        json!({}),
        json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "a"}]}),
    );
}

#[test]
fn refusals() {
    for (object, patch, expect) in [
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"image": "i"}]}),
            PatchError::Contradictory("map: map[image:i] does not contain declared merge key: name".into()),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "what"}}),
            PatchError::Contradictory("unknown patch type: what in map: map[$patch:what]".into()),
        ),
        (
            json!({"volumes": [{"name": "v"}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["hostPath"]}]}),
            PatchError::Malformed("invalid patch format of retainKeys".into()),
        ),
        (
            json!({}),
            json!({"$deleteFromPrimitiveList": []}),
            PatchError::Malformed("invalid patch format of primitive list".into()),
        ),
        (
            json!({"nope": {"a": 1}}),
            json!({"nope": {"a": 2}}),
            PatchError::Contradictory("unable to find api field in struct PodSpec for the json field \"nope\"".into()),
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}),
            PatchError::Contradictory(
                "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"
                    .into(),
            ),
        ),
    ] {
        assert_eq!(strategic(kind("pod"), &pod(object), &pod(patch.clone())), Err(expect), "{patch}");
    }
}

#[test]
fn json_and_merge_patches() {
    let object = json!({"a": {"b": [1, 2]}, "c": "x"});
    let operations = json!([
        {"op": "test", "path": "/c", "value": "x"},
        {"op": "add", "path": "/a/b/-", "value": 3},
        {"op": "remove", "path": "/c"},
    ]);
    assert_eq!(json(&object, &operations), Ok(json!({"a": {"b": [1, 2, 3]}})));
    // A kube-apiserver sets what is not there, but only in objects.
    let replaced = json(&object, &json!([{"op": "replace", "path": "/a/z", "value": 0}]));
    assert_eq!(replaced, Ok(json!({"a": {"b": [1, 2], "z": 0}, "c": "x"})));
    let outside = json!([{"op": "replace", "path": "/a/b/7", "value": 0}]);
    assert!(matches!(json(&object, &outside), Err(PatchError::NotApplicable(_))));
    assert!(matches!(json(&object, &json!([{"op": "remove", "path": "/z"}])), Err(PatchError::NotApplicable(_))));
    assert!(matches!(json(&object, &json!([{"op": "hop", "path": "/z"}])), Err(PatchError::Malformed(_))));
    let many = vec![json!({"op": "test", "path": "/c", "value": "x"}); JSON_PATCH_OPERATIONS_MAX + 1];
    assert_eq!(
        json(&object, &Value::from(many)),
        Err(PatchError::TooLarge("The allowed maximum operations in a JSON patch is 10000, got 10001".into()))
    );
    assert_eq!(merge(&object, &json!({"a": null, "d": {"e": null}})), Ok(json!({"c": "x", "d": {}})));
    assert!(matches!(merge(&object, &json!([])), Err(PatchError::Malformed(_))));
}

fn daemon_set() -> Value {
    let body = json!({"metadata": {"name": "d", "labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
    let decoded = crate::decode::decode(
        kind("ds"),
        body.to_string().as_bytes(),
        crate::decode::Media::Json,
        FieldValidation::Strict,
    );
    decoded.expect("decodes").value
}

#[test]
fn requests_end_in_normal_form() {
    for (patch_type, body) in [
        (PatchType::Strategic, r#"{"spec":{"minReadySeconds":5},"metadata":{"labels":null}}"#),
        (PatchType::Merge, r#"{"spec":{"minReadySeconds":5},"metadata":{"labels":{"a":null}}}"#),
        (
            PatchType::Json,
            r#"[{"op":"add","path":"/spec/minReadySeconds","value":5},{"op":"replace","path":"/metadata/labels","value":{}}]"#,
        ),
    ] {
        let patched = apply(kind("ds"), patch_type, &daemon_set(), body.as_bytes(), FieldValidation::Strict);
        let patched = patched.unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(patched.value["spec"]["minReadySeconds"], 5, "{body}");
        assert_eq!(patched.value["metadata"], json!({"name": "d"}), "{body}");
    }
}

#[test]
fn requests_are_refused_in_kubernetes_words() {
    let refused = |patch_type, body: &str| {
        let result = apply(kind("ds"), patch_type, &daemon_set(), body.as_bytes(), FieldValidation::Strict);
        let status = result.expect_err(body);
        (status.code, status.body["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, message) = refused(PatchType::Strategic, r#"{"spec":{"minReadySeconds":"x"}}"#);
    assert_eq!(code, 422);
    assert_eq!(
        message,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[minReadySeconds:x]]\": unrecognized type: int32"
    );
    let (code, message) = refused(PatchType::Strategic, r#"{"spec":{"foo":1,"foo":2}}"#);
    assert_eq!(code, 422);
    assert_eq!(
        message,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[foo:2]]\": strict decoding error: duplicate field \
         \"spec.foo\", unknown field \"spec.foo\""
    );
    let (_, message) = refused(
        PatchType::Strategic,
        r#"{"foo":1,"spec":{"template":{"metadata":{"labels":null},"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","image":"i"}]}}}}"#,
    );
    assert_eq!(
        message,
        " \"\" is invalid: patch: Invalid value: \"map[foo:1 spec:map[template:map[metadata:map[labels:<nil>] \
         spec:map[]]]]\": strict decoding error: unknown field \"foo\""
    );
    let (code, message) = refused(PatchType::Merge, r#"{"spec":{"minReadySeconds":"x"}}"#);
    assert_eq!(code, 422);
    assert!(
        message.ends_with(
            ": json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32"
        ),
        "{message}"
    );
    let (code, message) =
        refused(PatchType::Json, r#"[{"op":"add","path":"/spec/minReadySeconds","value":5,"foo":1}]"#);
    assert_eq!(code, 422);
    assert!(message.ends_with(": strict decoding error: json patch unknown field \"[0].foo\""), "{message}");
    assert_eq!(
        refused(PatchType::Json, "{}"),
        (
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
                .to_owned()
        )
    );
    assert_eq!(refused(PatchType::Merge, "{"), (400, "error decoding patch: unexpected end of JSON input".to_owned()));
    assert_eq!(refused(PatchType::Json, r#"[{"op":"remove","path":"/nope"}]"#).0, 422);
    let warned =
        apply(kind("ds"), PatchType::Merge, &daemon_set(), br#"{"foo":1}"#, FieldValidation::Warn).expect("warns");
    assert_eq!(warned.warnings, ["unknown field \"foo\""]);
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    /// Values of a pod's spec, or patches of it: a few names, so that items meet.
    fn specs(patch: bool) -> impl Strategy<Value = Value> {
        let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
        let text = if patch {
            prop_oneof![Just(Value::Null), Just(json!("1")), Just(json!("2"))].boxed()
        } else {
            prop_oneof![Just(json!("1")), Just(json!("2"))].boxed()
        };
        let env = prop::collection::btree_map(name.clone(), text.clone(), 0..3).prop_map(|entries| {
            let items = entries.into_iter().map(|(name, value)| match value {
                Value::Null => json!({"name": name}),
                value => json!({"name": name, "value": value}),
            });
            Value::from_iter(items)
        });
        let container = (text.clone(), env).prop_map(|(image, env)| json!({"image": image, "env": env}));
        let containers = prop::collection::btree_map(name.clone(), container, 0..4).prop_map(|entries| {
            Value::from_iter(entries.into_iter().map(|(name, mut container)| {
                container["name"] = json!(name);
                container
            }))
        });
        let selector = prop::collection::btree_map(name, text, 0..4);
        (containers, selector).prop_map(|(containers, selector)| {
            let selector: serde_json::Map<String, Value> =
                selector.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            pod(json!({"containers": containers, "nodeSelector": selector}))
        })
    }

    /// The merge patch that makes `to` of `from`; neither has nulls.
    fn difference(from: &Value, to: &Value) -> Value {
        let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
        let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
        let changed = to.iter().filter_map(|(key, value)| match from.get(key) {
            Some(was) if was == value => None,
            Some(was) if was.is_object() && value.is_object() => Some((key.clone(), difference(was, value))),
            _ => Some((key.clone(), value.clone())),
        });
        Value::Object(gone.chain(changed).collect())
    }

    /// The same for lists of named items as a strategic merge patch writes it: changed and deleted items, and the order.
    fn list_difference(field: &str, from: &Value, to: &Value, patch: &mut Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let by_name = |list: &[Value], name: &Value| list.iter().find(|item| item["name"] == *name).cloned();
        let (from, to) = (list(from), list(to));
        let gone = from.iter().filter(|item| by_name(&to, &item["name"]).is_none());
        let mut items: Vec<Value> = gone.map(|item| json!({"$patch": "delete", "name": item["name"]})).collect();
        for item in &to {
            let mut changed = match by_name(&from, &item["name"]) {
                None => item.clone(),
                Some(was) => {
                    let mut changed = json!({"name": item["name"], "image": item["image"]});
                    list_difference("env", &was["env"], &item["env"], &mut changed);
                    changed
                }
            };
            if field == "env" {
                changed = json!({"name": item["name"], "value": item["value"]});
            }
            items.push(changed);
        }
        let order: Vec<Value> = to.iter().map(|item| json!({"name": item["name"]})).collect();
        patch[format!("$setElementOrder/{field}")] = order.into();
        patch[field] = items.into();
    }

    fn names(list: &Value) -> Vec<&str> {
        list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn an_empty_patch_changes_nothing(object in specs(false)) {
            prop_assert_eq!(strategic(kind("pod"), &object, &json!({})), Ok(object.clone()));
            prop_assert_eq!(merge(&object, &json!({})), Ok(object.clone()));
            prop_assert_eq!(json(&object, &json!([])), Ok(object));
        }

        #[test]
        fn an_object_patched_with_itself_stays(object in specs(false)) {
            prop_assert_eq!(strategic(kind("pod"), &object, &object), Ok(object.clone()));
            prop_assert_eq!(merge(&object, &object), Ok(object));
        }

        #[test]
        fn patching_twice_is_patching_once(object in specs(false), patch in specs(true)) {
            let once = strategic(kind("pod"), &object, &patch).expect("applies");
            prop_assert_eq!(strategic(kind("pod"), &once, &patch), Ok(once));
            let once = merge(&object, &patch).expect("applies");
            prop_assert_eq!(merge(&once, &patch), Ok(once));
        }

        #[test]
        fn a_difference_leads_from_one_to_the_other(from in specs(false), to in specs(false)) {
            let patched = merge(&from, &difference(&from, &to));
            prop_assert_eq!(patched, Ok(to.clone()));
            let operations = json!([{"op": "test", "path": "/spec", "value": from["spec"]},
                {"op": "replace", "path": "/spec", "value": to["spec"]}]);
            prop_assert_eq!(json(&from, &operations), Ok(to.clone()));

            let mut patch = json!({"spec": {"nodeSelector": difference(&from["spec"]["nodeSelector"], &to["spec"]["nodeSelector"])}});
            let lists = |value: &Value| value["spec"]["containers"].clone();
            list_difference("containers", &lists(&from), &lists(&to), &mut patch["spec"]);
            prop_assert_eq!(strategic(kind("pod"), &from, &patch), Ok(to));
        }

        #[test]
        fn a_patch_that_replaces_leaves_nothing_of_before(from in specs(false), to in specs(false)) {
            let mut replacing = to.clone();
            replacing["spec"]["$patch"] = json!("replace");
            let patched = strategic(kind("pod"), &from, &replacing);
            prop_assert_eq!(patched.map(|patched| patched["spec"].clone()), Ok(to["spec"].clone()));
            let nothing = json!({"spec": {"nodeSelector": {"$patch": "delete"}}});
            let patched = strategic(kind("pod"), &from, &nothing).expect("applies");
            // A map that is deleted is left empty, as Kubernetes does; decoding drops it.
            prop_assert_eq!(&patched["spec"]["nodeSelector"], &json!({}));
        }

        #[test]
        fn merged_lists_hold_the_items_of_both(object in specs(false), patch in specs(true)) {
            let patched = strategic(kind("pod"), &object, &patch).expect("applies");
            let found = names(&patched["spec"]["containers"]);
            let mut expected = names(&object["spec"]["containers"]);
            expected.extend(names(&patch["spec"]["containers"]));
            expected.sort_unstable();
            expected.dedup();
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, expected);
            let wanted = names(&patch["spec"]["containers"]);
            let order: Vec<&str> = found.into_iter().filter(|name| wanted.contains(name)).collect();
            prop_assert_eq!(order, wanted);
        }

        #[test]
        fn any_patch_is_applied_or_refused(object in specs(false), body in "[\\[\\]{}\",:$a-z0-9/]{0,60}") {
            for patch_type in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
                let _ = apply(kind("pod"), patch_type, &object, body.as_bytes(), FieldValidation::Strict);
            }
        }
    }
}
