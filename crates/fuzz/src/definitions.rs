//! Objects of a kind that is made up: its schema as JSON, a line break, the body of an object.

use api::crd::{Interner, served};
use api::decode::{self, FieldValidation, Media};
use api::kinds::{self, Kind};
use api::{defaults, depth, prepare, validate};
use serde_json::{Value, json};

pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(schema) = serde_json::from_slice::<Value>(&data[..end]) else { return };
    let Some(kind) = made_up(schema) else { return };
    let body = data.get(end + 1..).unwrap_or_default();
    let decoded = decode::decode(&kind, body, Media::Json, FieldValidation::Warn);
    if decoded.is_err() {
        assert!(decode::decode(&kind, body, Media::Json, FieldValidation::Strict).is_err());
    }
    let Ok(decoded) = decoded else { return };
    let object = crate::objects::live(&kind, decoded.value);
    let custom = kind.custom.as_ref().expect("a custom kind");
    let mut seen = object.clone();
    api::crd::read(&kind, custom, &mut seen).expect("one version only");
    let mut again = seen.clone();
    api::crd::read(&kind, custom, &mut again).expect("one version only");
    assert_eq!(again, seen, "what was read reads the same");
}

/// The kind with this schema, when it may be defined.
fn made_up(schema: Value) -> Option<Kind> {
    let names = json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a"}],
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"}},
    });
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.fuzz.example.com"},
        "spec": {"group": "fuzz.example.com", "scope": "Cluster", "names": names, "versions": [version]},
    });
    if depth::is_too_deep(&definition) {
        return None;
    }
    let of_definitions = kinds::by_any_name("customresourcedefinitions").expect("a built-in kind");
    decode::normalize(of_definitions, &mut definition, FieldValidation::Ignore).ok()?;
    defaults::apply(of_definitions, &mut definition);
    prepare::create(of_definitions, &mut definition);
    if !validate::create(of_definitions, &definition).is_empty() {
        return None;
    }
    definition["status"] = json!({"acceptedNames": names, "conditions": [{"type": "NamesAccepted", "status": "True"}]});
    // The names are few and always the same: what is kept of them is small.
    thread_local!(static NAMES: std::cell::RefCell<Interner> = std::cell::RefCell::default());
    let kinds = NAMES.with(|names| {
        let mut names = names.borrow_mut();
        served(&definition, &mut names).or_else(|_| {
            *names = Interner::default();
            served(&definition, &mut names)
        })
    });
    kinds.ok()?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_comes_to_the_law() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/definitions");
        for entry in std::fs::read_dir(dir).expect("a corpus") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let (schema, body) = text.split_once('\n').expect("two lines");
            let kind = made_up(serde_json::from_str(schema).expect("JSON")).expect("a definition that is taken");
            let decoded = decode::decode(&kind, body.as_bytes(), Media::Json, FieldValidation::Warn);
            let object = crate::objects::live(&kind, decoded.expect("an object").value);
            let faults = validate::create(&kind, &object);
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
        }
    }
}
