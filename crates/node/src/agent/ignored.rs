//! What a pod asks for that this node does not do: told, never silently left out.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, PodSecurityContext, PodSpec, SecurityContext};

/// The fields that have no effect here, by their path.
pub(super) fn ignored(pod: &Pod) -> Vec<String> {
    let mut fields = Vec::new();
    let Some(spec) = &pod.spec else { return fields };
    let default = PodSecurityContext::default();
    let of_pod = spec.security_context.as_ref().unwrap_or(&default);
    name(&mut fields, "spec", &whole(spec));
    name(&mut fields, "spec.securityContext", &of_whole(of_pod));
    let lists = [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let at = format!("spec.{list}[{index}]");
            name(&mut fields, &at, &of_container(container));
            if let Some(own) = &container.security_context {
                name(&mut fields, &format!("{at}.securityContext"), &of_one(own));
            }
        }
    }
    fields
}

fn name(fields: &mut Vec<String>, parent: &str, asked: &[(bool, &str)]) {
    fields.extend(asked.iter().filter(|(on, _)| *on).map(|(_, field)| format!("{parent}.{field}")));
}

fn has<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn app_armor(profile: &Option<AppArmorProfile>) -> bool {
    profile.as_ref().is_some_and(|profile| profile.type_ != "Unconfined")
}

fn whole(spec: &PodSpec) -> [(bool, &'static str); 6] {
    [
        (spec.runtime_class_name.is_some(), "runtimeClassName"),
        (spec.host_users == Some(false), "hostUsers"),
        (has(&spec.resource_claims), "resourceClaims"),
        (spec.resources.is_some(), "resources"),
        (spec.set_hostname_as_fqdn == Some(true), "setHostnameAsFQDN"),
        (has(&spec.ephemeral_containers), "ephemeralContainers"),
    ]
}

fn of_whole(context: &PodSecurityContext) -> [(bool, &'static str); 4] {
    [
        (app_armor(&context.app_armor_profile), "appArmorProfile"),
        (context.se_linux_options.is_some(), "seLinuxOptions"),
        (context.supplemental_groups_policy.as_deref() == Some("Strict"), "supplementalGroupsPolicy"),
        (context.windows_options.is_some(), "windowsOptions"),
    ]
}

fn of_container(container: &Container) -> [(bool, &'static str); 4] {
    let recursive = |mounts: &Vec<_>| {
        mounts.iter().any(|mount: &k8s_openapi::api::core::v1::VolumeMount| {
            mount.recursive_read_only.as_deref() == Some("Enabled")
        })
    };
    [
        (has(&container.volume_devices), "volumeDevices"),
        (container.volume_mounts.as_ref().is_some_and(recursive), "volumeMounts.recursiveReadOnly"),
        (has(&container.restart_policy_rules), "restartPolicyRules"),
        (container.resources.as_ref().is_some_and(|r| has(&r.claims)), "resources.claims"),
    ]
}

fn of_one(context: &SecurityContext) -> [(bool, &'static str); 3] {
    [
        (app_armor(&context.app_armor_profile), "appArmorProfile"),
        (context.se_linux_options.is_some(), "seLinuxOptions"),
        (context.windows_options.is_some(), "windowsOptions"),
    ]
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
                "spec.runtimeClassName",
            ),
            (
                r#"{"securityContext":{"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"c",
                    "securityContext":{"seccompProfile":{"type":"Unconfined"},"appArmorProfile":{"type":"RuntimeDefault"}}}]}"#,
                "spec.containers[0].securityContext.appArmorProfile",
            ),
            (
                r#"{"initContainers":[{"name":"i","lifecycle":{"stopSignal":"SIGINT"},"restartPolicyRules":[{"action":"Restart"}],
                    "resources":{"claims":[{"name":"x"}]},"securityContext":{"seLinuxOptions":{},"windowsOptions":{}},
                    "volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"w","mountPath":"/w","recursiveReadOnly":"Enabled"}]}],
                    "containers":[]}"#,
                "spec.initContainers[0].volumeMounts.recursiveReadOnly \
                 spec.initContainers[0].restartPolicyRules spec.initContainers[0].resources.claims \
                 spec.initContainers[0].securityContext.seLinuxOptions spec.initContainers[0].securityContext.windowsOptions",
            ),
            (
                r#"{"setHostnameAsFQDN":true,"resources":{},"ephemeralContainers":[{"name":"e"}],"hostUsers":false,
                    "securityContext":{"supplementalGroupsPolicy":"Strict","windowsOptions":{},"seLinuxOptions":{}},"containers":[]}"#,
                "spec.hostUsers spec.resources spec.setHostnameAsFQDN spec.ephemeralContainers \
                 spec.securityContext.seLinuxOptions spec.securityContext.supplementalGroupsPolicy \
                 spec.securityContext.windowsOptions",
            ),
        ] {
            let pod = Pod { spec: Some(serde_json::from_str(spec).unwrap()), ..Default::default() };
            assert_eq!(ignored(&pod).join(" "), expect, "{spec}");
        }
    }
}
