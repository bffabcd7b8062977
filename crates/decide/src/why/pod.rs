//! Why a daemon that is on its node is not ready, in the words of the node's agent.
//!
//! Invariants: init containers before containers, each in its order: the first that is not as it should be is told of;
//! a node that does not answer is told of before what it said last.
//!
//! Absent: daemons without a node (`unbound`).

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Event, Pod, Probe};

use super::answer::{Cause, Words};
use crate::view::NodeView;

/// The words for a bound pod that is not ready. `warning` is the newest warning about it, if it is known.
pub(super) fn words(pod: &Pod, node: &NodeView, warning: Option<&Event>) -> Words {
    if let Some(words) = node_words(node) {
        return words;
    }
    let status = pod.status.as_ref();
    if status.and_then(|s| s.phase.as_deref()) == Some("Failed") {
        return failed(pod);
    }
    let spec = |name: &str| -> Option<&Container> {
        let spec = pod.spec.as_ref()?;
        spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name)
    };
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let of_init = init.iter().find_map(|c| container(c, spec(&c.name), true, warning));
    let found = of_init.or_else(|| main.iter().find_map(|c| container(c, spec(&c.name), false, warning)));
    found.or_else(|| of_warning(warning)).unwrap_or_else(|| silent(pod, node))
}

/// A node that is not ready says nothing new of its pods.
fn node_words(node: &NodeView) -> Option<Words> {
    let ready = node.conditions.get("Ready")?;
    if ready.status == "True" {
        return None;
    }
    let about = match ready.status.as_str() {
        "Unknown" => "the node does not answer",
        _ => "the node is not ready",
    };
    let since = ready.changed.map(|at| format!(" since {at}")).unwrap_or_default();
    let reason = if ready.reason.is_empty() { String::new() } else { format!(" ({})", ready.reason) };
    Some(Words { cause: Cause::NodeNotReady, about: about.to_owned(), message: format!("{about}{since}{reason}") })
}

fn failed(pod: &Pod) -> Words {
    let status = pod.status.as_ref();
    let part = |text: Option<&String>| text.filter(|t| !t.is_empty()).cloned();
    let reason = part(status.and_then(|s| s.reason.as_ref()));
    let message = part(status.and_then(|s| s.message.as_ref()));
    let ended = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default().iter().find_map(|c| {
        let ended = c.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| format!("container {} {}", c.name, ending(ended)))
    });
    let about = match (&reason, &ended) {
        (Some(reason), _) => format!("the pod failed: {reason}"),
        (None, Some(ended)) => format!("the pod failed: {ended}"),
        (None, None) => "the pod failed".to_owned(),
    };
    let full = [Some(about.clone()), message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let message = format!("{full}; it is replaced, after a pause if it fails again and again");
    Words { cause: Cause::Failed, about, message }
}

/// What is wrong with one container; `None` when nothing is, or nothing was said yet.
fn container(status: &ContainerStatus, spec: Option<&Container>, init: bool, warning: Option<&Event>) -> Option<Words> {
    let name = if init { format!("init container {}", status.name) } else { format!("container {}", status.name) };
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        return waits(&name, status, reason, waiting.message.as_deref().unwrap_or_default());
    }
    if let Some(ended) = &state.terminated {
        if init && ended.exit_code == 0 {
            return None;
        }
        let text = format!("{name} {}", ending(ended));
        return Some(Words { cause: Cause::Ended, message: format!("{text}{}", restarts(status)), about: text });
    }
    let is_sidecar = spec.is_some_and(|c| c.restart_policy.as_deref() == Some("Always"));
    if init && !is_sidecar {
        return Some(Words::plain(Cause::Starting, format!("{name} runs and has not ended yet")));
    }
    if status.started == Some(false) {
        let probe = spec.and_then(|c| c.startup_probe.as_ref());
        return Some(probing(&name, "startup", probe, status, warning));
    }
    if !status.ready {
        let probe = spec.and_then(|c| c.readiness_probe.as_ref());
        return Some(probing(&name, "readiness", probe, status, warning));
    }
    None
}

fn waits(name: &str, status: &ContainerStatus, reason: &str, said: &str) -> Option<Words> {
    let with = |text: &str| if said.is_empty() { text.to_owned() } else { format!("{text}: {said}") };
    Some(match reason {
        "" | "PodInitializing" | "ContainerCreating" => return None,
        "CrashLoopBackOff" => {
            let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
            let about = match last {
                Some(ended) => format!("{name} {}", ending(ended)),
                None => format!("{name} ends again and again"),
            };
            let ran = last.and_then(ran_for).unwrap_or_default();
            Words { cause: Cause::CrashLoop, message: format!("{about}{ran}{}: {reason}", restarts(status)), about }
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            let about = format!("{name}: image {} can't be had", status.image);
            Words { cause: Cause::ImagePull, message: with(&format!("{about}: {reason}")), about }
        }
        "CreateContainerConfigError" => {
            let about = with(&format!("{name} can't be configured"));
            Words { cause: Cause::Config, message: with(&format!("{name}: {reason}")), about }
        }
        "FailedMount" | "FailedAttachVolume" => Words {
            cause: Cause::Volume,
            about: with("a volume can't be had"),
            message: with(&format!("{name}: {reason}")),
        },
        other => {
            let about = format!("{name} can't be started: {other}");
            Words { cause: Cause::StartFailed, message: with(&about), about }
        }
    })
}

/// `ended with exit code 1 (Error)`, with what it left as its last words.
fn ending(ended: &ContainerStateTerminated) -> String {
    let mut text = format!("ended with exit code {}", ended.exit_code);
    if let Some(signal) = ended.signal.filter(|s| *s != 0) {
        text = format!("was ended by signal {signal}");
    }
    if let Some(reason) = ended.reason.as_deref().filter(|r| !r.is_empty()) {
        text.push_str(&format!(" ({reason})"));
    }
    text
}

fn ran_for(ended: &ContainerStateTerminated) -> Option<String> {
    let (from, to) = (ended.started_at.as_ref()?.0, ended.finished_at.as_ref()?.0);
    Some(format!(" after {} s", to.as_second().saturating_sub(from.as_second()).max(0)))
}

fn restarts(status: &ContainerStatus) -> String {
    match status.restart_count {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        count => format!(", {count} restarts"),
    }
}

fn probing(name: &str, which: &str, probe: Option<&Probe>, status: &ContainerStatus, warning: Option<&Event>) -> Words {
    let Some(probe) = probe else {
        return Words::plain(Cause::Starting, format!("{name} runs and is not ready"));
    };
    let about = format!("the {which} probe of {name} has not succeeded");
    let mut message = format!("{about} ({}){}", probe_text(probe), restarts(status));
    if let Some(said) = warning.filter(|w| w.reason.as_deref() == Some("Unhealthy")).and_then(|w| w.message.as_deref())
    {
        message.push_str(&format!(": {said}"));
    }
    Words { cause: Cause::Probe, about, message }
}

fn probe_text(probe: &Probe) -> String {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if let Some(http) = &probe.http_get {
        return format!("GET :{}{}", port(&http.port), http.path.as_deref().unwrap_or("/"));
    }
    if let Some(tcp) = &probe.tcp_socket {
        return format!("TCP :{}", port(&tcp.port));
    }
    if let Some(grpc) = &probe.grpc {
        return format!("gRPC :{}", grpc.port);
    }
    let command = probe.exec.as_ref().and_then(|e| e.command.as_deref()).unwrap_or_default();
    format!("exec {}", command.join(" "))
}

/// When containers say nothing, the newest warning may.
fn of_warning(warning: Option<&Event>) -> Option<Words> {
    let warning = warning?;
    let (reason, message) = (warning.reason.as_deref()?, warning.message.as_deref().unwrap_or_default());
    let cause = match reason {
        "FailedMount" | "FailedAttachVolume" => Cause::Volume,
        "Unhealthy" => Cause::Probe,
        _ => Cause::StartFailed,
    };
    Some(Words { cause, about: reason.to_owned(), message: format!("{reason}: {message}") })
}

fn silent(pod: &Pod, node: &NodeView) -> Words {
    let told = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).is_some_and(|s| !s.is_empty());
    let about = if told { "containers are being made" } else { "the node has not said anything of the pod yet" };
    Words { cause: Cause::Starting, about: about.to_owned(), message: format!("{about} (node {})", node.name) }
}
