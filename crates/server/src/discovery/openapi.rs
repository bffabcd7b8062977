//! The schemas of all kinds, as OpenAPI v2 and v3.
//!
//! # Invariants
//! A document is made when it is first asked for and kept only compressed: it is large and rarely read.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use api::crd::Custom;
use api::kinds::Kind;
use api::openapi::{self, CustomKind};
use api::status::{self, Status};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::Store;

use crate::app::{App, Ask};
use crate::negotiate;
use crate::reply::{self, Body, Reply};

/// A document, compressed, with the hash of its text.
#[derive(Clone)]
struct Packed {
    gzip: Bytes,
    hash: String,
}

impl Packed {
    /// Makes a document in a thread of its own: the allocator keeps memory for each thread, and gives back what this
    /// one took, a hundred times the result, once the thread is done.
    fn new(make: impl FnOnce() -> Vec<u8> + Send) -> Packed {
        // What stays for good is made outside of the thread: it would hold all that lies before it.
        api::schema::schema();
        let made = std::thread::scope(|scope| {
            let packing = scope.spawn(|| {
                let text = make();
                (reply::gzip(&text), format!("{:X}", Sha256::digest(&text)))
            });
            packing.join().unwrap_or_default()
        });
        Packed { gzip: Bytes::copy_from_slice(&made.0), hash: made.1.as_str().to_owned() }
    }

    fn respond(&self, ask: &Ask, media: &'static str) -> Result<Response<Body>, Status> {
        let etag = format!("\"{}\"", self.hash);
        let known = ask.headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
        let mut response = if known {
            reply::with_type(StatusCode::NOT_MODIFIED, media, reply::full(""))
        } else if negotiate::accepts_gzip(&ask.headers) {
            reply::gzipped(media, reply::full(self.gzip.clone()))
        } else {
            let mut text = Vec::new();
            GzDecoder::new(&self.gzip[..]).read_to_end(&mut text).map_err(status::internal)?;
            reply::with_type(StatusCode::OK, media, reply::full(text))
        };
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        // A document that is asked for by its hash never changes.
        let cache =
            if ask.query.get("hash").is_some() { "public, max-age=31536000, immutable" } else { "no-cache, private" };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        Ok(response)
    }
}

/// Documents that hold custom kinds, each with the kinds that it was made of.
#[derive(Default)]
pub(crate) struct Documents(Mutex<BTreeMap<String, (Vec<Kind>, Packed)>>);

impl Documents {
    /// The document of this name for these kinds; made anew when they changed. `all` are the kinds that are served:
    /// documents of others go.
    fn get(&self, name: &str, kinds: &[Kind], all: &[Kind], make: impl FnOnce() -> Vec<u8> + Send) -> Packed {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, packed)) = kept.get(name)
            && of == kinds
        {
            return packed.clone();
        }
        let served: HashSet<*const Custom> =
            all.iter().filter_map(|kind| kind.custom.as_ref()).map(Arc::as_ptr).collect();
        let is_served = |kind: &Kind| kind.custom.as_ref().is_some_and(|custom| served.contains(&Arc::as_ptr(custom)));
        kept.retain(|_, (of, _)| of.iter().all(is_served));
        let packed = Packed::new(make);
        kept.insert(name.to_owned(), (kinds.to_vec(), packed.clone()));
        packed
    }
}

/// Kinds with their schemas, read from their definitions.
fn with_schemas<S>(app: &App<S>, kinds: &[Kind]) -> Vec<CustomKind> {
    let schema = |kind: &Kind| {
        let definition: Value = serde_json::from_slice(&app.customs.definition(kind)?).ok()?;
        let versions = definition["spec"]["versions"].as_array()?;
        let version = versions.iter().find(|version| version["name"] == kind.version)?;
        version["schema"].get("openAPIV3Schema").cloned()
    };
    kinds.iter().map(|kind| CustomKind { kind: kind.clone(), schema: schema(kind).unwrap_or_default() }).collect()
}

/// `/openapi/v2`
pub(super) fn v2<S: Store>(app: &App<S>, ask: &Ask) -> Reply {
    static AS_JSON: OnceLock<Packed> = OnceLock::new();
    static AS_PROTOBUF: OnceLock<Packed> = OnceLock::new();
    let wants = |media| negotiate::accepts_exactly(&ask.headers, media, &[]);
    let kinds = app.customs.kinds();
    let make = |protobuf: bool| {
        let customs = with_schemas(app, &kinds);
        match protobuf {
            true => openapi::v2_protobuf(&customs),
            false => openapi::v2_document(&customs).to_string().into(),
        }
    };
    let packed = |protobuf: bool, name: &str, plain: &'static OnceLock<Packed>| match kinds.is_empty() {
        true => plain.get_or_init(|| Packed::new(|| make(protobuf))).clone(),
        false => app.customs.documents.get(name, &kinds, &kinds, || make(protobuf)),
    };
    if wants(openapi::V2_PROTOBUF) || wants(openapi::V2_PROTOBUF_REQUESTED) {
        return packed(true, "v2.protobuf", &AS_PROTOBUF).respond(ask, openapi::V2_PROTOBUF);
    }
    packed(false, "v2", &AS_JSON).respond(ask, reply::JSON)
}

/// The v3 document of a path such as `apis/apps/v1`, which holds built-in kinds alone.
fn v3_packed(path: &str) -> Option<Packed> {
    static DOCUMENTS: Mutex<BTreeMap<String, Packed>> = Mutex::new(BTreeMap::new());
    let mut documents = DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !openapi::group_versions().iter().any(|(group, version)| is_path_of(path, group, version)) {
        return None;
    }
    if let Some(packed) = documents.get(path) {
        return Some(packed.clone());
    }
    let packed = Packed::new(|| openapi::v3_document(path, &[]).map(|d| d.to_string().into()).unwrap_or_default());
    documents.insert(path.to_owned(), packed.clone());
    Some(packed)
}

/// Whether a path names the document of a group and version.
fn is_path_of(path: &str, group: &str, version: &str) -> bool {
    match group {
        "" => path.strip_prefix("api/") == Some(version),
        _ => path.strip_prefix("apis/").and_then(|p| p.split_once('/')) == Some((group, version)),
    }
}

/// What changes with the document of custom kinds: which definitions it is made of, and their generations.
fn version_of<S>(app: &App<S>, kinds: &[Kind], path: &str) -> String {
    let mut hash = Sha256::new();
    for kind in kinds.iter().filter(|kind| is_path_of(path, kind.group, kind.version)) {
        hash.update(app.customs.stamp(kind));
    }
    format!("{:X}", hash.finalize())
}

/// `/openapi/v3`
pub(super) fn v3_index<S: Store>(app: &App<S>, ask: &Ask) -> Reply {
    static INDEX: OnceLock<Packed> = OnceLock::new();
    let kinds = app.customs.kinds();
    let hash = |path: &str| match kinds.iter().any(|kind| is_path_of(path, kind.group, kind.version)) {
        true => version_of(app, &kinds, path),
        false => v3_packed(path).map(|packed| packed.hash).unwrap_or_default(),
    };
    let make = || {
        let index = openapi::v3_index(&kinds, hash).to_string();
        Packed::new(|| index.into())
    };
    match kinds.is_empty() {
        true => INDEX.get_or_init(make).respond(ask, reply::JSON),
        false => make().respond(ask, reply::JSON),
    }
}

/// `/openapi/v3/PATH`
pub(super) fn v3<S: Store>(app: &App<S>, ask: &Ask, path: &str) -> Reply {
    let all = app.customs.kinds();
    let kinds: Vec<Kind> = all.iter().filter(|kind| is_path_of(path, kind.group, kind.version)).cloned().collect();
    let packed = match kinds.is_empty() {
        true => v3_packed(path).ok_or_else(status::no_such_resource)?,
        false => app.customs.documents.get(path, &kinds, &all, || {
            let customs = with_schemas(app, &kinds);
            openapi::v3_document(path, &customs).map(|d| d.to_string().into()).unwrap_or_default()
        }),
    };
    packed.respond(ask, reply::JSON)
}
