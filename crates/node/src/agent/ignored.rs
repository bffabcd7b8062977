//! What a pod asks for that this node does not do: told, never silently left out.

use k8s_openapi::api::core::v1::{Pod, SeccompProfile};

/// The fields that have no effect here, by their path.
pub(super) fn ignored(pod: &Pod) -> Vec<String> {
    let mut fields = Vec::new();
    let Some(spec) = &pod.spec else { return fields };
    let localhost = |profile: &Option<SeccompProfile>| profile.as_ref().is_some_and(|p| p.type_ == "Localhost");
    let of_pod = spec.security_context.as_ref();
    for (on, field) in [
        (spec.runtime_class_name.is_some(), "spec.runtimeClassName"),
        (spec.host_users == Some(false), "spec.hostUsers"),
        (spec.resource_claims.as_ref().is_some_and(|l| !l.is_empty()), "spec.resourceClaims"),
        (of_pod.is_some_and(|c| localhost(&c.seccomp_profile)), "spec.securityContext.seccompProfile"),
        (of_pod.is_some_and(|c| c.se_linux_options.is_some()), "spec.securityContext.seLinuxOptions"),
    ] {
        if on {
            fields.push(field.to_owned());
        }
    }
    let lists = [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let own = container.security_context.as_ref();
            let at = |field: &str| format!("spec.{list}[{index}].{field}");
            if own.is_some_and(|c| localhost(&c.seccomp_profile)) {
                fields.push(at("securityContext.seccompProfile"));
            }
            if container.volume_devices.as_ref().is_some_and(|l| !l.is_empty()) {
                fields.push(at("volumeDevices"));
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named() {
        for (spec, expect) in [
            (r#"{"containers":[{"name":"c"}]}"#, ""),
            (
                r#"{"containers":[{"name":"a"},{"name":"c","volumeDevices":[{"devicePath":"/d","name":"v"}]}]}"#,
                "spec.containers[1].volumeDevices",
            ),
            (
                r#"{"runtimeClassName":"x","securityContext":{"seccompProfile":{"type":"Localhost"}},"containers":[]}"#,
                "spec.runtimeClassName spec.securityContext.seccompProfile",
            ),
            (r#"{"securityContext":{"seccompProfile":{"type":"RuntimeDefault"}},"containers":[]}"#, ""),
        ] {
            let pod = Pod { spec: Some(serde_json::from_str(spec).unwrap()), ..Default::default() };
            assert_eq!(ignored(&pod).join(" "), expect, "{spec}");
        }
    }
}
