//! OpenAPI version 2.
//!
//! Invariants: `dryRun` and `fieldValidation` stand in each operation, where clients look for them; other parameters are
//! shared.
//! Absent: caching.

use super::custom::{self, CustomKind};
use super::definitions::{Dialect, reached_from};
use super::gnostic;
use super::operations::{self, Operation, RequestBody, ResponseBody};
use super::parameters::{self, Parameter};
use crate::kinds::KINDS;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Parameters that clients look for within an operation.
const INLINE: &[&str] = &["dryRun", "fieldValidation"];

const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The document of all built-in kinds and these custom ones.
pub fn v2_document(customs: &[CustomKind]) -> Value {
    let mut roots = BTreeSet::new();
    let mut paths = Map::new();
    if !customs.is_empty() {
        roots.extend(custom::roots());
    }
    for kind in KINDS.iter().chain(customs.iter().map(|custom| &custom.kind)) {
        for operation in operations::of_kind(kind) {
            add(&mut paths, &operation, &mut roots);
        }
    }
    for (path, id, tag, answer) in discovery_paths(customs) {
        roots.insert(answer.clone());
        let get = json!({
            "consumes": ["application/json", "application/yaml"],
            "operationId": id,
            "produces": produces(false),
            "responses": responses(&["200"], Some(&Dialect::V2.reference_schema(&answer))),
            "schemes": ["https"],
            "tags": [tag],
        });
        paths.insert(path, json!({ "get": get }));
    }
    let mut definitions = reached_from(roots, Dialect::V2);
    definitions.extend(customs.iter().flat_map(|one| custom::definitions(one, Dialect::V2)));
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": crate::KUBERNETES_VERSION},
        "paths": paths,
        "definitions": definitions,
        "parameters": shared_parameters(),
        "securityDefinitions": {
            "BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"}
        },
        "security": [{"BearerToken": []}],
    })
}

/// The document as [`super::V2_PROTOBUF`].
pub fn v2_protobuf(customs: &[CustomKind]) -> Vec<u8> {
    gnostic::encode(&v2_document(customs))
}

/// Path, operation, tag and answer of what discovery serves.
fn discovery_paths(customs: &[CustomKind]) -> Vec<(String, String, String, String)> {
    let meta = |name: &str| format!("{META}.{name}");
    let row =
        |path: &str, id: &str, tag: &str, answer: String| (path.to_owned(), id.to_owned(), tag.to_owned(), answer);
    let mut rows = vec![
        row("/api/", "getCoreAPIVersions", "core", meta("APIVersions")),
        row("/apis/", "getAPIVersions", "apis", meta("APIGroupList")),
        row("/version/", "getCodeVersion", "version", VERSION_INFO.to_owned()),
    ];
    for (group, version) in super::all_group_versions(customs) {
        let (path, id) = (super::root_path(group, version), operations::group_id(group, version));
        let tag = operations::tag(group, version);
        if !group.is_empty() {
            let id = id.strip_suffix(&version.to_uppercase()).unwrap_or(&id);
            let group_tag = tag.split('_').next().unwrap_or_default();
            rows.push(row(&format!("/apis/{group}/"), &format!("get{id}APIGroup"), group_tag, meta("APIGroup")));
        }
        rows.push(row(&format!("/{path}/"), &format!("get{id}APIResources"), &tag, meta("APIResourceList")));
    }
    rows
}

fn add(paths: &mut Map<String, Value>, operation: &Operation, roots: &mut BTreeSet<String>) {
    let answer = match &operation.response {
        ResponseBody::Object(name) | ResponseBody::ListOrWatch(name) => {
            roots.insert(name.clone());
            Dialect::V2.reference_schema(name)
        }
        ResponseBody::Text => json!({"type": "string"}),
    };
    let mut list: Vec<Value> = request(operation.request, roots).into_iter().collect();
    list.extend(operation.query.iter().map(|parameter| query(*parameter)));
    let (group, version, kind) = operation.gvk;
    let consumes = match operation.request {
        RequestBody::Patch => PATCH_TYPES,
        RequestBody::CustomPatch => super::CUSTOM_PATCH_TYPES,
        _ => &["*/*"],
    };
    let mut out = json!({
        "consumes": consumes,
        "operationId": operation.id,
        "produces": match operation.response {
            ResponseBody::Object(_) => produces(false),
            ResponseBody::ListOrWatch(_) => produces(true),
            ResponseBody::Text => json!(["*/*"]),
        },
        "responses": responses(operation.codes, Some(&answer)),
        "schemes": ["https"],
        "tags": [operations::tag(tag_group(&operation.path), tag_version(&operation.path))],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    if !list.is_empty() {
        out["parameters"] = Value::Array(list);
    }
    let path = paths
        .entry(operation.path.clone())
        .or_insert_with(|| json!({ "parameters": path_parameters(&operation.path) }));
    path[operation.method] = out;
}

/// Group that a path is served under.
pub(super) fn tag_group(path: &str) -> &str {
    let mut parts = path.split('/').skip(1);
    if parts.next() == Some("apis") { parts.next().unwrap_or_default() } else { "" }
}

/// Version that a path is served under.
pub(super) fn tag_version(path: &str) -> &str {
    let mut parts = path.split('/').skip(1);
    let is_group = parts.next() == Some("apis");
    parts.nth(usize::from(is_group)).unwrap_or_default()
}

fn produces(is_watch: bool) -> Value {
    if is_watch {
        return json!(["application/json", "application/yaml", "application/json;stream=watch"]);
    }
    json!(["application/json", "application/yaml"])
}

fn responses(codes: &[&str], answer: Option<&Value>) -> Value {
    let mut out = Map::new();
    for code in codes {
        let text = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        out.insert((*code).to_owned(), json!({"description": text, "schema": answer}));
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}

fn request(body: RequestBody, roots: &mut BTreeSet<String>) -> Option<Value> {
    let (name, is_required) = match body {
        RequestBody::None => return None,
        RequestBody::Object(name) => (name.to_owned(), true),
        RequestBody::Patch | RequestBody::CustomPatch => (format!("{META}.Patch"), true),
        RequestBody::DeleteOptions => (format!("{META}.DeleteOptions"), false),
    };
    let mut out = json!({"in": "body", "name": "body", "schema": Dialect::V2.reference_schema(&name)});
    if is_required {
        out["required"] = Value::Bool(true);
    }
    roots.insert(name);
    Some(out)
}

fn query((name, ty): Parameter) -> Value {
    if INLINE.contains(&name) {
        return inline_query((name, ty));
    }
    json!({ "$ref": format!("#/parameters/{}", shared_name((name, ty))) })
}

fn inline_query((name, ty): Parameter) -> Value {
    json!({"in": "query", "name": name, "type": ty.as_str(), "uniqueItems": true})
}

/// Shared parameters are told apart by name and type.
fn shared_name((name, ty): Parameter) -> String {
    format!("{name}-{}", ty.as_str())
}

fn path_parameters(path: &str) -> Vec<Value> {
    let mut out = Vec::new();
    for name in ["name", "namespace"] {
        if path.contains(&format!("{{{name}}}")) {
            out.push(json!({ "$ref": format!("#/parameters/{name}-path") }));
        }
    }
    out.push(json!({ "$ref": "#/parameters/pretty-string" }));
    out
}

fn shared_parameters() -> Map<String, Value> {
    let mut out = Map::new();
    let sets = [
        parameters::LIST,
        parameters::WRITE,
        parameters::PATCH,
        parameters::DELETE,
        parameters::DELETE_COLLECTION,
        parameters::LOG,
        parameters::EXEC,
        parameters::ATTACH,
        parameters::PORT_FORWARD,
        parameters::PROXY,
    ];
    let pretty = ("pretty", parameters::ParameterType::String);
    for &parameter in sets.iter().copied().flatten().chain([&pretty]) {
        if !INLINE.contains(&parameter.0) {
            out.insert(shared_name(parameter), inline_query(parameter));
        }
    }
    for name in ["name", "namespace"] {
        let path = json!({"in": "path", "name": name, "required": true, "type": "string", "uniqueItems": true});
        out.insert(format!("{name}-path"), path);
    }
    out
}
