//! Probes and lifecycle hooks.

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::http_header_name;
use super::super::service::port_number_or_name;

/// A liveness or startup probe: one success is all it takes.
pub(super) fn liveness(probe: &At<'_>, errors: &mut Errors) {
    if !probe.is_set() {
        return;
    }
    common(probe, errors);
    let successes = probe.child("successThreshold");
    if successes.number() != 1 {
        errors.push(successes.invalid_value(successes.number(), "must be 1"));
    }
}

/// A readiness probe: it never ends the container.
pub(super) fn readiness(probe: &At<'_>, errors: &mut Errors) {
    if !probe.is_set() {
        return;
    }
    common(probe, errors);
    let grace = probe.child("terminationGracePeriodSeconds");
    if grace.is_set() {
        errors.push(grace.invalid("must not be set for readinessProbes"));
    }
}

fn common(probe: &At<'_>, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.child(number).not_negative(errors);
    }
    let grace = probe.child("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(grace.invalid("must be greater than 0"));
    }
}

/// Hooks after the start and before the end, and the signal to end with.
pub(super) fn lifecycle(grace_seconds: Option<i64>, os: &str, lifecycle: &At<'_>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"].map(|hook| lifecycle.child(hook)) {
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace_seconds, errors);
        }
    }
    let signal = lifecycle.child("stopSignal");
    if !signal.is_set() {
        return;
    }
    match os {
        "" => errors.push(signal.forbidden("may not be set for containers with empty `spec.os.name`")),
        "windows" => signal.optional_one_of(&["SIGKILL", "SIGTERM"], errors),
        _ if !signal.text().starts_with("SIG") => errors.push(signal.not_supported(&["SIGTERM", "SIGKILL", "SIGINT"])),
        _ => {}
    }
}

/// Exactly one way to act.
fn handler(of: &At<'_>, kinds: &[&str], grace_seconds: Option<i64>, errors: &mut Errors) {
    let mut given = kinds.iter().map(|kind| (*kind, of.child(kind))).filter(|(_, action)| action.is_set());
    let Some((kind, action)) = given.next() else {
        errors.push(of.required("must specify a handler type"));
        return;
    };
    match kind {
        "exec" => {
            let command = action.child("command");
            if command.is_empty() {
                errors.push(command.required(""));
            }
        }
        "httpGet" => http_get(&action, errors),
        "tcpSocket" | "grpc" => port_number_or_name(&action.child("port"), errors),
        _ => {
            let seconds = action.child("seconds").number();
            if let Some(grace) = grace_seconds.filter(|grace| seconds < 0 || seconds > *grace) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(action.invalid_value(seconds, detail));
            }
        }
    }
    errors.extend(given.map(|(_, extra)| extra.forbidden("may not specify more than 1 handler type")));
}

fn http_get(action: &At<'_>, errors: &mut Errors) {
    let path = action.child("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    port_number_or_name(&action.child("port"), errors);
    let scheme = action.child("scheme");
    if !matches!(scheme.text(), "HTTP" | "HTTPS") {
        errors.push(FieldError::not_supported(&scheme.path, scheme.text(), &["HTTP", "HTTPS"]));
    }
    let headers = action.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name").text();
        errors.extend(http_header_name(name).into_iter().map(|detail| headers.invalid_value(name, detail)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_container;
    use serde_json::json;

    #[test]
    fn probes() {
        let at = "spec.containers[0].livenessProbe";
        check_container(json!({"livenessProbe": {"httpGet": {"port": "http"}}}), &[]);
        check_container(json!({"livenessProbe": {}}), &[&format!("{at}: Required value: must specify a handler type")]);
        check_container(
            json!({"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}),
            &[&format!("{at}.tcpSocket: Forbidden: may not specify more than 1 handler type")],
        );
        check_container(
            json!({"livenessProbe": {"exec": {}, "successThreshold": 2, "periodSeconds": -1}}),
            &[
                &format!("{at}.exec.command: Required value"),
                &format!("{at}.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
                &format!("{at}.successThreshold: Invalid value: 2: must be 1"),
            ],
        );
        check_container(
            json!({"livenessProbe": {"httpGet": {"port": 0}}}),
            &[&format!("{at}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive")],
        );
        check_container(
            json!({"readinessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 5}}),
            &[
                "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for \
               readinessProbes",
            ],
        );
    }

    #[test]
    fn hooks() {
        check_container(
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}),
            &["spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than \
               terminationGracePeriodSeconds (30)"],
        );
    }
}
