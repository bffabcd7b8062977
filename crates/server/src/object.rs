//! Stored objects: how they are encoded, keyed, and read without being parsed.
//!
//! # Invariants
//! - Stored bytes begin with `{"metadata":{"` and hold no resourceVersion: a reader's copy is the stored bytes with
//!   `"resourceVersion":"N",` put in after the first 13.
//! - Equal objects have equal bytes, so "nothing changed" is one comparison.

use api::crd;
use api::depth;
use api::kinds::Kind;
use api::status::{self, Status};
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use store::{Entry, Revision};

use crate::limits::OBJECT_BYTES_MAX;
use crate::outline::{Left, Outline};

/// What every stored object begins with.
const HEAD: &[u8] = br#"{"metadata":{"#;
/// Most objects are shorter, so their text is written without being moved.
const TEXT_BYTES: usize = 8 * 1024;
/// Room for the spliced resourceVersion: its name, quotes, and 20 digits.
const SPLICE_BYTES: usize = 44;

/// The stored form of an object.
///
/// # Errors
/// 413 when it is larger or deeper than may be stored, 500 when it has no metadata.
pub(crate) fn encode(object: &Value) -> Result<Bytes, Status> {
    encode_with(object, &Left::default())
}

/// The stored form of an object, of which some members were left as text.
fn encode_with(object: &Value, left: &Left) -> Result<Bytes, Status> {
    let broken = || status::internal("an object without metadata can't be stored");
    let map = object.as_object().ok_or_else(broken)?;
    if depth::is_too_deep(object) {
        return Err(status::request_too_large(&format!("limit is {} levels", depth::DEPTH_MAX)));
    }
    let metadata = map.get("metadata").and_then(Value::as_object).filter(|m| !m.is_empty()).ok_or_else(broken)?;
    let mut out = Vec::with_capacity(TEXT_BYTES);
    out.extend_from_slice(HEAD);
    let mut first = true;
    let settable = metadata.iter().filter(|(key, _)| *key != "resourceVersion");
    members(&mut out, &mut first, settable, &left.metadata, left.fields)?;
    if first {
        return Err(broken());
    }
    out.push(b'}');
    for (key, value) in map.iter().filter(|(key, _)| *key != "metadata") {
        match value {
            Value::Object(spec) if key == "spec" && !left.spec.is_empty() => {
                name(&mut out, &mut first, key)?;
                out.push(b'{');
                members(&mut out, &mut true, spec, &left.spec, false)?;
                out.push(b'}');
            }
            _ => member(&mut out, &mut first, key, value)?,
        }
    }
    out.push(b'}');
    if out.len() > OBJECT_BYTES_MAX {
        return Err(status::request_too_large(&format!("limit is {OBJECT_BYTES_MAX}")));
    }
    // A copy of its length: it is kept for long, and room to grow would be kept with it.
    Ok(Bytes::copy_from_slice(&out))
}

/// Appends members in the order of their names: those that are parsed, and those that were left as text. Of two of one name
/// the parsed one is newer. With `fields`, the fields of managers are strings of their text.
fn members<'a>(
    out: &mut Vec<u8>,
    first: &mut bool,
    parsed: impl IntoIterator<Item = (&'a String, &'a Value)>,
    left: &[(String, Bytes)],
    fields: bool,
) -> Result<(), Status> {
    let mut left = left.iter().peekable();
    let text = |out: &mut Vec<u8>, first: &mut bool, (key, text): &(String, Bytes)| {
        name(out, first, key)?;
        out.extend_from_slice(text);
        Ok::<(), Status>(())
    };
    for (key, value) in parsed {
        while let Some(one) = left.next_if(|(name, _)| name <= key) {
            if one.0 < *key {
                text(out, first, one)?;
            }
        }
        match value {
            Value::Array(list) if fields && key == "managedFields" => {
                name(out, first, key)?;
                managers(out, list)?;
            }
            _ => member(out, first, key, value)?,
        }
    }
    left.try_for_each(|one| text(out, first, one))
}

/// Appends a list of managers whose fields are strings of their text.
fn managers(out: &mut Vec<u8>, list: &[Value]) -> Result<(), Status> {
    out.push(b'[');
    for (place, manager) in list.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{" } else { b",{" });
        let mut first = true;
        for (key, value) in manager.as_object().into_iter().flatten() {
            match value {
                Value::String(text) if key == "fieldsV1" => {
                    name(out, &mut first, key)?;
                    out.extend_from_slice(text.as_bytes());
                }
                _ => member(out, &mut first, key, value)?,
            }
        }
        out.push(b'}');
    }
    out.push(b']');
    Ok(())
}

fn member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) -> Result<(), Status> {
    name(out, first, key)?;
    serde_json::to_writer(&mut *out, value).map_err(status::internal)
}

/// Appends a member's name, and what stands before its value.
fn name(out: &mut Vec<u8>, first: &mut bool, key: &str) -> Result<(), Status> {
    if !std::mem::take(first) {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).map_err(status::internal)?;
    out.push(b':');
    Ok(())
}

/// The object of an entry, with its resourceVersion.
///
/// # Errors
/// 500 when the stored bytes are broken.
pub(crate) fn decode(entry: &Entry) -> Result<Value, Status> {
    decode_at(&entry.value, entry.mod_revision)
}

/// The object of stored bytes, as of a revision.
pub(crate) fn decode_at(value: &[u8], revision: Revision) -> Result<Value, Status> {
    let mut object: Value = serde_json::from_slice(value).map_err(status::internal)?;
    set_revision(&mut object, revision);
    Ok(object)
}

/// Sets the resourceVersion of an object.
pub(crate) fn set_revision(object: &mut Value, revision: Revision) {
    metadata_mut(object).insert("resourceVersion".to_owned(), Value::String(revision.0.to_string()));
}

/// The object of an entry in the form of `kind`, which need not be the one that it is stored in.
///
/// # Errors
/// 500 when the stored bytes are broken, or are of a version that this server can't make the kind's of.
pub(crate) fn decode_as(kind: &Kind, entry: &Entry) -> Result<Value, Status> {
    decode_at_as(kind, &entry.value, entry.mod_revision)
}

/// The object of stored bytes in the form of `kind`, as of a revision.
///
/// # Errors
/// As above.
pub(crate) fn decode_at_as(kind: &Kind, value: &[u8], revision: Revision) -> Result<Value, Status> {
    let mut object = decode_at(value, revision)?;
    match &kind.custom {
        Some(custom) => crd::read(kind, custom, &mut object)?,
        None => api::convert::from_stored(kind, &mut object),
    }
    Ok(object)
}

/// The stored form of an object of `kind`.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_as(kind: &Kind, Outline { object, left }: &Outline) -> Result<Bytes, Status> {
    let mut stored = match &kind.custom {
        Some(custom) if custom.storage_version == kind.version => return encode(object),
        None if kind.stored_as.is_none() => return encode_with(object, left),
        _ => object.clone(),
    };
    match &kind.custom {
        Some(custom) => crd::store(kind, custom, &mut stored)?,
        None => api::convert::to_stored(kind, &mut stored),
    }
    encode(&stored)
}

/// The metadata of an object; made when it has none.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    match object["metadata"].as_object_mut() {
        Some(map) => map,
        None => unreachable!("made an object just above"),
    }
}

/// A string in the metadata, empty when absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether a list in the metadata has members.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}

/// Appends the reader's form of stored bytes.
pub(crate) fn splice(out: &mut impl BufMut, value: &[u8], revision: Revision) {
    let at = HEAD.len().min(value.len());
    out.put_slice(&value[..at]);
    out.put_slice(b"\"resourceVersion\":\"");
    out.put_slice(revision.0.to_string().as_bytes());
    out.put_slice(b"\",");
    out.put_slice(&value[at..]);
}

/// Appends the reader's form of stored bytes, in the form of `kind`.
///
/// # Errors
/// 500 when the stored bytes are broken.
pub(crate) fn splice_as(kind: &Kind, out: &mut BytesMut, value: &[u8], revision: Revision) -> Result<(), Status> {
    match kind.is_seen_as_stored() {
        true => splice(out, value, revision),
        false => out.extend_from_slice(decode_at_as(kind, value, revision)?.to_string().as_bytes()),
    }
    Ok(())
}

/// The reader's form of stored bytes.
pub(crate) fn spliced(value: &[u8], revision: Revision) -> Bytes {
    let mut out = BytesMut::with_capacity(value.len() + SPLICE_BYTES);
    splice(&mut out, value, revision);
    out.freeze()
}

/// The reader's form of the metadata in stored bytes, without the rest of the object. None where what is stored is broken:
/// whoever parses it has the words for that.
pub(crate) fn spliced_metadata(value: &[u8], revision: Revision, meta_version: &str) -> Option<Bytes> {
    let text = metadata_text(value);
    let mut metadata = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    metadata.next()?.ok()?;
    let metadata = text.get(..metadata.byte_offset())?.strip_prefix(b"{")?;
    let head = format!(
        r#"{{"apiVersion":"meta.k8s.io/{meta_version}","kind":"PartialObjectMetadata","metadata":{{"resourceVersion":"{}","#,
        revision.0
    );
    Some([head.as_bytes(), metadata, b"}"].concat().into())
}

/// The metadata's text inside stored bytes, for partial reads.
pub(crate) fn metadata_text(value: &[u8]) -> &[u8] {
    value.get(HEAD.len() - 1..).unwrap_or_default()
}

/// What the keys of a kind begin with; objects that are served in two forms have one key.
fn group(kind: &Kind) -> &str {
    match kind.stored().group {
        "" => "core",
        group => group,
    }
}

/// The prefix of all keys of a kind, or of those in a namespace.
pub(crate) fn prefix(kind: &Kind, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if kind.namespaced => format!("/registry/{}/{}/{namespace}/", group(kind), kind.plural),
        _ => format!("/registry/{}/{}/", group(kind), kind.plural),
    }
}

/// The key of one object.
pub(crate) fn key(kind: &Kind, namespace: Option<&str>, name: &str) -> String {
    prefix(kind, namespace) + name
}

/// Namespace and name in a key.
pub(crate) fn names_of_key<'a>(kind: &Kind, key: &'a [u8]) -> (&'a str, &'a str) {
    let key = std::str::from_utf8(key).unwrap_or_default();
    let rest = key.get(prefix(kind, None).len()..).unwrap_or_default();
    rest.split_once('/').unwrap_or(("", rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_stored_reads_back_with_its_revision() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "\u{e9}\n"},
            "metadata": {"name": "x", "resourceVersion": "9", "labels": {"k": "v"}}});
        let stored = encode(&object).unwrap();
        assert!(
            stored.starts_with(br#"{"metadata":{""#) && !String::from_utf8_lossy(&stored).contains("resourceVersion")
        );
        let read: Value = serde_json::from_slice(&spliced(&stored, Revision(42))).unwrap();
        assert_eq!(read["metadata"]["resourceVersion"], "42");
        assert_eq!(read["data"], object["data"]);
        assert_eq!(read, decode_at(&stored, Revision(42)).unwrap());
    }

    #[test]
    fn what_is_stored_takes_no_more_room_than_it_needs() {
        for length in [1, 1_000, 5_000, 100_000] {
            let stored = encode(&json!({"metadata": {"name": "x"}, "data": "y".repeat(length)})).unwrap();
            let bytes = stored.len();
            assert_eq!(stored.try_into_mut().unwrap().capacity(), bytes);
        }
    }

    #[test]
    fn what_can_not_be_stored() {
        assert_eq!(encode(&json!({"kind": "X"})).unwrap_err().code, 500);
        let large = json!({"metadata": {"name": "x"}, "data": "y".repeat(OBJECT_BYTES_MAX)});
        assert_eq!(encode(&large).unwrap_err().code, 413);
        let deep = (0..depth::DEPTH_MAX).fold(json!({}), |inner, _| json!([inner]));
        assert_eq!(encode(&json!({"metadata": {"name": "x"}, "data": deep})).unwrap_err().code, 413);
    }

    #[test]
    fn keys() {
        let pods = api::kinds::find("", "v1", "pods").unwrap();
        let nodes = api::kinds::find("", "v1", "nodes").unwrap();
        assert_eq!(key(pods, Some("a"), "b"), "/registry/core/pods/a/b");
        assert_eq!(key(nodes, None, "n"), "/registry/core/nodes/n");
        assert_eq!(names_of_key(pods, b"/registry/core/pods/a/b"), ("a", "b"));
        assert_eq!(names_of_key(nodes, b"/registry/core/nodes/n"), ("", "n"));
    }
}
