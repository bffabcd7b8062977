//! Server-side apply: `KIND MANAGER`, the live object as one line of JSON, then the configuration.

use api::apply::{self, Configuration, Writer};
use api::decode::{self, FieldValidation, Media};
use api::kinds::Kind;
use api::{defaults, prepare, validate};
use serde_json::Value;

const NOW: &str = "2026-01-01T00:00:00Z";

pub(crate) fn run(data: &[u8]) {
    twice_is_once(data);
}

/// Whether it came to the law.
fn twice_is_once(data: &[u8]) -> Option<()> {
    let (words, rest) = crate::first_line(data);
    let kind = crate::kind(words.first());
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (object, config) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let writer = Writer { manager: "fuzz", subresource: "", now: NOW };
    let live = decode::decode(kind, object, Media::Json, FieldValidation::Ignore).ok().map(|decoded| {
        let mut live = decoded.value;
        defaults::apply(kind, &mut live);
        let other = Writer { manager: words.get(1).copied().unwrap_or("other"), subresource: "", now: NOW };
        apply::record(kind, None, &mut live, &other);
        live
    });
    let config = Configuration::read(config).ok()?;
    let _ = apply::apply(kind, live.as_ref(), &config.value, &writer, false);
    let once = applied(kind, live.as_ref(), &config.value, &writer)?;
    // Of an object that nobody manages the next apply takes what is there to be someone's; and one that could not be
    // stored, for the lack of a key, is never live.
    if once["metadata"]["managedFields"].is_null() || !stores(kind, &once) {
        return None;
    }
    let twice = applied(kind, Some(&once), &config.value, &writer)?;
    assert_eq!(twice, once, "{}: an apply twice is one once", kind.kind);
    Some(())
}

/// Whether the object could be stored.
fn stores(kind: &'static Kind, object: &Value) -> bool {
    let mut object = object.clone();
    if let (true, Some(metadata)) = (kind.namespaced, object["metadata"].as_object_mut()) {
        metadata.insert("namespace".to_owned(), "default".into());
    }
    prepare::create(kind, &mut object);
    validate::create(kind, &object).is_empty()
}

fn applied(kind: &'static Kind, live: Option<&Value>, config: &Value, writer: &Writer<'_>) -> Option<Value> {
    let mut merged = apply::apply(kind, live, config, writer, true).ok()?;
    decode::normalize(kind, &mut merged, FieldValidation::Ignore).ok()?;
    defaults::apply(kind, &mut merged);
    Some(merged)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_comes_to_the_law() {
        for name in ["daemonset", "new", "service"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/applies").join(name);
            assert_eq!(super::twice_is_once(&std::fs::read(path).unwrap()), Some(()), "{name}");
        }
    }
}
