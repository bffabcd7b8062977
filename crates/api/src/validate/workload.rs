//! The kinds that run pods from a template.

use serde_json::{Value, json};

use super::at::{At, Errors};
use super::content::{dns1123_label, percent, percent_value};
use super::{labels, pod};

const MISMATCH: &str = "`selector` does not match template `labels`";

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(at: &At<'_>, errors: &mut Errors) {
    match at.value() {
        Value::String(text) => errors.extend(percent(text).into_iter().map(|detail| at.invalid(detail))),
        _ => at.not_negative(errors),
    }
}

fn at_most_all(at: &At<'_>, errors: &mut Errors) {
    if percent_value(at.text()).is_some_and(|percent| percent > 100) {
        errors.push(at.invalid("must not be greater than 100%"));
    }
}

fn is_zero(at: &At<'_>) -> bool {
    at.int().or_else(|| percent_value(at.text())).unwrap_or(0) == 0
}

/// What a template must be for pods that always run again.
fn lasting_template(kind: &str, template: &At<'_>, errors: &mut Errors) {
    pod::template(template, errors);
    let spec = template.child("spec");
    let policy = spec.child("restartPolicy");
    if policy.text() != "Always" {
        errors.push(super::FieldError::not_supported(&policy.path, policy.text(), &["Always"]));
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.push(deadline.forbidden(format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

fn mismatch(spec: &At<'_>, template: &At<'_>, errors: &mut Errors) {
    let labels_at = template.child("metadata").child("labels");
    if labels::selects(&spec.child("selector"), &labels_at) == Some(false) {
        errors.push(labels_at.invalid(MISMATCH));
    }
}

pub(super) fn daemon_set(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    labels::selector(&selector, errors);
    mismatch(&spec, &template, errors);
    if selector.is_set() && labels::selects_all(&selector) {
        errors.push(selector.invalid("empty selector is invalid for daemonset"));
    }
    lasting_template("DaemonSet", &template, errors);
    spec.child("minReadySeconds").not_negative(errors);
    daemon_set_strategy(&spec.child("updateStrategy"), errors);
    spec.child("revisionHistoryLimit").not_negative(errors);
}

fn daemon_set_strategy(strategy: &At<'_>, errors: &mut Errors) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => errors.push(rolling.required("")),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            int_or_percent(&unavailable, errors);
            int_or_percent(&surge, errors);
            at_most_all(&unavailable, errors);
            at_most_all(&surge, errors);
            match (is_zero(&unavailable), is_zero(&surge)) {
                (false, false) => errors.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
                (true, true) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        other => {
            let shown = json!({"RollingUpdate": rolling.value(), "Type": other});
            errors.push(super::FieldError::not_supported(&strategy.path, shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

/// What ReplicaSets and Deployments share.
fn replicated(spec: &At<'_>, errors: &mut Errors) {
    spec.child("replicas").not_negative(errors);
    spec.child("minReadySeconds").not_negative(errors);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_set() {
        labels::selector(&selector, errors);
        if labels::selects_all(&selector) {
            errors.push(selector.invalid("empty selector is invalid for deployment"));
        }
    } else {
        errors.push(selector.required(""));
    }
    let labels_at = template.child("metadata").child("labels");
    match labels::selects(&selector, &labels_at) {
        None => errors.push(selector.invalid("invalid label selector")),
        Some(matches) => {
            if !matches {
                errors.push(labels_at.invalid(MISMATCH));
            }
            lasting_template("ReplicaSet", &template, errors);
        }
    }
}

pub(super) fn replica_set(obj: &Value, errors: &mut Errors) {
    replicated(&At::root(obj, "spec"), errors);
}

pub(super) fn deployment(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    replicated(&spec, errors);
    let strategy = spec.child("strategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "Recreate" => {
            if rolling.is_set() {
                errors.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
            }
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            int_or_percent(&unavailable, errors);
            int_or_percent(&surge, errors);
            if is_zero(&unavailable) && is_zero(&surge) {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(&unavailable, errors);
        }
        other => {
            let shown = json!({"RollingUpdate": rolling.value(), "Type": other});
            errors.push(super::FieldError::not_supported(&strategy.path, shown, &["Recreate", "RollingUpdate"]));
        }
    }
    spec.child("revisionHistoryLimit").not_negative(errors);
    let deadline = spec.child("progressDeadlineSeconds");
    deadline.not_negative(errors);
    if deadline.int().is_some_and(|seconds| seconds <= spec.child("minReadySeconds").number()) {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
}

pub(super) fn stateful_set(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    spec.child("replicas").not_negative(errors);
    spec.child("minReadySeconds").not_negative(errors);
    let policy = spec.child("podManagementPolicy");
    if policy.text().is_empty() {
        errors.push(policy.required(""));
    } else if !matches!(policy.text(), "OrderedReady" | "Parallel") {
        errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'"));
    }
    let strategy = spec.child("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "OnDelete" if rolling.is_set() => {
            errors.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"))
        }
        "OnDelete" => {}
        "RollingUpdate" => rolling.child("partition").not_negative(errors),
        _ => errors.push(strategy.invalid("must be 'RollingUpdate' or 'OnDelete'")),
    }
    let service = spec.child("serviceName");
    if !service.text().is_empty() {
        service.content(dns1123_label, errors);
    }
    let selector = spec.child("selector");
    if selector.is_set() {
        labels::selector(&selector, errors);
        if labels::selects_all(&selector) {
            errors.push(selector.invalid("empty selector is invalid for statefulset"));
        }
    } else {
        errors.push(selector.required(""));
    }
    let template = with_claims(&spec);
    let template = At::new(Some(&template), spec.child("template").path);
    mismatch(&spec, &template, errors);
    lasting_template("StatefulSet", &template, errors);
}

/// The template as its pods will be: with a volume per claim template.
fn with_claims(spec: &At<'_>) -> Value {
    let mut template = spec.child("template").value().clone();
    let claims: Vec<Value> = spec
        .child("volumeClaimTemplates")
        .items()
        .map(|claim| claim.child("metadata").child("name").text().to_owned())
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    if let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) {
        pod.remove("hostname");
        pod.remove("subdomain");
        if !claims.is_empty() {
            let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
            let own = own.into_iter().filter(|volume| !claims.iter().any(|claim| claim["name"] == volume["name"]));
            let volumes: Vec<Value> = own.chain(claims.iter().cloned()).collect();
            pod.insert("volumes".to_owned(), Value::Array(volumes));
        }
    }
    template
}

pub(super) fn replication_controller(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    spec.child("replicas").not_negative(errors);
    spec.child("minReadySeconds").not_negative(errors);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_empty() {
        errors.push(selector.required(""));
    }
    if !template.is_set() {
        errors.push(template.required(""));
        return;
    }
    let labels_at = template.child("metadata").child("labels");
    let matches = selector.entries().all(|(key, value)| labels_at.value().get(key) == Some(value.value()));
    if !matches {
        errors.push(labels_at.invalid(MISMATCH));
    }
    lasting_template("ReplicationController", &template, errors);
}

pub(super) fn job(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    for count in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        spec.child(count).not_negative(errors);
    }
    let template = spec.child("template");
    pod::template(&template, errors);
    let policy = template.child("spec").child("restartPolicy");
    if policy.text() == "Always" {
        errors.push(policy.required("valid values: \"OnFailure\", \"Never\""));
    }
}

pub(super) fn controller_revision(obj: &Value, errors: &mut Errors) {
    At::root(obj, "revision").not_negative(errors);
}

/// A new revision holds an object.
pub(super) fn controller_revision_data(obj: &Value, errors: &mut Errors) {
    let data = At::root(obj, "data");
    if !data.is_set() {
        errors.push(data.required("data is mandatory"));
    } else if !data.value().is_object() {
        errors.push(data.required("data must be a valid JSON object"));
    }
}

/// What may not change.
pub(super) fn update(kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    let fixed = |key: &str, errors: &mut Errors| spec.child(key).immutable(&before.child(key), errors);
    match kind {
        "ControllerRevision" => At::root(new, "data").immutable(&At::root(old, "data"), errors),
        "DaemonSet" | "ReplicaSet" | "Deployment" => fixed("selector", errors),
        "Job" => ["completionMode", "selector", "template"].into_iter().for_each(|key| fixed(key, errors)),
        "StatefulSet" => {
            let open = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            let keys =
                [spec.value(), before.value()].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
            let changed = keys.filter(|key| !open.contains(&key.as_str()));
            if changed.into_iter().any(|key| !spec.child(key).same(&before.child(key))) {
                errors.push(spec.forbidden(
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                     'minReadySeconds' are forbidden",
                ));
            }
        }
        _ => {}
    }
}

/// Counts of a status are not negative and fit together; the collision count only grows.
pub(super) fn update_status(kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    let (status, before) = (At::root(new, "status"), At::root(old, "status"));
    for (key, value) in status.value().as_object().into_iter().flatten().filter(|(_, value)| value.is_number()) {
        At::new(Some(value), status.path.child(key)).not_negative(errors);
    }
    let collisions = status.child("collisionCount");
    if collisions.number() < before.child("collisionCount").number() {
        errors.push(collisions.invalid_value(collisions.number(), "cannot be decremented"));
    }
    if kind == "DaemonSet" {
        return;
    }
    let parts = ["fullyLabeledReplicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    let total = status.child("replicas").number();
    for part in parts.map(|part| status.child(part)).into_iter().filter(|part| part.number() > total) {
        errors.push(part.invalid("cannot be greater than status.replicas"));
    }
    let available = status.child("availableReplicas");
    if available.number() > status.child("readyReplicas").number() {
        let other = if kind == "StatefulSet" { "status.readyReplicas" } else { "readyReplicas" };
        errors.push(available.invalid(format!("cannot be greater than {other}")));
    }
}

#[cfg(test)]
mod tests;
