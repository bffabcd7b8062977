use super::*;
use crate::kinds::Verb;
use serde_json::{Value, json};

/// All values below `key` anywhere in `value`.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(entries) => {
            for (name, inner) in entries {
                if name == key {
                    found.push(inner);
                }
                all(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

fn check_references(document: &Value) {
    let mut found = Vec::new();
    all(document, "$ref", &mut found);
    // A schema of custom resources has a property of that name.
    let references: Vec<&str> = found.into_iter().filter_map(Value::as_str).collect();
    assert!(references.len() > 10);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} is missing");
    }
    let mut ids = Vec::new();
    all(document, "operationId", &mut ids);
    let mut ids: Vec<&str> = ids.into_iter().filter_map(Value::as_str).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an operation has two places");
}

#[test]
fn every_reference_resolves() {
    check_references(&v2_document(&[]));
    for (group, version) in group_versions() {
        check_references(&v3_document(&root_path(group, version), &[]).expect("a document"));
    }
}

#[test]
fn every_kind_can_be_found_by_clients() {
    let document = v2_document(&[]);
    for kind in KINDS {
        let gvk = json!({"group": kind.group, "kind": kind.kind, "version": kind.version});
        let definition = &document["definitions"][kind.type_name];
        assert_eq!(definition["x-kubernetes-group-version-kind"], json!([gvk]), "{}", kind.type_name);
        let v3 = v3_document(&root_path(kind.group, kind.version), &[]).expect("a document");
        assert_eq!(v3["components"]["schemas"][kind.type_name]["x-kubernetes-group-version-kind"], json!([gvk]));
        if !kind.can(Verb::Patch) {
            continue;
        }
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{}{scope}/{}/{{name}}", root_path(kind.group, kind.version), kind.plural);
        for patch in [&document["paths"][&path]["patch"], &v3["paths"][&path]["patch"]] {
            assert_eq!(patch["x-kubernetes-group-version-kind"], gvk, "{path}");
            let names: Vec<&str> = patch["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|found| found["name"].as_str())
                .collect();
            assert!(names.contains(&"dryRun") && names.contains(&"fieldValidation"), "{path}: {names:?}");
        }
    }
}

#[test]
fn a_property_in_both_dialects() {
    let v2 = v2_document(&[]);
    let v3 = v3_document("api/v1", &[]).expect("a document");
    let ports = json!({
        "type": "array", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "x-kubernetes-list-type": "map",
        "x-kubernetes-patch-merge-key": "containerPort", "x-kubernetes-patch-strategy": "merge",
    });
    let with_items = |reference: &str| {
        let mut ports = ports.clone();
        ports["items"] = json!({ "$ref": reference });
        ports
    };
    let bare = |mut property: Value| {
        let text = property.as_object_mut().and_then(|property| property.remove("description"));
        assert!(text.is_some_and(|text| text.as_str().is_some_and(|text| text.len() > 20)), "{property}");
        property
    };
    let container = "io.k8s.api.core.v1.Container";
    let expect = with_items("#/definitions/io.k8s.api.core.v1.ContainerPort");
    assert_eq!(bare(v2["definitions"][container]["properties"]["ports"].clone()), expect);
    let expect = with_items("#/components/schemas/io.k8s.api.core.v1.ContainerPort");
    assert_eq!(bare(v3["components"]["schemas"][container]["properties"]["ports"].clone()), expect);
    let resources = "#/components/schemas/io.k8s.api.core.v1.ResourceRequirements";
    let expect = json!({"allOf": [{"$ref": resources}], "default": {}});
    assert_eq!(bare(v3["components"]["schemas"][container]["properties"]["resources"].clone()), expect);
}

#[test]
fn values_that_a_field_may_have() {
    for policy in [
        &v2_document(&[])["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"],
        &v3_document("api/v1", &[]).expect("a document")["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
            ["restartPolicy"],
    ] {
        assert_eq!(policy["enum"], json!(["Always", "Never", "OnFailure"]));
        let text = policy["description"].as_str().expect("a text");
        assert!(
            text.ends_with("\n\nPossible enum values:\n - `\"Always\"`\n - `\"Never\"`\n - `\"OnFailure\"`"),
            "{text}"
        );
    }
}

#[test]
fn the_index_names_the_documents() {
    let index = v3_index(&[], |path| format!("H{}", path.len()));
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], "/openapi/v3/apis/apps/v1?hash=H12");
    for path in index["paths"].as_object().expect("paths").keys() {
        assert!(v3_document(path, &[]).is_some(), "{path}");
    }
    assert!(v3_document("apis/nope/v1", &[]).is_none());
}
