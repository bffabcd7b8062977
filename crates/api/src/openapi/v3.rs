//! OpenAPI version 3: an index, and a document for each group and version.
//!
//! Invariants: the index names the documents that `v3_document` has; each document holds what it refers to.
//! Absent: caching, the hash in the index (the server knows the bytes it sends).

use super::custom::{self, CustomKind};
use super::definitions::{Dialect, reached_from};
use super::operations::{self, Operation, RequestBody, ResponseBody};
use crate::kinds::{KINDS, Kind};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The index at `/openapi/v3`; `hash` tells the version of a document, given its path such as `apis/apps/v1`.
pub fn v3_index(customs: &[Kind], hash: impl Fn(&str) -> String) -> Value {
    let mut paths = Map::new();
    let of_customs = customs.iter().map(|kind| (kind.group, kind.version));
    for (group, version) in super::group_versions().into_iter().chain(of_customs) {
        let path = super::root_path(group, version);
        let url = format!("/openapi/v3/{path}?hash={}", hash(&path));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The document of a group and version, named as in the index: `api/v1`, `apis/apps/v1`. None if there is none.
/// `customs` are all custom kinds of that group and version.
pub fn v3_document(path: &str, customs: &[CustomKind]) -> Option<Value> {
    let (group, version) = super::all_group_versions(customs)
        .into_iter()
        .find(|(group, version)| super::root_path(group, version) == path)?;
    let mut roots = BTreeSet::new();
    let mut paths = Map::new();
    if !customs.is_empty() {
        roots.extend(custom::roots());
    }
    let of_customs = customs.iter().map(|custom| &custom.kind);
    for kind in KINDS.iter().chain(of_customs).filter(|kind| (kind.group, kind.version) == (group, version)) {
        for operation in operations::of_kind(kind) {
            add(&mut paths, &operation, &operations::tag(group, version), &mut roots);
        }
    }
    let resources = format!("{META}.APIResourceList");
    let get = json!({
        "operationId": format!("get{}APIResources", operations::group_id(group, version)),
        "responses": responses(&["200"], &Dialect::V3.reference_schema(&resources), &["application/json", "application/yaml"]),
        "tags": [operations::tag(group, version)],
    });
    roots.insert(resources);
    paths.insert(format!("/{path}/"), json!({ "get": get }));
    let mut schemas = reached_from(roots, Dialect::V3);
    schemas.extend(customs.iter().flat_map(|one| custom::definitions(one, Dialect::V3)));
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::KUBERNETES_VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"}
            },
        },
    }))
}

fn add(paths: &mut Map<String, Value>, operation: &Operation, tag: &str, roots: &mut BTreeSet<String>) {
    let (answer, media): (Value, &[&str]) = match &operation.response {
        ResponseBody::Object(name) => {
            roots.insert(name.clone());
            (Dialect::V3.reference_schema(name), &["application/json", "application/yaml"])
        }
        ResponseBody::ListOrWatch(name) => {
            roots.insert(name.clone());
            let media = &["application/json", "application/json;stream=watch", "application/yaml"];
            (Dialect::V3.reference_schema(name), media)
        }
        ResponseBody::Text => (json!({"type": "string"}), &["*/*"]),
    };
    let (group, version, kind) = operation.gvk;
    let mut out = json!({
        "operationId": operation.id,
        "responses": responses(operation.codes, &answer, media),
        "tags": [tag],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    if !operation.query.is_empty() {
        out["parameters"] = operation.query.iter().map(|(name, ty)| parameter("query", name, ty.as_str())).collect();
    }
    if let Some(body) = request(operation.request, roots) {
        out["requestBody"] = body;
    }
    let path = paths
        .entry(operation.path.clone())
        .or_insert_with(|| json!({ "parameters": path_parameters(&operation.path) }));
    path[operation.method] = out;
}

fn responses(codes: &[&str], answer: &Value, media: &[&str]) -> Value {
    let content: Map<String, Value> =
        media.iter().map(|media| ((*media).to_owned(), json!({ "schema": answer }))).collect();
    let mut out = Map::new();
    for code in codes {
        let text = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        out.insert((*code).to_owned(), json!({"content": content, "description": text}));
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}

fn request(body: RequestBody, roots: &mut BTreeSet<String>) -> Option<Value> {
    let (name, media): (String, &[&str]) = match body {
        RequestBody::None => return None,
        RequestBody::Object(name) => (name.to_owned(), &["*/*"]),
        RequestBody::Patch => (format!("{META}.Patch"), PATCH_TYPES),
        RequestBody::CustomPatch => (format!("{META}.Patch"), super::CUSTOM_PATCH_TYPES),
        RequestBody::DeleteOptions => (format!("{META}.DeleteOptions"), &["*/*"]),
    };
    let schema = Dialect::V3.reference_schema(&name);
    roots.insert(name);
    let content: Map<String, Value> =
        media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
    let mut out = json!({ "content": content });
    if body != RequestBody::DeleteOptions {
        out["required"] = Value::Bool(true);
    }
    Some(out)
}

fn parameter(place: &str, name: &str, ty: &str) -> Value {
    let mut out = json!({"in": place, "name": name, "schema": {"type": ty, "uniqueItems": true}});
    if place == "path" {
        out["required"] = Value::Bool(true);
    }
    out
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = ["name", "namespace"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let mut out: Vec<Value> = names.map(|name| parameter("path", name, "string")).collect();
    out.push(parameter("query", "pretty", "string"));
    out
}
