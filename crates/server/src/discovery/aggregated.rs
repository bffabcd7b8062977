//! Discovery in one document, for clients that ask for it.

use api::kinds::Kind;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::groups::{groups, kinds_of, subresources, verbs};
use crate::app::Ask;
use crate::negotiate;
use crate::reply::{self, Body};

/// The versions of the document, newest first, with the media type of each.
const VERSIONS: [(&str, &str); 2] = [
    ("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    ("v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"),
];

/// The document of `/api` (core) or `/apis`; None when the client did not ask for it.
pub(super) fn answer(ask: &Ask, customs: &[Kind], core: bool) -> Option<Response<Body>> {
    let (version, media) = VERSIONS.iter().find(|(version, _)| {
        let params = [("g", "apidiscovery.k8s.io"), ("v", *version), ("as", "APIGroupDiscoveryList")];
        negotiate::accepts_exactly(&ask.headers, reply::JSON, &params)
    })?;
    let bytes = Bytes::from(document(version, customs, core).to_string());
    let etag = format!("\"{:X}\"", Sha256::digest(&bytes));
    let known = ask.headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = match known {
        true => reply::with_type(StatusCode::NOT_MODIFIED, media, reply::full("")),
        false => reply::maybe_gzip(media, bytes, negotiate::accepts_gzip(&ask.headers)),
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Some(response)
}

fn document(version: &str, customs: &[Kind], core: bool) -> Value {
    let groups = if core { vec![("", vec!["v1"])] } else { groups(customs) };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    let resources: Vec<Value> = kinds_of(customs, group, v).iter().map(|kind| resource(kind)).collect();
                    json!({"version": v, "freshness": "Current", "resources": resources})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = (*group).into();
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn resource(kind: &Kind) -> Value {
    let mut value = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = subresources(kind)
        .iter()
        .map(|sub| {
            let (group, version, name) = sub.body().unwrap_or((kind.group, kind.version, kind.kind));
            json!({
                "subresource": sub.as_str(),
                "responseKind": {"group": group, "version": version, "kind": name},
                "verbs": sub.verbs(kind),
            })
        })
        .collect();
    if !subresources.is_empty() {
        value["subresources"] = subresources.into();
    }
    value
}
