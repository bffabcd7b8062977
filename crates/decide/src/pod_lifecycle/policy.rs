//! Restart policies.

use k8s_openapi::api::core::v1::{Container, Pod};

/// An init container that runs beside the others (`restartPolicy: Always`).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The pod's restart policy; the API server always sets one.
pub(super) fn pod_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether a container that ended with this exit code is started again. `init`: a completed one is done, whatever the
/// policy.
pub fn should_restart(pod: &Pod, container: &Container, init: bool, exit_code: i32) -> bool {
    if container.restart_policy.is_some() {
        for rule in container.restart_policy_rules.iter().flatten() {
            let Some(codes) = &rule.exit_codes else { continue };
            let listed = codes.values.as_ref().is_some_and(|v| v.contains(&exit_code));
            let matches = match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            };
            if matches && rule.action == "Restart" {
                return true;
            }
        }
    }
    match container.restart_policy.as_deref().unwrap_or(pod_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => !init || is_sidecar(container) || exit_code != 0,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerRestartRule, ContainerRestartRuleOnExitCodes};

    use super::*;
    use crate::pod_lifecycle::testing::pod;

    #[test]
    fn exit_codes_decide() {
        let rule = |operator: &str, values: &[i32]| ContainerRestartRule {
            action: "Restart".to_owned(),
            exit_codes: Some(ContainerRestartRuleOnExitCodes {
                operator: operator.to_owned(),
                values: Some(values.to_vec()),
            }),
        };
        for (own, rules, code, expect) in [
            (Some("Never"), vec![rule("In", &[42])], 42, true),
            (Some("Never"), vec![rule("In", &[42])], 1, false),
            (Some("Never"), vec![rule("In", &[1]), rule("NotIn", &[7])], 42, true),
            (Some("Never"), vec![rule("NotIn", &[7])], 7, false),
            (Some("OnFailure"), vec![rule("In", &[42])], 1, true),
            // Without a policy of its own a container has no rules.
            (None, vec![rule("In", &[42])], 42, false),
        ] {
            let mut pod = pod("Never", &[], &["a"]);
            let container = &mut pod.spec.as_mut().unwrap().containers[0];
            container.restart_policy = own.map(str::to_owned);
            container.restart_policy_rules = Some(rules);
            let container = container.clone();
            assert_eq!(should_restart(&pod, &container, false, code), expect, "{own:?} {code}");
        }
    }

    #[test]
    fn restarts() {
        let cases = [
            ("Always", None, false, 0, true),
            ("Always", None, true, 0, false),
            ("Always", None, true, 1, true),
            ("Always", Some("Always"), true, 0, true),
            ("Never", Some("Always"), true, 0, true),
            ("OnFailure", None, false, 0, false),
            ("OnFailure", None, false, 2, true),
            ("Never", None, false, 2, false),
            ("Always", Some("Never"), false, 2, false),
        ];
        for (policy, own, init, code, expect) in cases {
            let mut pod = pod(policy, &[], &["a"]);
            let container = &mut pod.spec.as_mut().unwrap().containers[0];
            container.restart_policy = own.map(str::to_owned);
            let container = container.clone();
            assert_eq!(should_restart(&pod, &container, init, code), expect, "{policy} {own:?} {init} {code}");
        }
    }
}
