//! The annotation of client-side apply, for objects that move from it to server-side apply.
//!
//! Invariants: only the manager `kubectl` is helped: another name is how users opt out.
//! Absent: moving the entries in managedFields, which kubectl does itself.

use serde_json::Value;

use super::compare::compare;
use super::owned::owned as owned_by;
use super::set::Set;
use super::spot::Spot;
use crate::kinds::Kind;

/// Where kubectl keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that kubectl applies as.
const KUBECTL: &str = "kubectl";
/// Larger annotations than may be stored are left out.
const ANNOTATION_BYTES_MAX: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// The fields that kubectl set client-side and that nobody changed since: `kubectl` may take them from anyone.
pub(super) fn owned(kind: &Kind, live: &Value, manager: &str) -> Set {
    let applied = annotation(live).filter(|_| manager == KUBECTL).and_then(|text| serde_json::from_str(text).ok());
    let Some(applied) = applied.filter(|applied: &Value| {
        applied["apiVersion"].as_str().is_some_and(|api_version| kind.is_api_version(api_version))
    }) else {
        return Set::default();
    };
    let root = Spot::root(kind);
    let (written, removed) = compare(root, &applied, live).written();
    owned_by(root, &applied).difference(&written).difference(&removed)
}

/// Keeps the annotation in step when kubectl applies server-side, so that a return to client-side apply works.
pub(super) fn renew(object: &mut Value, config: &Value, manager: &str) {
    if manager != KUBECTL || annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{config}\n");
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    if text.len() > ANNOTATION_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    } else {
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
    }
}
