//! What may change in a pod: images, the deadline, further tolerations, fewer gates; for a pod that
//! is held back by a gate, its node selection may be narrowed.

use serde_json::{Map, Value};

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{dns1123_subdomain, range_error};
use super::scheduling;

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),\
                          `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
/// How many differences are shown.
const DIFFERENCES_MAX: usize = 20;

/// Compares a changed pod with the stored one.
pub(in super::super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    annotations(new, old, errors);
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    for list in ["containers", "initContainers"] {
        let (now, then) = (spec.child(list), before.child(list));
        if now.len() != then.len() {
            errors.push(now.forbidden("pod updates may not add or remove containers"));
            return;
        }
    }
    if !deadline(&spec, &before, errors) {
        return;
    }
    added_tolerations(&spec, &before, errors);
    deleted_gates(&spec, &before, errors);
    let gated = !before.child("schedulingGates").is_empty();
    let mut same = spec.value().clone();
    let Some(map) = same.as_object_mut() else { return };
    put_back(map, before.value());
    if gated {
        narrowed_selection(&spec, &before, map, errors);
    }
    if &same != before.value() {
        let mut lines = Vec::new();
        differences(&mut lines, "spec", before.value(), &same);
        lines.truncate(DIFFERENCES_MAX);
        let detail = format!("pod updates may not change fields other than {CHANGEABLE}\n{}", lines.join("\n"));
        errors.push(spec.forbidden(detail));
    }
}

fn annotations(new: &Value, old: &Value, errors: &mut Errors) {
    let at = |obj| At::root(obj, "metadata").child("annotations");
    let (now, then) = (at(new), at(old));
    let key = super::MIRROR;
    let path = now.path.key(key);
    match (now.value().get(key), then.value().get(key)) {
        (a, b) if a == b => {}
        (Some(_), None) => {
            errors.push(FieldError::forbidden(&path, "may not add mirror pod annotation"));
        }
        _ => errors.push(FieldError::forbidden(&path, "may not remove or update mirror pod annotation")),
    }
}

/// The deadline may be set, and brought closer. False ends the comparison.
fn deadline(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) -> bool {
    let (now, then) = (spec.child("activeDeadlineSeconds"), before.child("activeDeadlineSeconds"));
    match (now.int(), then.int()) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.push(now.invalid(range_error(0, i32::MAX)));
            false
        }
        (Some(seconds), Some(earlier)) if earlier < seconds => {
            errors.push(now.invalid("must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            errors.push(now.invalid("must not update from a positive integer to nil value"));
            true
        }
        _ => true,
    }
}

fn added_tolerations(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let bare = |toleration: &Value| {
        let mut map = toleration.as_object().cloned().unwrap_or_default();
        map.remove("tolerationSeconds");
        map
    };
    let now: Vec<Map<String, Value>> = spec.child("tolerations").items().map(|one| bare(one.value())).collect();
    if before.child("tolerations").items().any(|old| !now.contains(&bare(old.value()))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(spec.child("tolerations").forbidden(detail));
        return;
    }
    scheduling::tolerations(&spec.child("tolerations"), errors);
}

fn deleted_gates(spec: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let known: Vec<&Value> = before.child("schedulingGates").items().map(|gate| gate.value()).collect();
    for gate in spec.child("schedulingGates").items().filter(|gate| !known.contains(&gate.value())) {
        let name = gate.child("name");
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
        errors.push(name.forbidden(detail));
    }
}

/// Puts what may change back to what it was, so that the rest can be compared.
fn put_back(spec: &mut Map<String, Value>, before: &Value) {
    for list in ["containers", "initContainers"] {
        let old = before.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let now = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, old) in now.zip(old) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), old.get("image")) {
                container.insert("image".to_owned(), image.clone());
            }
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put_back_field(spec, before, key);
    }
    let grace = "terminationGracePeriodSeconds";
    let was_negative = before.get(grace).and_then(Value::as_i64).is_some_and(|seconds| seconds < 0);
    if was_negative && spec.get(grace).is_some_and(|seconds| seconds == 1) {
        put_back_field(spec, before, grace);
    }
}

fn put_back_field(spec: &mut Map<String, Value>, before: &Value, key: &str) {
    match before.get(key) {
        Some(value) => spec.insert(key.to_owned(), value.clone()),
        None => spec.remove(key),
    };
}

fn narrowed_selection(spec: &At<'_>, before: &At<'_>, same: &mut Map<String, Value>, errors: &mut Errors) {
    let (now, then) = (spec.child("nodeSelector"), before.child("nodeSelector"));
    if then.entries().any(|(key, value)| now.value().get(key) != Some(value.value())) {
        errors.push(now.invalid("only additions to spec.nodeSelector are allowed (no mutations or deletions)"));
    }
    put_back_field(same, before.value(), "nodeSelector");
    let terms = |of: &At<'_>| -> Vec<Value> {
        let path = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        of.value().pointer(path).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (now, then) = (terms(spec), terms(before));
    let path = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let at = path.iter().fold(spec.path.clone(), |path, step| path.child(step));
    if !then.is_empty() && then.len() != now.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&at, now, detail));
    } else {
        let changed = then.iter().zip(&now).enumerate().filter(|(_, (old, new))| !only_adds(new, old));
        for (i, (_, new)) in changed {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&at.index(i), new.clone(), detail));
        }
    }
    let node = before.value().pointer("/affinity/nodeAffinity").cloned();
    let had_affinity = before.child("affinity").is_set();
    if let Some(affinity) = same.get_mut("affinity").and_then(Value::as_object_mut) {
        match node {
            Some(node) => affinity.insert("nodeAffinity".to_owned(), node),
            None => affinity.remove("nodeAffinity"),
        };
        if affinity.is_empty() && !had_affinity {
            same.remove("affinity");
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let kept = |key: &str| list(new, key).starts_with(&list(old, key));
    let was_empty = list(old, "matchExpressions").is_empty() && list(old, "matchFields").is_empty();
    if was_empty { new == old } else { kept("matchExpressions") && kept("matchFields") }
}

/// Lines that tell where two values differ.
fn differences(lines: &mut Vec<String>, path: &str, old: &Value, new: &Value) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let null = &Value::Null;
                differences(lines, &format!("{path}.{key}"), a.get(key).unwrap_or(null), b.get(key).unwrap_or(null));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(lines, &format!("{path}[{i}]"), a, b);
            }
        }
        (a, b) if a != b => lines.extend([format!("- {path}: {a}"), format!("+ {path}: {b}")]),
        _ => {}
    }
}

/// What a write to the status of a pod may not do.
pub(in super::super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    annotations(new, old, errors);
    let (status, before) = (At::root(new, "status"), At::root(old, "status"));
    let nominated = status.child("nominatedNodeName");
    if !nominated.text().is_empty() && !nominated.same(&before.child("nominatedNodeName")) {
        nominated.content(dns1123_subdomain, errors);
        if !At::root(old, "spec").child("nodeName").text().is_empty() {
            errors.push(nominated.forbidden("may not be set on pods that are already bound to a node"));
        }
    }
    let observed = status.child("observedGeneration");
    if observed.number() < 0 {
        errors.push(observed.invalid("must be a non-negative integer"));
    }
    status.child("qosClass").immutable(&before.child("qosClass"), errors);
    for list in ["containerStatuses", "initContainerStatuses"] {
        restarts(list, old, &status, &before, errors);
    }
    let addresses = status.child("podIPs");
    for address in addresses.items() {
        At::new(Some(address.child("ip").value()), address.path.clone()).ip(errors);
    }
    if addresses.len() > 1 {
        let of_six = addresses.items().filter(|address| address.child("ip").text().contains(':')).count();
        if of_six != 1 || addresses.len() > 2 {
            errors.push(addresses.invalid("may specify no more than one IP for each IP family"));
        }
    }
    let hosts = status.child("hostIPs");
    if let Some(first) = hosts.items().next().map(|host| host.child("ip"))
        && first.text() != status.child("hostIP").text()
    {
        errors.push(first.invalid("must be equal to `hostIP`"));
    }
}

fn ended<'a>(container: &At<'a>) -> At<'a> {
    container.child("state").child("terminated")
}

/// A container that ended for good does not run again.
fn restarts(list: &str, pod: &Value, status: &At<'_>, before: &At<'_>, errors: &mut Errors) {
    let spec = At::root(pod, "spec");
    let containers = spec.child(if list == "containerStatuses" { "containers" } else { "initContainers" });
    for (i, old) in before.child(list).items().enumerate().filter(|(_, old)| ended(old).is_set()) {
        let name = old.child("name").text();
        let Some(now) = status.child(list).items().find(|now| now.child("name").text() == name) else { continue };
        let container = containers.items().find(|container| container.child("name").text() == name);
        let own = container.as_ref().map(|container| container.child("restartPolicy"));
        let own = own.filter(At::is_set).unwrap_or_else(|| spec.child("restartPolicy"));
        let has_rules = container.is_some_and(|container| !container.child("restartPolicyRules").is_empty());
        let may = match own.text() {
            "Always" => true,
            "OnFailure" => ended(&old).child("exitCode").number() != 0,
            _ => false,
        };
        if !may && !has_rules && !ended(&now).is_set() {
            let path = status.child(list).path.index(i).child("state");
            errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
        }
    }
}

/// What a write to the `ephemeralcontainers` subresource may not do.
pub(in super::super) fn ephemeral_containers(new: &Value, old: &Value, errors: &mut Errors) {
    super::object(new, errors);
    let (now, then) = (At::root(new, "spec"), At::root(old, "spec"));
    let (now, then) = (now.child("ephemeralContainers"), then.child("ephemeralContainers"));
    for old in then.items() {
        let name = old.child("name").text();
        match now.items().find(|one| one.child("name").text() == name) {
            None => {
                errors.push(now.forbidden(format!("existing ephemeral containers \"{name}\" may not be removed\n")))
            }
            Some(one) if one.value() != old.value() => {
                errors.push(now.forbidden(format!("existing ephemeral containers \"{name}\" may not be changed\n")));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::update_errors;
    use super::super::tests::pod;
    use super::*;
    use serde_json::json;

    #[test]
    fn specs() {
        fn check(new: Value, old: Value, expect: &[&str]) {
            assert_eq!(update_errors("v1", "Pod", pod(new), pod(old)), expect);
        }
        let image = |image: &str| json!({"containers": [{"name": "c", "image": image, "imagePullPolicy": "Always"}]});
        check(image("i:2"), image("i:1"), &[]);
        check(json!({"activeDeadlineSeconds": 5}), json!({"activeDeadlineSeconds": 9}), &[]);
        check(
            json!({"activeDeadlineSeconds": 9}),
            json!({"activeDeadlineSeconds": 5}),
            &["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"],
        );
        check(json!({"tolerations": [{"operator": "Exists"}]}), json!({}), &[]);
        check(
            json!({}),
            json!({"tolerations": [{"operator": "Exists"}]}),
            &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
        );
        check(
            json!({"nodeName": "b"}),
            json!({"nodeName": "a"}),
            &[&format!(
                "spec: Forbidden: pod updates may not change fields other than {CHANGEABLE}\n- spec.nodeName: \"a\"\n+ \
                 spec.nodeName: \"b\""
            )],
        );
        check(
            json!({"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]}),
            json!({}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        );
    }

    #[test]
    fn gated_pods() {
        fn check(new: Value, old: Value, good: bool) {
            assert_eq!(update_errors("v1", "Pod", pod(new), pod(old)).is_empty(), good);
        }
        let gates = json!([{"name": "a.b/c"}]);
        check(json!({"schedulingGates": gates, "nodeSelector": {"a": "b"}}), json!({"schedulingGates": gates}), true);
        check(json!({}), json!({"schedulingGates": gates}), true);
        check(json!({"schedulingGates": gates}), json!({}), false);
        check(json!({"nodeSelector": {"a": "b"}}), json!({}), false);
    }

    #[test]
    fn statuses() {
        fn check(policy: &str, new: Value, old: Value, expect: &[&str]) {
            let spec = json!({"restartPolicy": policy, "containers": [{"name": "c"}]});
            let (new, old) = (json!({"spec": spec, "status": new}), json!({"spec": spec, "status": old}));
            let mut errors = Errors::new();
            status(&new, &old, &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        }
        let state = |state: Value| json!({"containerStatuses": [{"name": "c", "state": state}]});
        let ended = state(json!({"terminated": {"exitCode": 0}}));
        let running = state(json!({"running": {}}));
        check("Always", running.clone(), ended.clone(), &[]);
        let refused = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
        check("OnFailure", running.clone(), ended.clone(), &[refused]);
        check("OnFailure", running, state(json!({"terminated": {"exitCode": 1}})), &[]);
        check(
            "Always",
            json!({"qosClass": "Burstable"}),
            json!({"qosClass": "BestEffort"}),
            &["status.qosClass: Invalid value: \"Burstable\": field is immutable"],
        );
        check(
            "Always",
            json!({"podIPs": [{"ip": "x"}]}),
            json!({}),
            &["status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
        );
    }
}
