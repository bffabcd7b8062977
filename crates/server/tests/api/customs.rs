//! Custom resource definitions and objects of the kinds they define.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size",
                        "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                    "schema": {"openAPIV3Schema": {"type": "object", "description": "A widget.", "properties": {
                        "spec": {"type": "object", "properties": {
                            "color": {"type": "string", "default": "red", "enum": ["red", "green"]},
                            "size": {"type": "integer", "maximum": 9},
                            "ports": {"type": "array", "x-kubernetes-list-type": "map",
                                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"],
                                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}}}},
                        "status": {"type": "object", "properties": {"size": {"type": "integer"},
                            "selector": {"type": "string"}}}}}}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Asks until the answer is as wanted: what the server does for definitions, it does beside the requests.
async fn until(cluster: &Cluster, uri: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..1000 {
        let answer = cluster.get(uri).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{uri} is still {:?}", cluster.get(uri).await)
}

async fn defined() -> Cluster {
    let cluster = Cluster::start().await;
    let made = cluster.post(DEFINITIONS, &definition()).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.body["status"]["storedVersions"], json!(["v1"]));
    until(&cluster, WIDGETS, |answer| answer.code == 200).await;
    cluster
}

fn condition<'a>(answer: &'a Answer, name: &str) -> &'a Value {
    let conditions = answer.body["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|one| one["type"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_checked() {
    let cluster = defined().await;
    let made = cluster.post(WIDGETS, &widget("a", json!({"size": 1, "weight": 2}))).await;
    assert_eq!((made.code, &made.body["spec"]), (201, &json!({"color": "red", "size": 1})), "{made:?}");
    assert_eq!((made.warnings.len(), &made.body["metadata"]["generation"]), (1, &json!(1)));
    assert_eq!(cluster.get(&format!("{WIDGETS}/a")).await.body, made.body);
    let strict = cluster.post(&format!("{WIDGETS}?fieldValidation=Strict"), &widget("b", json!({"weight": 2}))).await;
    assert_eq!(
        (strict.code, strict.message()),
        (
            400,
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.weight\""
        )
    );
    let wrong = cluster.post(WIDGETS, &widget("b", json!({"size": 10, "color": "blue"}))).await;
    assert_eq!(
        (wrong.code, wrong.message()),
        (
            422,
            "Widget.example.com \"b\" is invalid: [spec.color: Unsupported value: \"blue\": supported values: \"red\", \
             \"green\", spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9]"
        )
    );
    let mut changed = made.body.clone();
    changed["spec"]["size"] = json!(2);
    changed["status"] = json!({"size": 7});
    let updated = cluster.put(&format!("{WIDGETS}/a"), &changed).await;
    assert_eq!((updated.code, updated.body.get("status")), (200, None), "{updated:?}");
    assert_eq!(updated.body["metadata"]["generation"], 2);
    let blind = cluster.put(&format!("{WIDGETS}/a"), &widget("a", json!({}))).await;
    assert_eq!(blind.code, 422, "an update names the revision that it replaces");
    let status = cluster.patch(&format!("{WIDGETS}/a/status"), "merge", &json!({"status": {"size": 7}})).await;
    assert_eq!((status.code, &status.body["status"]["size"]), (200, &json!(7)), "{status:?}");
    assert_eq!(status.body["metadata"]["generation"], 2);
    let strategic = cluster.patch(&format!("{WIDGETS}/a"), "strategic-merge", &json!({})).await;
    assert_eq!(strategic.code, 415, "{strategic:?}");
    assert_eq!(cluster.delete(&format!("{WIDGETS}/a"), None).await.body["status"], "Success");
    assert_eq!(cluster.get(&format!("{WIDGETS}/a")).await.code, 404);
}

#[tokio::test]
async fn versions_share_their_objects() {
    let cluster = defined().await;
    let old = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let mut body = widget("a", json!({"size": 1, "any": "thing"}));
    body["apiVersion"] = json!("example.com/v1beta1");
    let made = cluster.post(old, &body).await;
    assert_eq!((made.code, &made.body["apiVersion"]), (201, &json!("example.com/v1beta1")), "{made:?}");
    assert_eq!(made.warnings, ["299 - \"example.com/v1beta1 Widget is deprecated\""]);
    let read = cluster.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(
        (&read.body["apiVersion"], &read.body["spec"]),
        (&json!("example.com/v1"), &json!({"color": "red", "size": 1}))
    );
    let mut other = body.clone();
    other["apiVersion"] = json!("example.com/v1");
    let refused = cluster.post(old, &other).await;
    assert_eq!(
        refused.message(),
        "the API version in the data (example.com/v1) does not match the expected API version (example.com/v1beta1)"
    );
}

#[tokio::test]
async fn lists_tables_selectors_and_scale() {
    let cluster = defined().await;
    for (name, color) in [("a", "red"), ("b", "green"), ("c", "green")] {
        assert_eq!(cluster.post(WIDGETS, &widget(name, json!({"color": color, "size": 1}))).await.code, 201);
    }
    let green = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dgreen")).await;
    assert_eq!(
        (green.body["kind"].as_str(), green.names()),
        (Some("WidgetList"), vec!["b".to_owned(), "c".to_owned()])
    );
    let unknown = cluster.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await;
    assert_eq!((unknown.code, unknown.message()), (400, "field label not supported: spec.size"));
    let page = cluster.get(&format!("{WIDGETS}?limit=2")).await;
    let next = page.body["metadata"]["continue"].as_str().unwrap();
    assert_eq!(cluster.get(&format!("{WIDGETS}?limit=2&continue={next}")).await.names(), ["c"]);
    let table = cluster.ask(Method::GET, WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io", "", "").await;
    assert_eq!(table.body["columnDefinitions"][1]["name"], "Color");
    assert_eq!(table.body["rows"][1]["cells"], json!(["b", "green"]));
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = cluster.ask(Method::GET, WIDGETS, accept, "", "").await;
    assert_eq!(partial.body["items"][0].get("spec"), None);
    let scale = cluster.patch(&format!("{WIDGETS}/a/scale"), "merge", &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((scale.code, &scale.body["spec"]["replicas"]), (200, &json!(5)), "{scale:?}");
    assert_eq!(cluster.get(&format!("{WIDGETS}/a")).await.body["spec"]["size"], 5);
    let too_many = cluster.patch(&format!("{WIDGETS}/a/scale"), "merge", &json!({"spec": {"replicas": 50}})).await;
    assert_eq!(too_many.code, 422, "{too_many:?}");
    assert_eq!(cluster.delete(WIDGETS, None).await.code, 200);
    assert!(cluster.get(WIDGETS).await.names().is_empty());
}

#[tokio::test]
async fn applies_merge_lists_by_their_keys() {
    let cluster = defined().await;
    let apply = async |manager: &str, spec: Value| {
        let uri = format!("{WIDGETS}/a?fieldManager={manager}");
        let body = widget("a", spec).to_string();
        cluster.ask(Method::PATCH, &uri, "application/json", "application/apply-patch+yaml", &body).await
    };
    let one = apply("one", json!({"ports": [{"name": "x", "port": 1}]})).await;
    assert_eq!((one.code, &one.body["spec"]["color"]), (201, &json!("red")), "{one:?}");
    let two = apply("two", json!({"ports": [{"name": "y", "port": 2}]})).await;
    assert_eq!(two.body["spec"]["ports"], json!([{"name": "x", "port": 1}, {"name": "y", "port": 2}]), "{two:?}");
    let conflict = apply("two", json!({"ports": [{"name": "x", "port": 2}]})).await;
    assert_eq!(
        (conflict.code, conflict.message()),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.ports[name=\"x\"].port")
    );
    let unknown = apply("two", json!({"weight": 1})).await;
    assert_eq!(unknown.code, 500, "{unknown:?}");
    assert!(unknown.message().ends_with(".spec.weight: field not declared in schema"), "{unknown:?}");
    let empty = apply("one", json!({})).await;
    assert_eq!(empty.body["spec"]["ports"], json!([{"name": "y", "port": 2}]));
}

#[tokio::test]
async fn discovery_and_documents_follow_definitions() {
    let cluster = defined().await;
    let group = cluster.get("/apis/example.com").await;
    assert_eq!(group.body["preferredVersion"]["version"], "v1");
    let resources = cluster.get("/apis/example.com/v1").await;
    let names: Vec<&str> =
        resources.body["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = cluster.ask(Method::GET, "/apis", accept, "", "").await;
    let last = aggregated.body["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["versions"][0]["resources"][0]["shortNames"], json!(["wd"]));
    let document = cluster.get("/openapi/v3/apis/example.com/v1").await;
    let schema = &document.body["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(
        (&schema["description"], &schema["properties"]["kind"]["type"]),
        (&json!("A widget."), &json!("string"))
    );
    let index = async || cluster.get("/openapi/v3").await.body["paths"]["apis/example.com/v1"].clone();
    let before = index().await;
    let v2 = cluster.get("/openapi/v2").await;
    assert_eq!(v2.body["definitions"]["com.example.v1.WidgetList"]["required"], json!(["items"]));
    let uri = format!("{DEFINITIONS}/widgets.example.com");
    let path = "/spec/versions/0/schema/openAPIV3Schema/description";
    let changed = cluster.patch(&uri, "json", &json!([{"op": "replace", "path": path, "value": "Another."}])).await;
    assert_eq!(changed.code, 200, "{changed:?}");
    assert_ne!(index().await, before);
    let document = cluster.get("/openapi/v3/apis/example.com/v1").await;
    assert_eq!(document.body["components"]["schemas"]["com.example.v1.Widget"]["description"], "Another.");
}

#[tokio::test]
async fn names_are_granted_once_and_freed_with_their_definition() {
    let cluster = defined().await;
    let mut rival = definition();
    rival["metadata"]["name"] = json!("gadgets.example.com");
    rival["spec"]["names"]["plural"] = json!("gadgets");
    assert_eq!(cluster.post(DEFINITIONS, &rival).await.code, 201);
    let uri = format!("{DEFINITIONS}/gadgets.example.com");
    let refused = until(&cluster, &uri, |answer| condition(answer, "NamesAccepted")["status"] == "False").await;
    assert_eq!(condition(&refused, "NamesAccepted")["reason"], "ListKindConflict");
    assert_eq!(condition(&refused, "Established")["status"], "False");
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    assert_eq!(cluster.get(gadgets).await.code, 404);
    assert_eq!(cluster.delete(&format!("{DEFINITIONS}/widgets.example.com"), None).await.code, 200);
    until(&cluster, gadgets, |answer| answer.code == 200).await;
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let cluster = defined().await;
    let mut held = widget("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(cluster.post(WIDGETS, &held).await.code, 201);
    assert_eq!(cluster.post(WIDGETS, &widget("free", json!({}))).await.code, 201);
    let uri = format!("{DEFINITIONS}/widgets.example.com");
    let deleted = cluster.delete(&uri, None).await;
    assert_eq!(condition(&deleted, "Terminating")["reason"], "InstanceDeletionPending", "{deleted:?}");
    until(&cluster, WIDGETS, |answer| answer.names() == ["held"]).await;
    let refused = cluster.post(WIDGETS, &widget("late", json!({}))).await;
    assert_eq!(
        (refused.code, refused.message()),
        (405, "create not allowed while custom resource definition is terminating")
    );
    let free = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    assert_eq!(cluster.patch(&format!("{WIDGETS}/held"), "json", &free).await.code, 200);
    until(&cluster, &uri, |answer| answer.code == 404).await;
    assert_eq!(cluster.get(WIDGETS).await.code, 404);
    // Nothing of the old definition is left for a new one of its name.
    assert_eq!(cluster.post(DEFINITIONS, &definition()).await.code, 201);
    let empty = until(&cluster, WIDGETS, |answer| answer.code == 200).await;
    assert!(empty.names().is_empty());
}

#[tokio::test]
async fn policies_are_there_from_the_first_moment() {
    const POLICIES: &str = "/apis/everynode.dev/v1alpha1/namespaces/default/rolloutpolicies";
    let cluster = Cluster::start().await;
    until(&cluster, POLICIES, |answer| answer.code == 200).await;
    let policy = |spec: Value| json!({"apiVersion": "everynode.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "p"}, "spec": spec});
    let refused = [
        json!({}),
        json!({"targets": {}}),
        json!({"targets": {"names": ["d"], "selector": {}}}),
        json!({"targets": {"names": ["d"]}, "waves": [{"name": "w", "nodes": {"count": 1, "percent": 1}}]}),
        json!({"targets": {"names": ["d"]}, "waves": [{"name": "w"}]}),
        json!({"targets": {"names": ["d"]}, "windows": [{"start": "9:00", "durationSeconds": 60}]}),
        json!({"targets": {"names": ["d"]}, "failure": {"maxFailedNodes": "some"}}),
        json!({"targets": {"names": ["d"]}, "failure": {"maxFailedNodes": "200%"}}),
        json!({"targets": {"names": ["d"]}, "windows": [{"schedule": "0 0 30 2 *", "durationSeconds": 60}]}),
        json!({"targets": {"names": ["d"]}, "windows": [{"schedule": "0 0 * * *", "durationSeconds": 60, "timeZone": "Mars/Base"}]}),
        json!({"targets": {"names": ["d"]}, "waves": [{"name": "w", "topologyKey": "zone"}, {"name": "x", "nodes": {"count": 1}}]}),
    ];
    for spec in refused {
        let answer = cluster.post(POLICIES, &policy(spec.clone())).await;
        assert_eq!(answer.code, 422, "{spec}: {answer:?}");
    }
    let spec = json!({"targets": {"names": ["d"]}, "paused": true, "failure": {"maxFailedNodes": "10%"},
        "waves": [{"name": "w", "nodes": {"diverse": ["kubernetes.io/arch"]}, "gate": "Manual"}]});
    let answer = cluster.post(POLICIES, &policy(spec.clone())).await;
    assert_eq!((answer.code, &answer.body["spec"]), (201, &spec), "{answer:?}");
    let never = json!({"spec": {"windows": [{"schedule": "0 0 30 2 *", "durationSeconds": 60}]}});
    let answer = cluster.patch(&format!("{POLICIES}/p"), "merge", &never).await;
    assert_eq!(
        (answer.code, &answer.body["details"]["causes"][0]["field"]),
        (422, &json!("spec.windows[0]")),
        "{answer:?}"
    );
}
