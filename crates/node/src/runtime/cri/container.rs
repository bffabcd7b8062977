//! Containers in the interface's words, there and back.
//!
//! # Invariants
//! Pure: the image's user comes in as [`ImageUser`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::info::Inside;
use super::proto::container as cri;
use super::proto::container::{ProfileType, SecurityProfile};
use super::proto::{Int64Value, Pairs, sandbox as cri_sandbox};
use super::sandbox::{labels, namespaces, text, time};
use crate::runtime::embedded::{MASKED_PATHS, READONLY_PATHS};
use crate::runtime::{
    AppArmor, ContainerConfig, ContainerId, ContainerState, ContainerStatus, MountPropagation, NamespaceMode,
    ResourceConfig, SandboxConfig, SandboxId, Seccomp, SecurityConfig,
};

/// Label, as Kubernetes' own agent writes it.
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation, as Kubernetes' own agent writes it.
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: the image as the user wrote it; the runtime answers with a name of its own.
const IMAGE: &str = "everynode.dev/image";
/// Annotation: the signal that asks it to stop, where the pod has chosen one.
pub(super) const STOP_SIGNAL: &str = "everynode.dev/stop-signal";
/// Exit code of a container whose end nobody saw.
const LOST: i32 = 137;

/// Who an image wants its programs to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImageUser {
    /// A number; root where the image says nothing.
    Id(i64),
    /// A name, which only the image's own files explain.
    Name(String),
}

/// What a container is made from.
pub(super) fn config(
    owner: &str,
    sandbox: &SandboxConfig,
    container: ContainerConfig,
    user: &ImageUser,
) -> cri::ContainerConfig {
    let mut labels = labels(owner, sandbox);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    let mut annotations: Pairs =
        [(RESTART_COUNT.to_owned(), container.attempt.to_string()), (IMAGE.to_owned(), container.image.clone())].into();
    if !container.stop_signal.is_empty() {
        annotations.insert(STOP_SIGNAL.to_owned(), container.stop_signal.clone());
    }
    let mut mounts: Vec<cri::Mount> = container.mounts.iter().map(mount).collect();
    mounts.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name, attempt: container.attempt }),
        image: Some(cri::ImageSpec { image: container.image_id, user_specified_image: container.image }),
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        envs: container.env.into_iter().map(|(key, value)| cri::KeyValue { key, value }).collect(),
        mounts,
        labels,
        annotations,
        log_path: text(&container.log_path),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(&container.resources)),
            security_context: Some(security(sandbox, container.security, user, container.target)),
        }),
    }
}

fn mount(mount: &crate::runtime::Mount) -> cri::Mount {
    let propagation = match mount.propagation {
        MountPropagation::Private => cri::Propagation::Private,
        MountPropagation::HostToContainer => cri::Propagation::HostToContainer,
        MountPropagation::Bidirectional => cri::Propagation::Bidirectional,
    };
    cri::Mount {
        container_path: text(&mount.container_path),
        host_path: text(&mount.host_path),
        readonly: mount.readonly,
        propagation: propagation.into(),
        recursive_read_only: mount.readonly_below,
    }
}

fn resources(resources: &ResourceConfig) -> cri::Resources {
    let memory = resources.memory_limit.unwrap_or_default();
    cri::Resources {
        cpu_period: i64::try_from(resources.cpu_period).unwrap_or_default(),
        cpu_quota: resources.cpu_quota.unwrap_or_default(),
        cpu_shares: i64::try_from(resources.cpu_shares).unwrap_or_default(),
        memory_limit: memory,
        oom_score_adj: resources.oom_score_adj.into(),
        // Memory and swap together: no swap, as Kubernetes has it.
        memory_swap_limit: memory,
    }
}

fn security(
    sandbox: &SandboxConfig,
    security: SecurityConfig,
    user: &ImageUser,
    target: Option<ContainerId>,
) -> cri::SecurityContext {
    let mut namespaces = namespaces(sandbox);
    if let Some(target) = target.filter(|_| sandbox.pid == NamespaceMode::Container) {
        namespaces.pid = cri_sandbox::NamespaceMode::Target.into();
        namespaces.target_id = target.0;
    }
    let (run_as_user, run_as_username) = match (security.run_as_user, user) {
        (Some(value), _) => (Some(Int64Value { value }), String::new()),
        (None, ImageUser::Id(value)) => (Some(Int64Value { value: *value }), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
    };
    let paths = |list: &[&str]| -> Vec<String> {
        if security.privileged || security.unmasked_proc { &[] } else { list }.iter().map(|p| (*p).to_owned()).collect()
    };
    cri::SecurityContext {
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        capabilities: Some(cri::Capability { add: security.add_capabilities, drop: security.drop_capabilities }),
        privileged: security.privileged,
        namespaces: Some(namespaces),
        run_as_user,
        run_as_username,
        run_as_group: security.run_as_group.map(|value| Int64Value { value }),
        readonly_rootfs: security.readonly_rootfs,
        supplemental_groups: security.supplemental_groups,
        no_new_privs: security.no_new_privs,
        seccomp: Some(seccomp(&security.seccomp)),
        app_armor: app_armor(&security.app_armor),
        supplemental_groups_policy: security.strict_groups.into(),
    }
}

fn seccomp(asked: &Seccomp) -> SecurityProfile {
    let (kind, localhost) = match asked {
        Seccomp::Unconfined => (ProfileType::Unconfined, String::new()),
        Seccomp::RuntimeDefault => (ProfileType::RuntimeDefault, String::new()),
        Seccomp::Localhost(path) => (ProfileType::Localhost, text(path)),
    };
    SecurityProfile { kind: kind.into(), localhost }
}

fn app_armor(asked: &AppArmor) -> Option<SecurityProfile> {
    let (kind, localhost) = match asked {
        AppArmor::Unset => return None,
        AppArmor::Unconfined => (ProfileType::Unconfined, String::new()),
        AppArmor::RuntimeDefault => (ProfileType::RuntimeDefault, String::new()),
        AppArmor::Localhost(name) => (ProfileType::Localhost, name.clone()),
    };
    Some(SecurityProfile { kind: kind.into(), localhost })
}

/// What a container does.
pub(super) fn status(sandbox: &SandboxId, told: cri::ContainerStatus, inside: &Inside) -> ContainerStatus {
    let metadata = told.metadata.unwrap_or_default();
    let state = match cri::State::try_from(told.state) {
        Ok(cri::State::Created) => ContainerState::Created,
        Ok(cri::State::Running) => ContainerState::Running,
        // A container whose state the runtime has lost is one that it has been asked to end.
        Ok(cri::State::Exited | cri::State::Unknown) | Err(_) => ContainerState::Exited,
    };
    let lost = told.state == i32::from(cri::State::Unknown);
    let exited = state == ContainerState::Exited;
    let image = told.image.map(|spec| spec.image).unwrap_or_default();
    ContainerStatus {
        id: ContainerId(told.id),
        sandbox: sandbox.clone(),
        name: metadata.name,
        attempt: metadata.attempt,
        state,
        pid: inside.pid.filter(|_| state == ContainerState::Running),
        created_at: time(told.created_at).unwrap_or_default(),
        started_at: time(told.started_at),
        finished_at: time(told.finished_at).filter(|_| exited),
        exit_code: exited.then_some(if lost { LOST } else { told.exit_code }),
        reason: if lost { "ContainerStatusUnknown".to_owned() } else { told.reason },
        message: told.message,
        image: told.annotations.get(IMAGE).cloned().unwrap_or(image),
        image_id: told.image_ref,
        log_path: PathBuf::from(told.log_path),
    }
}

/// How long after an end the runtime may still learn that it was for want of memory.
const REASON_WITHIN: Duration = Duration::from_secs(5);

/// True when the status will not change before the container's state does.
pub(super) fn is_settled(status: &ContainerStatus, now: Timestamp) -> bool {
    match status.state {
        ContainerState::Created => true,
        ContainerState::Running => status.started_at.is_some() && status.pid.is_some(),
        ContainerState::Exited => {
            status.finished_at.is_some_and(|at| now.duration_since(at) > REASON_WITHIN.try_into().unwrap_or_default())
        }
    }
}

/// Whole seconds that are not less: the interface has no shorter times.
pub(super) fn seconds(time: Duration) -> i64 {
    let more = u64::from(time.subsec_nanos() > 0);
    i64::try_from(time.as_secs().saturating_add(more)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(security: SecurityConfig, user: &ImageUser) -> cri::ContainerConfig {
        let mount = |path: &str, propagation| crate::runtime::Mount {
            host_path: "/h".into(),
            container_path: path.into(),
            readonly: true,
            readonly_below: false,
            propagation,
        };
        let container = ContainerConfig {
            name: "c".to_owned(),
            attempt: 3,
            image: "busybox:1".to_owned(),
            image_id: "sha256:1".to_owned(),
            mounts: vec![mount("/a/b", MountPropagation::Bidirectional), mount("/a", MountPropagation::Private)],
            resources: ResourceConfig { memory_limit: Some(1 << 20), cpu_shares: 2, ..Default::default() },
            security,
            ..Default::default()
        };
        config("i/n", &SandboxConfig { uid: "u".to_owned(), ..Default::default() }, container, user)
    }

    #[test]
    fn a_container_is_told() {
        let made = made(SecurityConfig::default(), &ImageUser::Id(0));
        let paths: Vec<_> =
            made.mounts.iter().map(|m| (m.container_path.as_str(), m.propagation, m.readonly)).collect();
        assert_eq!(paths, [("/a", 0, true), ("/a/b", 2, true)], "what is mounted into comes first");
        assert_eq!((made.labels["io.kubernetes.pod.uid"].as_str(), made.labels[CONTAINER_NAME].as_str()), ("u", "c"));
        assert_eq!(made.annotations[RESTART_COUNT], "3");
        let linux = made.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!((resources.memory_limit, resources.memory_swap_limit, resources.cpu_shares), (1 << 20, 1 << 20, 2));
        let security = linux.security_context.unwrap();
        assert_eq!(security.masked_paths.len(), MASKED_PATHS.len(), "the runtime masks nothing unless told");
        assert_eq!(security.readonly_paths.len(), READONLY_PATHS.len());
        assert_eq!(security.run_as_user, Some(Int64Value { value: 0 }));
    }

    #[test]
    fn users() {
        for (own, image, want) in [
            (None, ImageUser::Id(5), (Some(5), "")),
            (None, ImageUser::Name("nobody".to_owned()), (None, "nobody")),
            (Some(7), ImageUser::Name("nobody".to_owned()), (Some(7), "")),
        ] {
            let security = SecurityConfig { run_as_user: own, unmasked_proc: true, ..Default::default() };
            let told = made(security, &image).linux.unwrap().security_context.unwrap();
            assert_eq!((told.run_as_user.map(|user| user.value), told.run_as_username.as_str()), want);
            assert!(told.masked_paths.is_empty() && told.readonly_paths.is_empty());
        }
    }

    fn told(state: cri::State) -> cri::ContainerStatus {
        cri::ContainerStatus {
            id: "a".to_owned(),
            metadata: Some(cri::ContainerMetadata { name: "c".to_owned(), attempt: 1 }),
            state: state.into(),
            created_at: 1_000_000_000,
            started_at: 2_000_000_000,
            finished_at: 3_000_000_000,
            exit_code: 4,
            reason: "Error".to_owned(),
            image: Some(cri::ImageSpec { image: "docker.io/library/busybox:1".to_owned(), ..Default::default() }),
            annotations: [(IMAGE.to_owned(), "busybox:1".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_status_is_read() {
        let inside = Inside { pid: Some(9), ..Default::default() };
        let read = |state| status(&SandboxId("s".to_owned()), told(state), &inside);
        let running = read(cri::State::Running);
        assert_eq!((running.pid, running.exit_code, running.finished_at), (Some(9), None, None));
        assert_eq!((running.image.as_str(), running.sandbox.0.as_str()), ("busybox:1", "s"));
        let exited = read(cri::State::Exited);
        assert_eq!((exited.pid, exited.exit_code, exited.reason.as_str()), (None, Some(4), "Error"));
        let lost = read(cri::State::Unknown);
        assert_eq!((lost.state, lost.exit_code), (ContainerState::Exited, Some(137)));
        assert_eq!(lost.reason, "ContainerStatusUnknown");
    }

    #[test]
    fn a_status_is_kept_once_it_can_not_change() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of = |state, pid| {
            let inside = Inside { pid, ..Default::default() };
            status(&SandboxId("s".to_owned()), told(state), &inside)
        };
        assert!(is_settled(&of(cri::State::Running, Some(1)), at(2)));
        assert!(!is_settled(&of(cri::State::Running, None), at(2)));
        assert!(!is_settled(&of(cri::State::Exited, None), at(8)), "the kernel's word may be on its way");
        assert!(is_settled(&of(cri::State::Exited, None), at(9)));
    }

    #[test]
    fn times_are_rounded_up() {
        for (millis, want) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(seconds(Duration::from_millis(millis)), want);
        }
    }
}
