//! A pod of a runtime class gets what the class says: overhead, node selection, tolerations.
//!
//! Invariants: what the author of the pod wrote and the class contradicts is refused.
//! Absent: finding the class (the caller does).

use serde_json::{Map, Value};

use super::Refused;

/// Applies a pod's runtime class. `class` is the one that `spec.runtimeClassName` names.
///
/// # Errors
/// The named class was not found, or says otherwise than the pod.
pub fn use_runtime_class(pod: &mut Value, class: Option<&Value>) -> Result<(), Refused> {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let named = spec.get("runtimeClassName").and_then(Value::as_str).map(str::to_owned);
    if let (Some(name), None) = (&named, class) {
        return Err(Refused(format!("pod rejected: RuntimeClass {name:?} not found")));
    }
    overhead(spec, class.and_then(|class| class.pointer("/overhead/podFixed")))?;
    let Some(scheduling) = class.and_then(|class| class.get("scheduling")) else { return Ok(()) };
    for (key, value) in scheduling.get("nodeSelector").and_then(Value::as_object).into_iter().flatten() {
        let selector = spec.entry("nodeSelector").or_insert_with(|| Map::new().into());
        let Some(selector) = selector.as_object_mut() else { continue };
        if let Some(own) = selector.get(key).filter(|own| *own != value) {
            let (own, value) = (own.as_str().unwrap_or_default(), value.as_str().unwrap_or_default());
            return Err(Refused(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            )));
        }
        selector.insert(key.clone(), value.clone());
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let all = [list(spec.get("tolerations")), list(scheduling.get("tolerations"))].concat();
    if !all.is_empty() {
        spec.insert("tolerations".to_owned(), merged(&all).into());
    }
    Ok(())
}

fn overhead(spec: &mut Map<String, Value>, of_class: Option<&Value>) -> Result<(), Refused> {
    let own = spec.get("overhead").filter(|own| own.as_object().is_some_and(|map| !map.is_empty()));
    match (own, of_class) {
        (Some(own), Some(fixed)) if own != fixed => {
            Err(Refused("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()))
        }
        (Some(_), None) => Err(Refused(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned(),
        )),
        (_, Some(fixed)) => {
            spec.insert("overhead".to_owned(), fixed.clone());
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// Tolerations without those that others cover.
fn merged(all: &[Value]) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (place, one) in all.iter().enumerate() {
        let covered = kept.iter().any(|other| covers(other, one))
            || all[place + 1..].iter().any(|other| other != one && covers(other, one));
        if !covered {
            kept.push(one.clone());
        }
    }
    kept
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let exists = text(wide, "operator") == "Exists";
    if wide == narrow {
        return true;
    }
    if text(wide, "key") != text(narrow, "key") && !(exists && text(wide, "key").is_empty()) {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && effect != text(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = wide["tolerationSeconds"].as_i64()
        && narrow["tolerationSeconds"].as_i64().is_none_or(|own| own > seconds)
    {
        return false;
    }
    exists || (text(narrow, "operator") != "Exists" && text(wide, "value") == text(narrow, "value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_class_says() {
        fn check(mut spec: Value, class: Option<Value>, expect: Result<Value, &str>) {
            let mut pod = json!({"spec": spec.take()});
            let got = use_runtime_class(&mut pod, class.as_ref()).map_err(|refused| refused.0);
            assert_eq!(got.map(|()| pod["spec"].clone()), expect.map_err(str::to_owned));
        }
        check(json!({"runtimeClassName": "x"}), None, Err("pod rejected: RuntimeClass \"x\" not found"));
        check(
            json!({"overhead": {"cpu": "1"}}),
            None,
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        );
        let class = || {
            Some(json!({"overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"nodeSelector": {"a": "b"},
                "tolerations": [{"key": "k", "operator": "Exists"}]}}))
        };
        check(
            json!({"runtimeClassName": "x", "tolerations": [{"key": "k", "value": "v"}, {"key": "l"}]}),
            class(),
            Ok(json!({"runtimeClassName": "x", "overhead": {"cpu": "1"}, "nodeSelector": {"a": "b"},
                "tolerations": [{"key": "l"}, {"key": "k", "operator": "Exists"}]})),
        );
        check(
            json!({"runtimeClassName": "x", "nodeSelector": {"a": "c"}}),
            class(),
            Err("conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c"),
        );
        check(
            json!({"runtimeClassName": "x", "overhead": {"cpu": "2"}}),
            class(),
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        );
    }
}
