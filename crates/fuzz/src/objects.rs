//! Bodies into objects: `KIND json|yaml|protobuf`, then the body. All that a create does to an object without a store.

use api::decode::{self, FieldValidation, Media};
use api::kinds::Kind;
use api::{defaults, prepare, table, validate};
use jiff::Timestamp;
use serde_json::Value;

pub(crate) fn run(data: &[u8]) {
    let (words, body) = crate::first_line(data);
    let kind = crate::kind(words.first());
    let Some(object) = read(kind, words.get(1).copied().unwrap_or_default(), body) else { return };
    live(kind, object);
}

/// A body as an object.
fn read(kind: &'static Kind, media: &str, body: &[u8]) -> Option<Value> {
    let decoded = match media {
        "yaml" => decode::decode(kind, body, Media::Yaml, FieldValidation::Warn),
        "protobuf" => {
            let mut value = api::protobuf::decode(kind.type_name, body).ok()?;
            decode::normalize(kind, &mut value, FieldValidation::Warn).ok()?;
            return Some(value);
        }
        _ => decode::decode(kind, body, Media::Json, FieldValidation::Warn),
    };
    // What is refused when it may hold what it likes is refused when it may not.
    if decoded.is_err() && media != "yaml" {
        assert!(decode::decode(kind, body, Media::Json, FieldValidation::Strict).is_err());
    }
    Some(decoded.ok()?.value)
}

/// The object with all that the server makes of it.
pub(crate) fn live(kind: &Kind, mut object: Value) -> Value {
    let mut again = object.clone();
    if decode::normalize(kind, &mut again, FieldValidation::Ignore).is_ok() {
        assert_eq!(again, object, "{}: what was read is in normal form", kind.kind);
    }
    defaults::apply(kind, &mut object);
    let mut twice = object.clone();
    defaults::apply(kind, &mut twice);
    assert_eq!(twice, object, "{}: defaults twice are defaults once", kind.kind);
    prepare::create(kind, &mut object);
    let faults = validate::create(kind, &object);
    if faults.is_empty() {
        let unchanged = validate::update(kind, &object, &object);
        let named = object["metadata"]["resourceVersion"].is_string();
        assert!(!named || unchanged.is_empty(), "{}: what may be made may stay as it is: {unchanged:?}", kind.kind);
    }
    let _ = validate::warnings(kind, &object, None);
    let _ = table::row(kind, &object, Timestamp::UNIX_EPOCH);
    let text = object.to_string();
    if !api::depth::is_too_deep(&object) {
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(object.clone()), "{}: JSON reads back", kind.kind);
    }
    object
}
