//! Pods that this node does not run, as the kubelet does not: they ask for what would be dangerous to leave out.

use std::sync::LazyLock;

use decide::pod_lifecycle::PodFailure;
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod};

use super::sandbox::fqdn;
use crate::runtime::Features;

/// Longest host name that the kernel takes.
const FQDN_MAX: usize = 64;

/// What the node can do beside what all can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Able {
    /// Of the runtime.
    pub(super) features: Features,
    /// The kernel has AppArmor, switched on.
    pub(super) app_armor: bool,
}

/// Whether the kernel has AppArmor, which it has from its boot on or not at all.
pub(super) static APP_ARMOR: LazyLock<bool> = LazyLock::new(|| {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
});

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// Why the pod fails here at once.
pub(super) fn refused(pod: &Pod, able: Able) -> Option<PodFailure> {
    let failure = |reason: &str, message: &str| PodFailure { reason: reason.to_owned(), message: message.to_owned() };
    let spec = pod.spec.as_ref()?;
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        return Some(failure("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"));
    }
    let whole = spec.security_context.as_ref();
    let strict = whole.and_then(|context| context.supplemental_groups_policy.as_deref()) == Some("Strict");
    if strict && !able.features.strict_groups {
        let text = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return Some(failure("SupplementalGroupsPolicyNotSupported", text));
    }
    let asks =
        |profile: &Option<AppArmorProfile>| profile.as_ref().is_some_and(|profile| profile.type_ != "Unconfined");
    let confined = whole.is_some_and(|context| asks(&context.app_armor_profile))
        || containers(pod).any(|c| c.security_context.as_ref().is_some_and(|own| asks(&own.app_armor_profile)));
    if confined && !able.app_armor {
        return Some(failure("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"));
    }
    None
}

/// Why no sandbox is made for the pod; it waits.
pub(super) fn waits(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = fqdn(pod).filter(|name| name.len() > FQDN_MAX) {
        return Some(format!(
            "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {name} is too long ({FQDN_MAX} characters \
             is the max, {} characters requested)",
            name.len()
        ));
    }
    let mut fields = Vec::new();
    let mut ask = |on: bool, field: String| fields.extend(on.then_some(field));
    ask(spec.runtime_class_name.is_some(), "spec.runtimeClassName".to_owned());
    ask(spec.host_users == Some(false), "spec.hostUsers".to_owned());
    ask(has(&spec.resource_claims), "spec.resourceClaims".to_owned());
    let lists = [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let at = format!("spec.{list}[{index}]");
            ask(has(&container.volume_devices), format!("{at}.volumeDevices"));
            let claims = container.resources.as_ref().is_some_and(|resources| has(&resources.claims));
            ask(claims, format!("{at}.resources.claims"));
        }
    }
    (!fields.is_empty()).then(|| format!("not supported by this node: {}", fields.join(", ")))
}

fn has<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        let mut pod = Pod { spec: Some(serde_json::from_str(spec).unwrap()), ..Default::default() };
        pod.metadata.name = Some("p".to_owned());
        pod.metadata.namespace = Some("ns".to_owned());
        pod
    }

    #[test]
    fn pods_fail_that_the_node_can_not_confine() {
        let all = Able { features: Features { strict_groups: true, recursive_read_only: true }, app_armor: true };
        let none = Able { features: Features::default(), app_armor: false };
        for (spec, reason) in [
            (r#"{"containers":[{"name":"c"}],"os":{"name":"linux"}}"#, None),
            (
                r#"{"containers":[],"securityContext":{"supplementalGroupsPolicy":"Strict"}}"#,
                Some("SupplementalGroupsPolicyNotSupported"),
            ),
            (r#"{"containers":[],"securityContext":{"appArmorProfile":{"type":"RuntimeDefault"}}}"#, Some("AppArmor")),
            (
                r#"{"containers":[{"name":"c","securityContext":{"appArmorProfile":{"type":"Localhost"}}}]}"#,
                Some("AppArmor"),
            ),
            (r#"{"containers":[{"name":"c","securityContext":{"appArmorProfile":{"type":"Unconfined"}}}]}"#, None),
        ] {
            assert_eq!(refused(&pod(spec), none).map(|f| f.reason).as_deref(), reason, "{spec}");
            assert_eq!(refused(&pod(spec), all), None, "{spec}");
        }
        let windows = pod(r#"{"containers":[],"os":{"name":"windows"}}"#);
        assert_eq!(refused(&windows, all).unwrap().reason, "PodOSNotSupported");
    }

    #[test]
    fn pods_wait_for_what_is_not_here() {
        for (spec, expect) in [
            (r#"{"containers":[{"name":"c"}]}"#, None),
            (
                r#"{"runtimeClassName":"x","hostUsers":false,"resourceClaims":[{"name":"r"}],"containers":[{"name":"a"},
                    {"name":"c","volumeDevices":[{"devicePath":"/d","name":"v"}]}],
                    "initContainers":[{"name":"i","resources":{"claims":[{"name":"x"}]}}]}"#,
                Some(
                    "not supported by this node: spec.runtimeClassName, spec.hostUsers, spec.resourceClaims, \
                     spec.containers[1].volumeDevices, spec.initContainers[0].resources.claims",
                ),
            ),
            (r#"{"setHostnameAsFQDN":true,"subdomain":"s","containers":[]}"#, None),
        ] {
            assert_eq!(waits(&pod(spec)).as_deref(), expect, "{spec}");
        }
        let long = format!(r#"{{"setHostnameAsFQDN":true,"subdomain":"{}","containers":[]}}"#, "s".repeat(50));
        assert!(
            waits(&pod(&long)).unwrap().contains("is too long (64 characters is the max, 73 characters requested)")
        );
    }
}
