//! A pod's priority follows from its priority class.

use serde_json::{Value, json};

use super::Refused;

/// What counts of a priority class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorityClass {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub value: i64,
    /// Whether its pods may push others off a node.
    pub preemption_policy: String,
}

impl PriorityClass {
    /// Reads a stored PriorityClass.
    #[must_use]
    pub fn from_json(class: &Value) -> Option<Self> {
        let policy = class.get("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority");
        Some(Self {
            name: class.pointer("/metadata/name")?.as_str()?.to_owned(),
            value: class.get("value").and_then(Value::as_i64).unwrap_or(0),
            preemption_policy: policy.to_owned(),
        })
    }
}

/// Sets a pod's priority. `class` is the one that `spec.priorityClassName` names, or without a name
/// the global default, if there is one.
///
/// # Errors
/// The named class was not found, or the pod states another priority or policy than its class.
pub fn resolve_priority(pod: &mut Value, class: Option<&PriorityClass>) -> Result<(), Refused> {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let named = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or("").to_owned();
    if class.is_none() && !named.is_empty() {
        return Err(Refused(format!("no PriorityClass with name {named} was found")));
    }
    let (value, policy) = class.map_or((0, "PreemptLowerPriority"), |c| (c.value, c.preemption_policy.as_str()));
    if let Some(stated) = spec.get("priority").and_then(Value::as_i64).filter(|stated| *stated != value) {
        return Err(Refused(format!(
            "the integer value of priority ({stated}) must not be provided in pod spec; priority admission \
             controller computed {value} from the given PriorityClass name"
        )));
    }
    if let Some(stated) = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|stated| *stated != policy) {
        return Err(Refused(format!(
            "the string value of PreemptionPolicy ({stated}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(class) = class {
        spec.insert("priorityClassName".to_owned(), json!(class.name));
    }
    spec.insert("priority".to_owned(), json!(value));
    spec.insert("preemptionPolicy".to_owned(), json!(policy));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves() {
        fn check(spec: Value, class: Option<i64>, expect: Result<Value, &str>) {
            let class = class.map(|value| PriorityClass { name: "c".into(), value, preemption_policy: "Never".into() });
            let mut pod = json!({"spec": spec});
            let done = resolve_priority(&mut pod, class.as_ref()).map(|()| pod["spec"].clone());
            assert_eq!(done.map_err(|e| e.to_string()), expect.map_err(str::to_owned));
        }
        check(json!({}), None, Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})));
        let expect = json!({"priorityClassName": "c", "priority": 7, "preemptionPolicy": "Never"});
        check(json!({"priorityClassName": "c"}), Some(7), Ok(expect.clone()));
        check(json!({}), Some(7), Ok(expect));
        check(json!({"priorityClassName": "x"}), None, Err("no PriorityClass with name x was found"));
        check(
            json!({"priority": 1}),
            Some(7),
            Err("the integer value of priority (1) must not be provided in pod spec; priority admission controller \
                 computed 7 from the given PriorityClass name"),
        );
    }
}
