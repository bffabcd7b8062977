//! Answers in the shape that the client asked for: whole objects, rows for printing, metadata alone; JSON or YAML.
//!
//! # Invariants
//! Whole objects in JSON are never parsed, nor is the metadata of one alone: they are the stored bytes with the revision put in.

use api::kinds::Kind;
use api::status::Status;
use api::table;
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use store::{Entry, Revision};

use crate::negotiate::{Form, Shape};
use crate::object;
use crate::reply::{self, Body};
use crate::request::Query;

/// Which part of each object a table carries with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    /// From the query parameter `includeObject`.
    pub(crate) fn parse(query: &Query) -> Include {
        match query.get("includeObject") {
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// The media type of a form.
pub(crate) fn media(form: Form) -> &'static str {
    if form.yaml { "application/yaml" } else { reply::JSON }
}

/// A response with one object.
///
/// # Errors
/// 500 when the stored bytes are broken.
pub(crate) fn respond(
    code: StatusCode,
    form: Form,
    include: Include,
    kind: &Kind,
    value: &[u8],
    revision: Revision,
) -> Result<Response<Body>, Status> {
    let bytes = match (form.shape, form.yaml) {
        (Shape::Whole, false) if kind.is_seen_as_stored() => object::spliced(value, revision),
        (Shape::Metadata, yaml) => match object::spliced_metadata(value, revision, form.meta_version) {
            Some(bytes) if !yaml => bytes,
            _ => document(form, include, kind, object::decode_at(value, revision)?)?,
        },
        _ => document(form, include, kind, object::decode_at_as(kind, value, revision)?)?,
    };
    Ok(reply::with_type(code, media(form), reply::full(bytes)))
}

/// A response with an object that is at hand parsed, for example after a dry run.
pub(crate) fn respond_value(
    code: StatusCode,
    form: Form,
    kind: &Kind,
    object: Value,
) -> Result<Response<Body>, Status> {
    let bytes = document(form, Include::Metadata, kind, object)?;
    Ok(reply::with_type(code, media(form), reply::full(bytes)))
}

/// One object's text in a form.
fn document(form: Form, include: Include, kind: &Kind, object: Value) -> Result<Bytes, Status> {
    let value = shaped(form, include, kind, object, true);
    text(form, &value)
}

/// A document's text.
pub(crate) fn text(form: Form, value: &Value) -> Result<Bytes, Status> {
    match form.yaml {
        true => Ok(api::yaml::to_yaml(value).into()),
        false => serde_json::to_vec(value).map(Bytes::from).map_err(api::status::internal),
    }
}

/// One object in a form; tables bring their columns when asked to.
pub(crate) fn shaped(form: Form, include: Include, kind: &Kind, object: Value, columns: bool) -> Value {
    match form.shape {
        Shape::Whole => object,
        Shape::Metadata => metadata_only(form, object),
        Shape::Table => {
            let list = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let row = row(form, include, kind, object);
            table_of(form, kind, list, vec![row], columns)
        }
    }
}

fn metadata_only(form: Form, mut object: Value) -> Value {
    document_of([
        ("kind", "PartialObjectMetadata".into()),
        ("apiVersion", format!("meta.k8s.io/{}", form.meta_version).into()),
        ("metadata", object["metadata"].take()),
    ])
}

/// An object of these members, which are moved into it; `json!` would copy each.
fn document_of<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn row(form: Form, include: Include, kind: &Kind, object: Value) -> Value {
    let stored = kind.stored_as.is_some().then(|| {
        let mut stored = object.clone();
        api::convert::to_stored(kind, &mut stored);
        stored
    });
    let (printed, shown) = (kind.stored(), stored.as_ref().unwrap_or(&object));
    let mut row = document_of([("cells", table::row(printed, shown, jiff::Timestamp::now()).into())]);
    if let Some(conditions) = table::row_conditions(printed, shown) {
        row["conditions"] = conditions;
    }
    match include {
        Include::Nothing => {}
        Include::Metadata => row["object"] = metadata_only(form, object),
        Include::Object => row["object"] = object,
    }
    row
}

fn table_of(form: Form, kind: &Kind, metadata: Value, rows: Vec<Value>, columns: bool) -> Value {
    let definitions: Vec<Value> = match columns {
        true => table::definitions(kind.stored()),
        false => Vec::new(),
    };
    document_of([
        ("kind", "Table".into()),
        ("apiVersion", format!("meta.k8s.io/{}", form.meta_version).into()),
        ("metadata", metadata),
        ("columnDefinitions", definitions.into()),
        ("rows", rows.into()),
    ])
}

/// The metadata of a list.
#[derive(Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: Revision,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<u64>,
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("resourceVersion".into(), self.revision.0.to_string().into());
        if let Some(next) = &self.next {
            map.insert("continue".into(), next.as_str().into());
        }
        if let Some(remaining) = self.remaining {
            map.insert("remainingItemCount".into(), remaining.into());
        }
        Value::Object(map)
    }
}

/// A list parsed and shaped: for tables, metadata and YAML.
///
/// # Errors
/// 500 when stored bytes are broken.
pub(crate) fn list_value(
    form: Form,
    include: Include,
    kind: &Kind,
    meta: &ListMeta,
    entries: &[Entry],
) -> Result<Value, Status> {
    // Whoever asks for the metadata alone needs no other form of the rest.
    let objects = entries.iter().map(|entry| match form.shape {
        Shape::Metadata => object::decode(entry),
        _ => object::decode_as(kind, entry),
    });
    Ok(match form.shape {
        Shape::Table => {
            let rows = objects.map(|o| Ok(row(form, include, kind, o?))).collect::<Result<Vec<_>, Status>>()?;
            table_of(form, kind, meta.to_json(), rows, true)
        }
        Shape::Metadata => document_of([
            ("kind", "PartialObjectMetadataList".into()),
            ("apiVersion", format!("meta.k8s.io/{}", form.meta_version).into()),
            ("metadata", meta.to_json()),
            ("items", objects.map(|o| Ok(metadata_only(form, o?))).collect::<Result<Vec<_>, Status>>()?.into()),
        ]),
        Shape::Whole => document_of([
            ("kind", kind.list_kind().into()),
            ("apiVersion", kind.api_version().into()),
            ("metadata", meta.to_json()),
            ("items", objects.collect::<Result<Vec<_>, Status>>()?.into()),
        ]),
    })
}

/// Pieces of about this size leave a list's body: few enough frames, little memory each.
const PIECE_BYTES: usize = 64 * 1024;

/// The text of a whole list in pieces, made as they are read: no copy of the list is held.
pub(crate) fn list_pieces(
    kind: &Kind,
    meta: &ListMeta,
    entries: Vec<Entry>,
) -> impl Iterator<Item = Bytes> + Send + use<> {
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{},"items":["#,
        kind.list_kind(),
        kind.api_version(),
        meta.to_json()
    );
    let mut entries = entries.into_iter();
    let (mut head, mut first, mut done) = (Some(head), true, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if let Some(head) = head.take() {
            piece.extend_from_slice(head.as_bytes());
        }
        while piece.len() < PIECE_BYTES {
            let Some(entry) = entries.next() else {
                piece.extend_from_slice(b"]}\n");
                done = true;
                break;
            };
            if !std::mem::take(&mut first) {
                piece.extend_from_slice(b",");
            }
            object::splice(&mut piece, &entry.value, entry.mod_revision);
        }
        Some(piece.freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_alone_is_spliced_as_it_would_be_made() {
        let pods = api::kinds::find("", "v1", "pods").unwrap();
        let form = Form { shape: Shape::Metadata, meta_version: "v1", yaml: false };
        for metadata in [
            json!({"name": "p"}),
            json!({"annotations": {"a}": "\"}]", "é": ""}, "labels": {}, "name": "p", "managedFields": [{"fieldsV1": {"f:a": {}}}]}),
        ] {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"x": [1, {}]}});
            let stored = object::encode(&object).unwrap();
            let spliced = object::spliced_metadata(&stored, Revision(7), "v1").unwrap();
            let spliced: Value = serde_json::from_slice(&spliced).unwrap();
            assert_eq!(spliced, metadata_only(form, object::decode_at(&stored, Revision(7)).unwrap()));
            assert_eq!(spliced["metadata"]["resourceVersion"], "7");
            let code = StatusCode::OK;
            assert!(respond(code, form, Include::Metadata, pods, &stored, Revision(7)).is_ok());
            let broken = respond(code, form, Include::Metadata, pods, &stored[..20], Revision(7));
            assert_eq!(broken.err().unwrap().code, 500);
        }
    }
}
