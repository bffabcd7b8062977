//! Containers: regular, init and ephemeral ones.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{dns1123_label, port_name, port_number};
use super::super::service::PROTOCOLS;
use super::{env, mounts, probe, resources, security};

/// Most rules about a container's exit codes, and most codes in one.
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// What containers need to know about their pod.
pub(super) struct Pod<'a> {
    /// Sound volumes by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
    /// Seconds for its end.
    pub(super) grace_seconds: Option<i64>,
    restart_policy: &'a str,
    host_users: bool,
    os: &'a str,
    claims: Vec<&'a str>,
}

impl<'a> Pod<'a> {
    pub(super) fn of(spec: &At<'a>, volumes: BTreeMap<&'a str, &'a Value>) -> Self {
        Self {
            volumes,
            grace_seconds: spec.child("terminationGracePeriodSeconds").int(),
            restart_policy: spec.child("restartPolicy").text(),
            host_users: spec.child("hostUsers").value() != &Value::Bool(false),
            os: spec.child("os").child("name").text(),
            claims: spec.child("resourceClaims").items().map(|claim| claim.child("name").text()).collect(),
        }
    }
}

fn names<'a>(spec: &At<'a>, list: &str) -> Vec<&'a str> {
    spec.child(list).items().map(|container| container.child("name").text()).collect()
}

/// Regular containers: at least one.
pub(super) fn regular(pod: &Pod<'_>, spec: &At<'_>, errors: &mut Errors) {
    let list = spec.child("containers");
    if list.is_empty() {
        errors.push(list.required(""));
        return;
    }
    let mut seen = Vec::new();
    for container in list.items() {
        common(pod, &container, errors);
        let name = container.child("name");
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
        lasting(pod, &container, errors);
        restart_rules(&container, errors);
    }
    host_ports(list.items(), errors);
}

/// What containers that keep running may have: hooks and probes.
fn lasting(pod: &Pod<'_>, container: &At<'_>, errors: &mut Errors) {
    probe::lifecycle(pod.grace_seconds, pod.os, &container.child("lifecycle"), errors);
    probe::liveness(&container.child("livenessProbe"), errors);
    probe::readiness(&container.child("readinessProbe"), errors);
    probe::liveness(&container.child("startupProbe"), errors);
}

/// Init containers.
pub(super) fn init(pod: &Pod<'_>, spec: &At<'_>, errors: &mut Errors) {
    let mut seen = names(spec, "containers");
    for container in spec.child("initContainers").items() {
        common(pod, &container, errors);
        restart_rules(&container, errors);
        let name = container.child("name");
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        } else if !name.text().is_empty() {
            seen.push(name.text());
        }
        host_ports(std::iter::once(container.clone()), errors);
        if container.child("restartPolicy").text() == "Always" {
            lasting(pod, &container, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"].map(|key| container.child(key)) {
            if field.is_set() {
                errors.push(field.forbidden("may not be set for init containers without restartPolicy=Always"));
            }
        }
        for policy in container.child("resizePolicy").items().map(|policy| policy.child("restartPolicy")) {
            if policy.text() == "RestartContainer" {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(policy.invalid(detail));
            }
        }
    }
}

/// Containers added to a running pod.
pub(super) fn ephemeral(pod: &Pod<'_>, spec: &At<'_>, errors: &mut Errors) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let others = [names(spec, "containers"), names(spec, "initContainers")].concat();
    let mut seen = others.clone();
    for container in spec.child("ephemeralContainers").items() {
        common(pod, &container, errors);
        let name = container.child("name");
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        } else {
            seen.push(name.text());
        }
        let target = container.child("targetContainerName");
        if !target.text().is_empty() && !others.contains(&target.text()) {
            errors.push(FieldError::not_found(&target.path, target.text()));
        }
        let barred =
            ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"];
        for field in barred.map(|key| container.child(key)).into_iter().filter(|field| !field.is_empty()) {
            errors.push(field.forbidden(DETAIL));
        }
        for mount in container.child("volumeMounts").items() {
            let parts = ["subPath", "subPathExpr"].map(|key| mount.child(key));
            errors.extend(parts.iter().filter(|part| !part.is_empty()).map(|part| part.forbidden(DETAIL)));
        }
    }
}

/// What all containers must be.
fn common(pod: &Pod<'_>, container: &At<'_>, errors: &mut Errors) {
    container.child("name").required_content(dns1123_label, errors);
    let image = container.child("image");
    if image.text().is_empty() {
        errors.push(image.required(""));
    }
    container.child("terminationMessagePolicy").one_of(&["File", "FallbackToLogsOnError"], errors);
    ports(&container.child("ports"), errors);
    env::variables(&container.child("env"), errors);
    env::sources(&container.child("envFrom"), errors);
    mounts::mounts(pod, container, errors);
    mounts::devices(pod, container, errors);
    container.child("imagePullPolicy").one_of(&["Always", "IfNotPresent", "Never"], errors);
    resources::of_container(&container.child("resources"), &pod.claims, errors);
    resize_policies(pod, &container.child("resizePolicy"), errors);
    security::of_container(&container.child("securityContext"), pod.host_users, errors);
}

fn ports(ports: &At<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.text().is_empty() {
            let sentences = port_name(name.text());
            if sentences.is_empty() && seen.contains(&name.text()) {
                errors.push(name.duplicate());
            }
            seen.push(name.text());
            errors.extend(sentences.into_iter().map(|detail| name.invalid(detail)));
        }
        let own = port.child("containerPort");
        if own.number() == 0 {
            errors.push(own.required(""));
        } else {
            errors.extend(port_number(own.number()).into_iter().map(|detail| own.invalid(detail)));
        }
        let host = port.child("hostPort");
        if host.number() != 0 {
            errors.extend(port_number(host.number()).into_iter().map(|detail| host.invalid(detail)));
        }
        port.child("protocol").one_of(&PROTOCOLS, errors);
    }
}

/// A host's port goes to one container only.
fn host_ports<'a>(containers: impl Iterator<Item = At<'a>>, errors: &mut Errors) {
    let mut taken = Vec::new();
    for container in containers {
        for port in container.child("ports").items() {
            let host = port.child("hostPort");
            if host.number() == 0 {
                continue;
            }
            let (protocol, ip) = (port.child("protocol").text(), port.child("hostIP").text());
            let claim = format!("{protocol}/{ip}/{}", host.number());
            if taken.contains(&claim) {
                errors.push(FieldError::duplicate(&host.path, claim));
            } else {
                taken.push(claim);
            }
        }
    }
}

fn restart_rules(container: &At<'_>, errors: &mut Errors) {
    let (policy, rules) = (container.child("restartPolicy"), container.child("restartPolicyRules"));
    if policy.is_set() {
        policy.optional_one_of(&["Always", "Never", "OnFailure"], errors);
    } else if !rules.is_empty() {
        errors.push(policy.required("must specify restartPolicy when restart rules are used"));
    }
    if rules.len() > RESTART_RULES_MAX {
        errors.push(FieldError::too_many(&rules.path, rules.len(), RESTART_RULES_MAX));
    }
    for rule in rules.items() {
        let (action, codes) = (rule.child("action"), rule.child("exitCodes"));
        if !matches!(action.text(), "Restart" | "RestartAllContainers") {
            errors.push(FieldError::not_supported(&action.path, action.text(), &["Restart", "RestartAllContainers"]));
        }
        if !codes.is_set() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        let (operator, values) = (codes.child("operator"), codes.child("values"));
        if !matches!(operator.text(), "In" | "NotIn") {
            errors.push(FieldError::not_supported(&operator.path, operator.text(), &["In", "NotIn"]));
        }
        if values.len() > EXIT_CODES_MAX {
            errors.push(FieldError::too_many(&values.path, values.len(), EXIT_CODES_MAX));
        }
    }
}

fn resize_policies(pod: &Pod<'_>, policies: &At<'_>, errors: &mut Errors) {
    let about = |value: &At<'_>, allowed: &[&str], errors: &mut Errors| {
        At::new(Some(value.value()), policies.path.clone()).one_of(allowed, errors);
    };
    let mut seen = Vec::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.child("resourceName"), policy.child("restartPolicy"));
        if seen.contains(&resource.text()) {
            errors.push(FieldError::duplicate(&policy.path, resource.text()));
        }
        seen.push(resource.text());
        about(&resource, &["cpu", "memory"], errors);
        about(&restart, &["NotRequired", "RestartContainer"], errors);
        if pod.restart_policy == "Never" && restart.text() != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&policies.path, restart.text(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_container};
    use super::*;
    use serde_json::json;

    #[test]
    fn fields() {
        check_container(json!({"name": ""}), &["spec.containers[0].name: Required value"]);
        check_container(
            json!({"name": "a.b"}),
            &["spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"],
        );
        check_container(json!({"image": ""}), &["spec.containers[0].image: Required value"]);
        check_container(
            json!({"imagePullPolicy": "Odd"}),
            &["spec.containers[0].imagePullPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \
               \"IfNotPresent\", \"Never\""],
        );
        check_container(
            json!({"ports": [{"containerPort": 0}, {"containerPort": 70000, "name": "A", "protocol": "X"}]}),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].name: Invalid value: \"A\": must contain only alpha-numeric characters (a-z, \
                 0-9), and hyphens (-)",
                "spec.containers[0].ports[1].name: Invalid value: \"A\": must contain at least one letter (a-z)",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \
                 \"UDP\"",
            ],
        );
    }

    #[test]
    fn names_and_host_ports() {
        let with_port =
            |name: &str| json!({"name": name, "image": "i:1", "ports": [{"containerPort": 1, "hostPort": 80}]});
        check(
            json!({"containers": [with_port("a"), with_port("a")]}),
            &[
                "spec.containers[1].name: Duplicate value: \"a\"",
                "spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\"",
            ],
        );
        check(
            json!({"initContainers": [{"name": "c", "image": "i:1"}]}),
            &["spec.initContainers[0].name: Duplicate value: \"c\""],
        );
    }

    #[test]
    fn init_containers() {
        let with = |policy: Value| {
            json!({"initContainers": [{"name": "i", "image": "i:1", "restartPolicy": policy,
                "livenessProbe": {"exec": {"command": ["x"]}}}]})
        };
        check(with(json!("Always")), &[]);
        check(
            with(Value::Null),
            &["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without \
               restartPolicy=Always"],
        );
    }

    #[test]
    fn restart_rules_need_a_policy() {
        check_container(
            json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}),
            &[
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ],
        );
    }
}
