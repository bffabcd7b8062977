//! Probes: what is asked of a container, how often, and what the answers mean.
//!
//! # Invariants
//! - A verdict changes only after `failureThreshold` failures or `successThreshold` successes in a row.
//! - A probe never outlives its timeout, and two of one kind never run at once for one container.
//!
//! # Absent
//! Consequences: `decide::pod_lifecycle` kills, the status tells.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::runtime::{ContainerId, Runtime, RuntimeError};

mod grpc;
pub(crate) mod http;
mod tcp;

/// Longest output of a probe in an event.
const OUTPUT_MAX: usize = 1024;
/// How often a probe that may not begin yet (no startup probe has passed) looks again.
const GATE_EVERY: Duration = Duration::from_millis(250);

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What one try gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
    /// It could not be asked; says nothing about the container.
    Error(String),
}

/// What a schedule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// The thresholds are reached.
    Verdict(bool),
    /// Text of the Unhealthy event.
    Unhealthy(String),
}

/// Who is asked.
pub(crate) struct Target<'a, R> {
    pub(crate) runtime: &'a R,
    pub(crate) id: ContainerId,
    pub(crate) container: &'a Container,
    pub(crate) pod_ip: String,
    pub(crate) started_at: Timestamp,
}

impl<R> Target<'_, R> {
    fn probe(&self, kind: Kind) -> Option<&Probe> {
        match kind {
            Kind::Startup => self.container.startup_probe.as_ref(),
            Kind::Liveness => self.container.liveness_probe.as_ref(),
            Kind::Readiness => self.container.readiness_probe.as_ref(),
        }
    }
}

/// Counts to the thresholds.
#[derive(Debug, Default)]
struct Run {
    last: Option<bool>,
    length: i32,
}

impl Run {
    /// The verdict, once `threshold` of the same in a row were seen.
    fn count(&mut self, success: bool, probe: &Probe) -> Option<bool> {
        self.length = if self.last == Some(success) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold =
            if success { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        (self.length >= threshold.max(1)).then_some(success)
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
}

/// Probes until `done`, or until the task is aborted. `gate`: it may ask now.
pub(crate) async fn schedule<R: Runtime>(
    target: &Target<'_, R>,
    kind: Kind,
    gate: impl Fn() -> bool,
    done: impl Fn() -> bool,
    mut say: impl FnMut(Said),
) {
    let Some(probe) = target.probe(kind) else { return };
    let age = Timestamp::now().duration_since(target.started_at);
    let age = Duration::try_from(age).unwrap_or_default();
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0).saturating_sub(age)).await;
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let mut run = Run::default();
    loop {
        while !gate() {
            tokio::time::sleep(GATE_EVERY).await;
        }
        if done() {
            return;
        }
        let begin = tokio::time::Instant::now();
        let outcome = Box::pin(once(target, probe)).await;
        let success = match outcome {
            Outcome::Success => Some(true),
            Outcome::Failure(text) => {
                say(Said::Unhealthy(format!("{} probe failed: {}", kind.word(), cut(text))));
                Some(false)
            }
            Outcome::Error(text) => {
                let text = format!("{} probe errored and resulted in unknown state: {}", kind.word(), cut(text));
                say(Said::Unhealthy(text));
                None
            }
        };
        if let Some(verdict) = success.and_then(|s| run.count(s, probe)) {
            say(Said::Verdict(verdict));
            if kind == Kind::Startup || (kind == Kind::Liveness && !verdict) {
                // Decided: a container that is to be killed, or has started, is not asked again.
                return;
            }
        }
        tokio::time::sleep_until(begin + period).await;
    }
}

fn cut(mut text: String) -> String {
    if text.len() > OUTPUT_MAX {
        let at = (0..=OUTPUT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
    text
}

/// Asks once.
async fn once<R: Runtime>(target: &Target<'_, R>, probe: &Probe) -> Outcome {
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    if let Some(exec) = &probe.exec {
        return execute(target, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return http::get(get, target.container, &target.pod_ip, timeout).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&target.pod_ip);
        return match port(&socket.port, target.container) {
            Some(port) => tcp::connect(host, port, timeout).await,
            None => Outcome::Error(format!("couldn't find port: {:?}", socket.port)),
        };
    }
    if let Some(health) = &probe.grpc {
        let Ok(port) = u16::try_from(health.port) else {
            return Outcome::Error(format!("invalid port number: {}", health.port));
        };
        return grpc::check(&target.pod_ip, port, health.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Error("missing probe handler".to_owned())
}

async fn execute<R: Runtime>(target: &Target<'_, R>, command: Vec<String>, timeout: Duration) -> Outcome {
    let words = command.join(" ");
    match target.runtime.exec_sync(&target.id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Outcome::Success,
        Ok(output) => {
            let mut text = output.stdout;
            text.extend_from_slice(&output.stderr);
            Outcome::Failure(String::from_utf8_lossy(&text).into_owned())
        }
        Err(RuntimeError::Timeout(_)) => {
            Outcome::Failure(format!("command timed out: \"{words}\" timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Error(error.to_string()),
    }
}

/// A port by number, or by the name the container gives it.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok().filter(|p| *p > 0),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name.as_str()));
            named.map_or_else(|| name.parse().ok(), |p| u16::try_from(p.container_port).ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let probe = Probe { failure_threshold: Some(3), success_threshold: Some(2), ..Default::default() };
        let mut run = Run::default();
        let said: Vec<Option<bool>> = [true, true, false, false, true, false, false, false, false]
            .into_iter()
            .map(|success| run.count(success, &probe))
            .collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(said, [None, yes, None, None, None, None, None, no, no]);
    }

    #[test]
    fn ports() {
        let container: Container =
            serde_json::from_str(r#"{"name":"c","ports":[{"name":"web","containerPort":8080}]}"#).unwrap();
        let name = |s: &str| IntOrString::String(s.to_owned());
        for (which, expect) in [
            (IntOrString::Int(80), Some(80)),
            (IntOrString::Int(0), None),
            (name("web"), Some(8080)),
            (name("81"), Some(81)),
            (name("none"), None),
        ] {
            assert_eq!(port(&which, &container), expect, "{which:?}");
        }
    }
}
