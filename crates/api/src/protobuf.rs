//! Bodies in Kubernetes' protobuf encoding, which kubectl's typed commands and Kubernetes' own controllers send.
//!
//! A body is `k8s\0` and an envelope that names `apiVersion` and `kind` and holds the object, whose fields go by the
//! numbers in `schema`. It is read into the same JSON form that other bodies have; `decode::normalize` does the rest.
//!
//! Invariants: what is not understood is an error, never a wrong value; nesting is bounded.
//! Absent: writing protobuf: every client that sends it also reads JSON.

mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::schema::{Body, Field, Ty, schema};
use wire::{Item, items};

/// What each body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages: deeper than any kind goes, schemas of custom resources included.
const DEPTH_MAX: usize = 64;

/// Why a body can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not valid Kubernetes protobuf: {0}")]
pub struct ProtobufError(pub(crate) &'static str);

/// Reads a body as the type of this full name, such as `io.k8s.api.core.v1.Pod`. The result has the `apiVersion` and
/// `kind` of the envelope.
///
/// # Errors
/// A body without the magic, a damaged one, or one with a type that only JSON can carry.
pub fn decode(type_name: &str, body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError("it does not begin with the magic"))?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), &b""[..]);
    for item in items(envelope) {
        let (number, item) = item?;
        match number {
            1 => {
                for part in items(item.bytes()?) {
                    let (number, part) = part?;
                    match number {
                        1 => api_version = text(part.bytes()?)?,
                        2 => kind = text(part.bytes()?)?,
                        _ => {}
                    }
                }
            }
            2 => raw = item.bytes()?,
            3 if !item.bytes()?.is_empty() => return Err(ProtobufError("its content is encoded once more")),
            _ => {}
        }
    }
    let id = schema().find_id(type_name).ok_or(ProtobufError("its type is not known"))?;
    let mut object = match value(Ty::Ref(id), &Item::Bytes(raw), 0)? {
        Value::Object(object) => object,
        _ => return Err(ProtobufError("it holds no object")),
    };
    for (name, word) in [("kind", kind), ("apiVersion", api_version)] {
        if !word.is_empty() {
            object.insert(name.to_owned(), Value::String(word));
        }
    }
    Ok(Value::Object(object))
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError("a text is not UTF-8"))
}

/// A single value of a type.
fn value(ty: Ty, item: &Item<'_>, depth: usize) -> Result<Value, ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError("it is nested too deep"));
    }
    Ok(match ty {
        Ty::String => Value::String(text(item.bytes()?)?),
        Ty::Bool => Value::Bool(item.number()? != 0),
        // Negative numbers of 32 bits are written in 64.
        Ty::Int32 | Ty::Int64 => Value::from(item.number()? as i64),
        Ty::Uint32 => Value::from(item.number()? as u32),
        Ty::Float64 => Number::from_f64(f64::from_bits(item.fixed()?)).map_or(Value::Null, Value::Number),
        Ty::Bytes => Value::String(STANDARD.encode(item.bytes()?)),
        Ty::Quantity => Value::String(text(wire::field(item.bytes()?, 1)?.map_or(Ok(&b""[..]), |i| i.bytes())?)?),
        Ty::IntOrString => int_or_string(item.bytes()?)?,
        Ty::Time => time(item.bytes()?, "%Y-%m-%dT%H:%M:%SZ")?,
        Ty::MicroTime => time(item.bytes()?, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        Ty::RawExtension | Ty::FieldsV1 | Ty::Json => {
            let raw = wire::field(item.bytes()?, 1)?.map_or(Ok(&b"null"[..]), |i| i.bytes())?;
            serde_json::from_slice(raw).map_err(|_| ProtobufError("an embedded object is not JSON"))?
        }
        Ty::Duration | Ty::Patch | Ty::SchemaOrArray | Ty::SchemaOrBool | Ty::SchemaOrStrings => {
            return Err(ProtobufError("it has a type that only JSON can carry"));
        }
        Ty::List(_) | Ty::Map(_) => return Err(ProtobufError("a list stands where one value is due")),
        Ty::Ref(id) => match &schema().get(id).body {
            // A named list is a message of its own with the items in it.
            Body::Alias(Ty::List(inner)) => {
                let mut list = Vec::new();
                for part in items(item.bytes()?) {
                    let (_, part) = part?;
                    list.push(value(**inner, &part, depth + 1)?);
                }
                Value::Array(list)
            }
            Body::Alias(other) => value(*other, item, depth + 1)?,
            Body::Struct(body) => {
                let mut object = Map::new();
                let fields: Vec<(&Field, &str)> = body.fields.iter().map(|field| (field, field.wire)).collect();
                fill(&mut object, &fields, item.bytes()?, depth + 1)?;
                Value::Object(object)
            }
        },
    })
}

/// Reads a message into an object; fields of embedded structs, a message of their own here, are the object's too.
fn fill(
    object: &mut Map<String, Value>,
    fields: &[(&Field, &str)],
    bytes: &[u8],
    depth: usize,
) -> Result<(), ProtobufError> {
    for item in items(bytes) {
        let (number, item) = item?;
        let number = number.to_string();
        if let Some((field, _)) = fields.iter().find(|(_, wire)| *wire == number) {
            add(object, field, &item, depth)?;
            continue;
        }
        let within = |wire: &'static str| wire.strip_prefix(number.as_str())?.strip_prefix('.');
        let embedded: Vec<(&Field, &str)> =
            fields.iter().filter_map(|(field, wire)| Some((*field, within(static_tail(field, wire))?))).collect();
        if !embedded.is_empty() {
            fill(object, &embedded, item.bytes()?, depth + 1)?;
        }
        // A number that is not known is a field of a newer version, which JSON would drop too.
    }
    Ok(())
}

/// The part of a field's numbers that `wire` is, as part of the table.
fn static_tail(field: &Field, wire: &str) -> &'static str {
    &field.wire[field.wire.len() - wire.len()..]
}

/// Adds one occurrence of a field.
fn add(object: &mut Map<String, Value>, field: &Field, item: &Item<'_>, depth: usize) -> Result<(), ProtobufError> {
    let name = || field.name.to_owned();
    match plain(field.ty) {
        Ty::List(inner) => {
            let Value::Array(list) = object.entry(name()).or_insert_with(|| Value::Array(Vec::new())) else {
                return Ok(());
            };
            match (inner, item) {
                // Numbers may be packed into one run of bytes.
                (Ty::Int32 | Ty::Int64 | Ty::Uint32, Item::Bytes(packed)) => {
                    for number in wire::numbers(packed) {
                        list.push(value(*inner, &Item::Number(number?), depth)?);
                    }
                }
                _ => list.push(value(*inner, item, depth)?),
            }
        }
        Ty::Map(inner) => {
            let Value::Object(map) = object.entry(name()).or_insert_with(|| Value::Object(Map::new())) else {
                return Ok(());
            };
            let (key, entry) = (wire::field(item.bytes()?, 1)?, wire::field(item.bytes()?, 2)?);
            let key = text(key.map_or(Ok(&b""[..]), |key| key.bytes())?)?;
            map.insert(key, value(*inner, &entry.unwrap_or(Item::Bytes(b"")), depth)?);
        }
        ty => {
            object.insert(name(), value(ty, item, depth)?);
        }
    }
    Ok(())
}

/// A name for a map or a scalar is that map or scalar; a name for a list stays, for it is a message.
fn plain(ty: Ty) -> Ty {
    match ty {
        Ty::Ref(id) => match schema().get(id).body {
            Body::Alias(inner @ Ty::Map(_)) => inner,
            _ => ty,
        },
        ty => ty,
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let number = |n| wire::field(bytes, n)?.map_or(Ok(0), |item| item.number());
    match number(1)? {
        0 => Ok(Value::from(number(2)? as i64)),
        _ => Ok(Value::String(text(wire::field(bytes, 3)?.map_or(Ok(&b""[..]), |item| item.bytes())?)?)),
    }
}

/// A time; without content it is none.
fn time(bytes: &[u8], format: &str) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let number = |n| wire::field(bytes, n)?.map_or(Ok(0), |item| item.number());
    let (seconds, nanos) = (number(1)? as i64, number(2)? as i32);
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError("a time is out of range"))?;
    Ok(Value::String(time.strftime(format).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// One field of bytes.
    fn f(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [f(1, b"v1"), f(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), f(1, &meta), f(2, raw), f(3, b""), f(4, b"")].concat()
    }

    #[test]
    fn a_config_map() {
        let metadata = [f(1, b"x"), f(2, b""), vec![7 << 3, 0], f(8, b""), f(11, &[f(1, b"k"), f(2, b"v")].concat())];
        let raw = [f(1, &metadata.concat()), f(2, &[f(1, b"a"), f(2, b"b")].concat())].concat();
        let object = decode("io.k8s.api.core.v1.ConfigMap", &body("ConfigMap", &raw)).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "metadata": {"name": "x",
                "generateName": "", "generation": 0, "creationTimestamp": null, "labels": {"k": "v"}}})
        );
    }

    #[test]
    fn embedded_structs_numbers_and_amounts() {
        // spec { volumes { name, volumeSource { emptyDir } }, containers { name, resources { limits }, livenessProbe
        // { handler { tcpSocket { port } } } } }
        let volume = [f(1, b"v"), f(2, &f(2, b""))].concat();
        let limits = [f(1, b"cpu"), f(2, &f(1, b"100m"))].concat();
        let port = [vec![1 << 3, 0, 2 << 3, 80], f(3, b"")].concat();
        let probe = f(1, &f(3, &f(1, &port)));
        let container = [f(1, b"c"), f(8, &f(1, &limits)), f(10, &probe)].concat();
        let raw = f(2, &[f(1, &volume), f(2, &container), vec![4 << 3, 30]].concat());
        let object = decode("io.k8s.api.core.v1.Pod", &body("Pod", &raw)).unwrap();
        assert_eq!(
            object["spec"],
            json!({"volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 30, "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "100m"}}, "livenessProbe": {"tcpSocket": {"port": 80}}}]})
        );
    }

    #[test]
    fn damaged_bodies() {
        for broken in
            [&b""[..], b"k8s\0\x0a", b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"k8s\0\x13", b"{}"]
        {
            assert!(decode("io.k8s.api.core.v1.Pod", broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        // A schema of a custom resource can nest: its `not` is a schema.
        let long = |inner: Vec<u8>| {
            let length = inner.len();
            [vec![0xe2, 1, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8], inner].concat()
        };
        let mut raw = Vec::new();
        for _ in 0..200 {
            raw = long(raw);
        }
        let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let id = schema().find_id(name).unwrap();
        assert_eq!(schema().get(id).field("not").unwrap().wire, "28");
        assert_eq!(value(Ty::Ref(id), &Item::Bytes(&raw), 0), Err(ProtobufError("it is nested too deep")));
    }
}
