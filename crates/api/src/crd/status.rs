//! The status of a definition: which names it got, whether it is served, and how its end goes.
//!
//! Invariants: settling a settled definition changes nothing; a name belongs to one definition of a group at a time.
//! Absent: writing the status, deleting objects.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{list, texts};
use crate::quote::quoted;

/// The finalizer under which a definition waits until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Names that definitions of a group have.
#[derive(Debug, Default, Clone)]
pub struct Names {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Names {
    /// Takes in the names that a definition was granted.
    pub fn take(&mut self, definition: &Value) {
        let accepted = &definition["status"]["acceptedNames"];
        let text = |key: &str| accepted[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.resources.extend(["plural", "singular"].into_iter().filter_map(text));
        self.resources.extend(texts(accepted, "shortNames"));
        self.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
    }
}

/// The definition with the status that is due, given the names of the others in its group; none when it has it.
pub fn settle(definition: &Value, taken: &Names, now: &str) -> Option<Value> {
    let mut settled = definition.clone();
    let (accepted, refusal) = accepted(definition, taken);
    settled["status"]["acceptedNames"] = accepted;
    let is_accepted = refusal.is_none();
    let (status, reason, message) = match refusal {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    with_condition(&mut settled, "NamesAccepted", (status, reason, &message), now);
    if !is_true(definition, "Established") {
        let state = match is_accepted {
            true => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
            false => ("False", "NotAccepted", "not all names are accepted"),
        };
        with_condition(&mut settled, "Established", state, now);
    }
    match super::structural::violations(definition) {
        None => without_condition(&mut settled, "NonStructuralSchema"),
        Some(text) => with_condition(&mut settled, "NonStructuralSchema", ("True", "Violations", &text), now),
    }
    (settled != *definition).then_some(settled)
}

/// The names that a definition gets, and why not all that it asks for.
fn accepted(definition: &Value, taken: &Names) -> (Value, Option<(&'static str, String)>) {
    let (asked, has) = (&definition["spec"]["names"], &definition["status"]["acceptedNames"]);
    let mut names: Map<String, Value> = has.as_object().cloned().unwrap_or_default();
    let mut refusal = None;
    let text = |names: &Value, key: &str| names[key].as_str().unwrap_or_default().to_owned();
    let in_use = |name: &str| format!("{} is already in use", quoted(name));
    let mut one = |key: &str, reason: &'static str, used: &BTreeSet<String>| {
        let wanted = text(asked, key);
        if wanted != text(has, key) && used.contains(&wanted) {
            refusal = Some((reason, in_use(&wanted)));
        } else {
            names.insert(key.to_owned(), Value::String(wanted));
        }
    };
    one("plural", "PluralConflict", &taken.resources);
    one("singular", "SingularConflict", &taken.resources);
    one("kind", "KindConflict", &taken.kinds);
    one("listKind", "ListKindConflict", &taken.kinds);
    let ours = texts(has, "shortNames");
    let wanted = texts(asked, "shortNames");
    let refused: Vec<String> =
        wanted.iter().filter(|n| !ours.contains(n) && taken.resources.contains(*n)).map(|n| in_use(n)).collect();
    if refused.is_empty() {
        put_list(&mut names, "shortNames", &asked["shortNames"]);
    } else if refusal.as_ref().is_none_or(|(reason, _)| !matches!(*reason, "KindConflict" | "ListKindConflict")) {
        let message = if refused.len() == 1 { refused[0].clone() } else { format!("[{}]", refused.join(", ")) };
        refusal = Some(("ShortNamesConflict", message));
    }
    put_list(&mut names, "categories", &asked["categories"]);
    (Value::Object(names), refusal)
}

fn put_list(names: &mut Map<String, Value>, key: &str, value: &Value) {
    match value.as_array().is_some_and(|items| !items.is_empty()) {
        true => names.insert(key.to_owned(), value.clone()),
        false => names.remove(key),
    };
}

/// Whether a condition holds.
pub(super) fn is_true(definition: &Value, condition: &str) -> bool {
    list(&definition["status"], "conditions").iter().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Whether a definition is being deleted.
pub fn is_terminating(definition: &Value) -> bool {
    definition["metadata"]["deletionTimestamp"].is_string()
}

/// Sets a condition (status, reason, message); its time changes only when its status does.
pub fn with_condition(definition: &mut Value, name: &str, state: (&str, &str, &str), now: &str) {
    let (status, reason, message) = state;
    if !definition["status"]["conditions"].is_array() {
        definition["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = definition["status"]["conditions"].as_array_mut() else { return };
    let condition = json!({"type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now});
    match conditions.iter_mut().find(|one| one["type"] == name) {
        None => conditions.push(condition),
        Some(there) => {
            let since = there["lastTransitionTime"].clone();
            let is_same = there["status"] == status;
            *there = condition;
            if is_same && since.is_string() {
                there["lastTransitionTime"] = since;
            }
        }
    }
}

fn without_condition(definition: &mut Value, name: &str) {
    if let Some(conditions) = definition["status"]["conditions"].as_array_mut() {
        conditions.retain(|one| one["type"] != name);
    }
}

/// Begins the end of a definition: it waits for its objects.
pub fn mark_terminating(definition: &mut Value, now: &str) {
    definition["metadata"]["deletionTimestamp"] = Value::from(now);
    let mut finalizers = texts(&definition["metadata"], "finalizers");
    if !finalizers.iter().any(|name| name == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    definition["metadata"]["finalizers"] = finalizers.into();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    with_condition(definition, "Terminating", ("True", "InstanceDeletionPending", message), now);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2024-01-01T00:00:00Z";

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({"metadata": {"name": format!("{plural}.g.io")}, "spec": {"group": "g.io", "names": {"plural": plural,
            "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": short}}})
    }

    fn condition<'a>(definition: &'a Value, name: &str) -> &'a Value {
        let found = list(&definition["status"], "conditions").iter().find(|one| one["type"] == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn names_are_granted_once() {
        let first = settle(&definition("as", "A", &["x"]), &Names::default(), NOW).expect("a change");
        assert_eq!(condition(&first, "NamesAccepted")["reason"], "NoConflicts");
        assert_eq!(condition(&first, "Established")["status"], "True");
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        assert_eq!(settle(&first, &Names::default(), NOW), None);
        let mut taken = Names::default();
        taken.take(&first);
        let second = settle(&definition("bs", "A", &["x", "y"]), &taken, NOW).expect("a change");
        let refused = condition(&second, "NamesAccepted");
        assert_eq!((&refused["status"], &refused["reason"]), (&json!("False"), &json!("ListKindConflict")));
        assert_eq!(refused["message"], "\"AList\" is already in use");
        assert_eq!(condition(&second, "Established")["reason"], "NotAccepted");
        assert_eq!(second["status"]["acceptedNames"], json!({"plural": "bs"}));
        let third = settle(&definition("cs", "C", &["x", "y"]), &taken, NOW).expect("a change");
        assert_eq!(condition(&third, "NamesAccepted")["message"], "\"x\" is already in use");
        // Freed names are granted at the next look.
        let again = settle(&second, &Names::default(), "2024-01-02T00:00:00Z").expect("a change");
        assert_eq!(condition(&again, "Established")["lastTransitionTime"], "2024-01-02T00:00:00Z");
    }

    #[test]
    fn the_end_is_marked() {
        let mut definition = definition("as", "A", &[]);
        mark_terminating(&mut definition, NOW);
        assert!(is_terminating(&definition));
        assert_eq!(definition["metadata"]["finalizers"], json!([CLEANUP]));
        assert_eq!(condition(&definition, "Terminating")["reason"], "InstanceDeletionPending");
    }
}
