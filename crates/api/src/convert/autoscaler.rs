//! Autoscalers: version 1 knows one target, the use of CPU; what else version 2 says rides along in annotations.
//!
//! Invariants: the annotations are there in version 1 alone, and hold what Kubernetes writes into them.
//! Absent: validation.

use serde_json::{Map, Value, json};

use super::rename;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// The use of CPU that Kubernetes aims at when nothing is said.
const CPU_UTILIZATION: i64 = 80;

type Object = Map<String, Value>;

pub(super) fn from_v2(scaler: &mut Object) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = scaler.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, renamed(behavior, capital)));
        }
        let (cpu, others): (Vec<Value>, Vec<Value>) = list(spec.remove("metrics")).into_iter().partition(is_cpu_share);
        if let Some(share) = cpu.first().and_then(|cpu| cpu.pointer("/resource/target/averageUtilization")) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), share.clone());
        }
        if !others.is_empty() {
            notes.push((METRICS, others.into_iter().map(|metric| metric_to_v1(metric, "target")).collect()));
        }
    }
    if let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) {
        let current = list(status.remove("currentMetrics"));
        let cpu = current.iter().filter(|metric| metric.pointer("/resource/name") == Some(&json!("cpu")));
        if let Some(share) = cpu.filter_map(|cpu| cpu.pointer("/resource/current/averageUtilization")).next_back() {
            status.insert("currentCPUUtilizationPercentage".to_owned(), share.clone());
        }
        if !current.is_empty() {
            notes.push((CURRENT_METRICS, current.into_iter().map(|metric| metric_to_v1(metric, "current")).collect()));
        }
        let conditions = list(status.remove("conditions"));
        if !conditions.is_empty() {
            notes.push((CONDITIONS, conditions.into()));
        }
    }
    let annotations = annotations(scaler);
    drop_notes(annotations);
    annotations.extend(notes.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into())));
    drop_empty_annotations(scaler);
}

pub(super) fn to_v2(scaler: &mut Object) {
    let annotations = annotations(scaler);
    let mut note = |name: &str| {
        let text = annotations.remove(name)?;
        serde_json::from_str::<Value>(text.as_str()?).ok()
    };
    let (metrics, current, behavior, conditions) =
        (note(METRICS), note(CURRENT_METRICS), note(BEHAVIOR), note(CONDITIONS));
    drop_notes(annotations);
    drop_empty_annotations(scaler);
    if let Some(spec) = scaler.get_mut("spec").and_then(Value::as_object_mut) {
        let mut all: Vec<Value> = list(metrics).into_iter().map(|metric| metric_to_v2(metric, "target")).collect();
        let share = spec.remove("targetCPUUtilizationPercentage");
        let share = share.or_else(|| all.is_empty().then(|| CPU_UTILIZATION.into()));
        all.extend(share.map(|share| {
            json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": share}}})
        }));
        spec.insert("metrics".to_owned(), all.into());
        if let Some(behavior) = behavior.filter(|behavior| behavior.as_object().is_some_and(|map| !map.is_empty())) {
            spec.insert("behavior".to_owned(), renamed(behavior, small));
        }
    }
    let status = scaler.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        let share = status.remove("currentCPUUtilizationPercentage");
        let mut all: Vec<Value> = list(current).into_iter().map(|metric| metric_to_v2(metric, "current")).collect();
        if all.is_empty() {
            all.extend(share.map(|share| {
                json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}})
            }));
        }
        status.insert("currentMetrics".to_owned(), all.into());
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

/// Whether a metric is what version 1 has a field for.
fn is_cpu_share(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && !metric["resource"]["target"]["averageUtilization"].is_null()
}

/// The member of a metric that its type names, such as `containerResource`.
fn source_of(metric: &Value) -> String {
    small(metric["type"].as_str().unwrap_or_default())
}

/// A metric of version 2 in the form of the annotations. `side` is `target` in a spec and `current` in a status.
fn metric_to_v1(mut metric: Value, side: &str) -> Value {
    let name = source_of(&metric);
    let Some(source) = metric.get_mut(&name).and_then(Value::as_object_mut) else { return metric };
    let mut values = source.remove(side).and_then(|values| values.as_object().cloned()).unwrap_or_default();
    let external = name == "external";
    if let Some(Value::Object(mut found)) = source.remove("metric") {
        source.extend(found.remove("name").map(|name| ("metricName".to_owned(), name)));
        let selector = if external { "metricSelector" } else { "selector" };
        source.extend(found.remove("selector").map(|value| (selector.to_owned(), value)));
    }
    rename(source, "describedObject", "target");
    for (value, field) in names(&name, side) {
        match values.remove(value) {
            Some(value) => source.insert(field, value),
            // Go writes these whether they are set or not.
            None if name == "object" && value == "value" => source.insert(field, "0".into()),
            None => None,
        };
    }
    metric
}

/// What [`metric_to_v1`] made, back in the form of version 2.
fn metric_to_v2(mut metric: Value, side: &str) -> Value {
    let name = source_of(&metric);
    let Some(source) = metric.get_mut(&name).and_then(Value::as_object_mut) else { return metric };
    let mut values = Object::new();
    for (value, field) in names(&name, side) {
        values.extend(source.remove(&field).map(|found| (value.to_owned(), found)));
    }
    if !matches!(name.as_str(), "resource" | "containerResource") {
        let mut found = Object::new();
        found.extend(source.remove("metricName").map(|name| ("name".to_owned(), name)));
        let selector = source.remove("selector").or_else(|| source.remove("metricSelector"));
        found.extend(selector.map(|selector| ("selector".to_owned(), selector)));
        source.insert("metric".to_owned(), found.into());
        rename(source, "target", "describedObject");
    }
    if side == "target" {
        if values.contains_key("averageValue") && values.get("value").is_some_and(|value| value == "0") {
            values.remove("value");
        }
        let kind = match name.as_str() {
            "resource" | "containerResource" if values.contains_key("averageUtilization") => "Utilization",
            "object" | "external" if !values.contains_key("averageValue") => "Value",
            _ => "AverageValue",
        };
        values.insert("type".to_owned(), kind.into());
    }
    source.insert(side.to_owned(), values.into());
    metric
}

/// Names of the values in version 2, and in the annotations.
fn names(source: &str, side: &str) -> Vec<(&'static str, String)> {
    let average = match source {
        "object" => "averageValue".to_owned(),
        _ => format!("{side}AverageValue"),
    };
    vec![
        ("value", format!("{side}Value")),
        ("averageValue", average),
        ("averageUtilization", format!("{side}AverageUtilization")),
    ]
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn annotations(scaler: &mut Object) -> &mut Object {
    let metadata = scaler.entry("metadata").or_insert_with(|| json!({}));
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    match metadata["annotations"].as_object_mut() {
        Some(annotations) => annotations,
        None => unreachable!("made an object just above"),
    }
}

fn drop_notes(annotations: &mut Object) {
    for name in [METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS] {
        annotations.remove(name);
    }
}

fn drop_empty_annotations(scaler: &mut Object) {
    if annotations(scaler).is_empty()
        && let Some(metadata) = scaler.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
}

/// `value` with all names of members changed: the behaviour is written with the names that it has in Go.
fn renamed(value: Value, change: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(name, value)| (change(&name), renamed(value, change))).collect(),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, change)).collect(),
        other => other,
    }
}

fn capital(word: &str) -> String {
    changed(word, |letter| letter.to_ascii_uppercase())
}

fn small(word: &str) -> String {
    changed(word, |letter| letter.to_ascii_lowercase())
}

fn changed(word: &str, change: fn(char) -> char) -> String {
    let mut letters = word.chars();
    letters.next().map(change).into_iter().chain(letters).collect()
}
