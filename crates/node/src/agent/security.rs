//! securityContext of pod and container, merged.

use std::path::Path;

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SeccompProfile};

use crate::runtime::{AppArmor, Seccomp, SecurityConfig};

/// runAsNonRoot can't be kept.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SecurityError {
    /// It would be root.
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    RunAsRoot {
        /// NAME_NAMESPACE(UID).
        pod: String,
        /// Its name.
        container: String,
    },
    /// The image would run as root.
    #[error("container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})")]
    ImageRoot {
        /// NAME_NAMESPACE(UID).
        pod: String,
        /// Its name.
        container: String,
    },
    /// Nobody knows who that user is before the container runs.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    ImageName {
        /// User of the image.
        user: String,
        /// NAME_NAMESPACE(UID).
        pod: String,
        /// Its name.
        container: String,
    },
}

/// What holds for this container; the container's own settings win.
/// `profiles` is where files of seccomp profiles may lie: the first place that has one counts.
pub(crate) fn security(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    profiles: &[&Path],
) -> Result<SecurityConfig, SecurityError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        check_non_root(pod, container, run_as_user, image_user)?;
    }
    let capabilities = own.capabilities.unwrap_or_default();
    let plain = |list: Option<Vec<String>>| -> Vec<String> {
        list.unwrap_or_default().into_iter().map(|c| c.trim_start_matches("CAP_").to_ascii_uppercase()).collect()
    };
    let privileged = own.privileged == Some(true);
    let mut groups = of_pod.supplemental_groups.unwrap_or_default();
    if let Some(group) = of_pod.fs_group.filter(|g| !groups.contains(g)) {
        groups.push(group);
    }
    Ok(SecurityConfig {
        privileged,
        add_capabilities: plain(capabilities.add),
        drop_capabilities: plain(capabilities.drop),
        run_as_user,
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        supplemental_groups: groups,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false) && !privileged,
        seccomp: seccomp(own.seccomp_profile.or(of_pod.seccomp_profile), profiles),
        app_armor: app_armor(own.app_armor_profile.or(of_pod.app_armor_profile)),
        strict_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        unmasked_proc: privileged || own.proc_mount.as_deref() == Some("Unmasked"),
    })
}

/// Kubernetes leaves containers that ask for nothing unconfined.
fn seccomp(profile: Option<SeccompProfile>, profiles: &[&Path]) -> Seccomp {
    let Some(profile) = profile else { return Seccomp::Unconfined };
    match profile.type_.as_str() {
        "RuntimeDefault" => Seccomp::RuntimeDefault,
        "Localhost" => {
            let name = profile.localhost_profile.unwrap_or_default();
            let mut places = profiles.iter().map(|place| place.join(&name));
            // Where none has it, the first is named: it is ours.
            let first = places.next().unwrap_or_default();
            let found = if first.exists() { None } else { places.find(|place| place.exists()) };
            Seccomp::Localhost(found.unwrap_or(first))
        }
        _ => Seccomp::Unconfined,
    }
}

fn app_armor(profile: Option<AppArmorProfile>) -> AppArmor {
    let Some(profile) = profile else { return AppArmor::Unset };
    match profile.type_.as_str() {
        "RuntimeDefault" => AppArmor::RuntimeDefault,
        "Localhost" => AppArmor::Localhost(profile.localhost_profile.unwrap_or_default()),
        _ => AppArmor::Unconfined,
    }
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    run_as_user: Option<i64>,
    image_user: &str,
) -> Result<(), SecurityError> {
    let (pod, container) = (super::pod_words(pod), container.name.clone());
    match run_as_user {
        Some(0) => return Err(SecurityError::RunAsRoot { pod, container }),
        Some(_) => return Ok(()),
        None => {}
    }
    let user = image_user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(0) => Err(SecurityError::ImageRoot { pod, container }),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() || user == "root" => Err(SecurityError::ImageRoot { pod, container }),
        Err(_) => Err(SecurityError::ImageName { user: user.to_owned(), pod, container }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec, SecurityContext};

    #[test]
    fn the_containers_own_profile_wins() {
        let profile = |kind: &str| SeccompProfile {
            type_: kind.to_owned(),
            localhost_profile: (kind == "Localhost").then(|| "a/b.json".to_owned()),
        };
        for (of_pod, own, want) in [
            (None, None, Seccomp::Unconfined),
            (Some("RuntimeDefault"), None, Seccomp::RuntimeDefault),
            (Some("RuntimeDefault"), Some("Unconfined"), Seccomp::Unconfined),
            (Some("Unconfined"), Some("Localhost"), Seccomp::Localhost("/d/seccomp/a/b.json".into())),
        ] {
            let context = PodSecurityContext { seccomp_profile: of_pod.map(profile), ..Default::default() };
            let spec = PodSpec { security_context: Some(context), ..Default::default() };
            let context = SecurityContext { seccomp_profile: own.map(profile), ..Default::default() };
            let container = Container { security_context: Some(context), ..Default::default() };
            let pod = Pod { spec: Some(spec), ..Default::default() };
            assert_eq!(security(&pod, &container, "", &[Path::new("/d/seccomp")]).unwrap().seccomp, want);
        }
    }

    #[test]
    fn a_profile_is_taken_from_the_first_place_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let (own, kubelets) = (dir.path().join("own"), dir.path().join("kubelets"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&kubelets).unwrap();
        let profile = || SeccompProfile { type_: "Localhost".to_owned(), localhost_profile: Some("p".to_owned()) };
        let found = || seccomp(Some(profile()), &[&own, &kubelets]);
        assert_eq!(found(), Seccomp::Localhost(own.join("p")));
        std::fs::write(kubelets.join("p"), "").unwrap();
        assert_eq!(found(), Seccomp::Localhost(kubelets.join("p")));
        std::fs::write(own.join("p"), "").unwrap();
        assert_eq!(found(), Seccomp::Localhost(own.join("p")));
    }

    #[test]
    fn non_root() {
        for (of_pod, own, image, works) in [
            (None, None, "", false),
            (None, None, "0:0", false),
            (None, None, "65532", true),
            (None, None, "nobody", false),
            (Some(1000), None, "", true),
            (Some(1000), Some(0), "", false),
        ] {
            let pod = Pod {
                spec: Some(PodSpec {
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: of_pod,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let container = Container {
                security_context: Some(SecurityContext { run_as_user: own, ..Default::default() }),
                ..Default::default()
            };
            let result = security(&pod, &container, image, &[]);
            assert_eq!(result.is_ok(), works, "{of_pod:?} {own:?} {image:?}");
        }
    }
}
