//! Security contexts of pods and containers.

use super::super::FieldError;
use super::super::at::{At, Errors};

/// Longest name of a sysctl.
const SYSCTL_MAX: usize = 253;
/// Longest path of a profile on the node.
const PROFILE_PATH_MAX: usize = 4095;

/// The security context of a pod spec.
pub(super) fn of_pod(spec: &At<'_>, errors: &mut Errors) {
    let context = spec.child("securityContext");
    for id in ["fsGroup", "runAsUser", "runAsGroup"] {
        context.child(id).id(errors);
    }
    context.child("supplementalGroups").items().for_each(|group| group.id(errors));
    let share = spec.child("shareProcessNamespace");
    if share.is_true() && spec.child("hostPID").is_true() {
        let path = context.path.child("shareProcessNamespace");
        errors.push(FieldError::invalid(&path, true, "ShareProcessNamespace and HostPID cannot both be enabled"));
    }
    sysctls(spec, &context.child("sysctls"), errors);
    context.child("fsGroupChangePolicy").optional_one_of(&["Always", "OnRootMismatch"], errors);
    seccomp(&context.child("seccompProfile"), errors);
    app_armor(&context.child("appArmorProfile"), errors);
    context.child("supplementalGroupsPolicy").optional_one_of(&["Merge", "Strict"], errors);
    context.child("seLinuxChangePolicy").optional_one_of(&["MountOption", "Recursive"], errors);
}

/// The security context of a container.
pub(super) fn of_container(context: &At<'_>, host_users: bool, errors: &mut Errors) {
    if !context.is_set() {
        return;
    }
    context.child("runAsUser").id(errors);
    context.child("runAsGroup").id(errors);
    let mount = context.child("procMount");
    mount.optional_one_of(&["Default", "Unmasked"], errors);
    if host_users && mount.text() == "Unmasked" {
        errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
    }
    seccomp(&context.child("seccompProfile"), errors);
    if context.child("allowPrivilegeEscalation").value() == &serde_json::Value::Bool(false) {
        if context.child("privileged").is_true() {
            errors.push(context.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        if context.child("capabilities").child("add").items().any(|name| name.text() == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(context.invalid(detail));
        }
    }
    app_armor(&context.child("appArmorProfile"), errors);
}

/// Users of their own do not mix with namespaces of the host.
pub(super) fn host_users(spec: &At<'_>, errors: &mut Errors) {
    if spec.child("hostUsers").value() != &serde_json::Value::Bool(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.child(field).is_true() {
            errors.push(FieldError::forbidden(&spec.path.child(shown), "when `hostUsers` is false"));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(part)
}

fn sysctls(spec: &At<'_>, list: &At<'_>, errors: &mut Errors) {
    const IPC: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    let mut seen = Vec::new();
    for name in list.items().map(|sysctl| sysctl.child("name")) {
        let text = name.text();
        if text.is_empty() {
            errors.push(name.required(""));
        } else if !is_sysctl(text) {
            errors.push(name.invalid(format!(
                "must have at most {SYSCTL_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            )));
        } else if seen.contains(&text) {
            errors.push(name.duplicate());
        }
        seen.push(text);
        let dotted = text.replace('/', ".");
        if spec.child("hostNetwork").is_true() && dotted.starts_with("net.") {
            errors.push(name.invalid("may not be specified when 'hostNetwork' is true"));
        }
        if spec.child("hostIPC").is_true() && IPC.iter().any(|prefix| dotted.starts_with(prefix)) {
            errors.push(name.invalid("may not be specified when 'hostIPC' is true"));
        }
    }
}

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(profile: &At<'_>, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, path) = (profile.child("type"), profile.child("localhostProfile"));
    if kind.text().is_empty() {
        errors.push(kind.required("type is required when seccompProfile is set"));
    } else {
        kind.optional_one_of(&PROFILE_TYPES, errors);
    }
    match (kind.text() == "Localhost", path.is_set()) {
        (true, false) => errors.push(path.required("must be set when seccomp type is Localhost")),
        (true, true) => {
            if path.text().starts_with('/') {
                errors.push(path.invalid("must be a relative path"));
            }
            super::mounts::no_backsteps(&path, errors);
        }
        (false, true) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(path.invalid_value(profile.value().clone(), detail));
        }
        (false, false) => {}
    }
}

fn app_armor(profile: &At<'_>, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, path) = (profile.child("type"), profile.child("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            if path.text().trim() != path.text() {
                errors.push(path.invalid("must not be padded with whitespace"));
            } else if path.text().is_empty() {
                errors.push(path.required("must be set when AppArmor type is Localhost"));
            }
            if path.text().len() > PROFILE_PATH_MAX {
                errors.push(FieldError::too_long(&path.path, PROFILE_PATH_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if path.is_set() {
                errors.push(path.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errors.push(kind.required("type is required when appArmorProfile is set")),
        _ => errors.push(kind.not_supported(&PROFILE_TYPES)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_container};
    use serde_json::json;

    #[test]
    fn pods() {
        check(
            json!({"securityContext": {"runAsUser": -1, "supplementalGroups": [5]}}),
            &["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
        );
        check(
            json!({"shareProcessNamespace": true, "hostPID": true}),
            &[
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot \
               both be enabled",
            ],
        );
        check(
            json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.x", "value": "1"}]}}),
            &["spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.x\": may not be specified when \
               'hostNetwork' is true"],
        );
        check(json!({"hostUsers": false, "hostPID": true}), &["spec.HostPID: Forbidden: when `hostUsers` is false"]);
    }

    #[test]
    fn containers() {
        let at = "spec.containers[0].securityContext";
        check_container(
            json!({"securityContext": {"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}}}),
            &[],
        );
        check_container(
            json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
            &[&format!(
                "{at}.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"
            )],
        );
        check_container(
            json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
            &[&format!(
                "{at}: Invalid value: {{\"allowPrivilegeEscalation\":false,\"privileged\":true}}: cannot set \
                        `allowPrivilegeEscalation` to false and `privileged` to true"
            )],
        );
        check_container(
            json!({"securityContext": {"procMount": "Unmasked"}}),
            &[&format!("{at}.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`")],
        );
    }
}
