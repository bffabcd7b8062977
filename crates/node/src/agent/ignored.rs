//! What a pod asks for that has no effect here: told, never silently left out.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};

/// The fields that have no effect here, by their path.
pub(super) fn ignored(pod: &Pod) -> Vec<String> {
    let mut fields = Vec::new();
    let Some(spec) = &pod.spec else { return fields };
    let default = PodSecurityContext::default();
    let of_pod = spec.security_context.as_ref().unwrap_or(&default);
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

fn of_whole(context: &PodSecurityContext) -> [(bool, &'static str); 3] {
    [
        (context.se_linux_options.is_some(), "seLinuxOptions"),
        (context.se_linux_change_policy.is_some(), "seLinuxChangePolicy"),
        (context.windows_options.is_some(), "windowsOptions"),
    ]
}

fn of_container(container: &Container) -> [(bool, &'static str); 1] {
    let rules = container.restart_policy_rules.iter().flatten();
    [(rules.into_iter().any(|rule| rule.action != "Restart"), "restartPolicyRules.action")]
}

fn of_one(context: &SecurityContext) -> [(bool, &'static str); 2] {
    [(context.se_linux_options.is_some(), "seLinuxOptions"), (context.windows_options.is_some(), "windowsOptions")]
}

#[cfg(test)]
#[path = "pod_spec_tests.rs"]
mod pod_spec;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named() {
        for (spec, expect) in [
            (r#"{"containers":[{"name":"c"}]}"#, ""),
            (
                r#"{"initContainers":[{"name":"i","restartPolicyRules":[{"action":"Restart"},{"action":"RestartAllContainers"}],
                    "securityContext":{"seLinuxOptions":{},"windowsOptions":{}}}],"containers":[]}"#,
                "spec.initContainers[0].restartPolicyRules.action spec.initContainers[0].securityContext.seLinuxOptions \
                 spec.initContainers[0].securityContext.windowsOptions",
            ),
            (
                r#"{"containers":[],
                    "securityContext":{"windowsOptions":{},"seLinuxOptions":{},"seLinuxChangePolicy":"Recursive"}}"#,
                "spec.securityContext.seLinuxOptions spec.securityContext.seLinuxChangePolicy \
                 spec.securityContext.windowsOptions",
            ),
        ] {
            let pod = Pod { spec: Some(serde_json::from_str(spec).unwrap()), ..Default::default() };
            assert_eq!(ignored(&pod).join(" "), expect, "{spec}");
        }
    }
}
