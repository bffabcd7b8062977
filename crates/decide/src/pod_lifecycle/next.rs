//! The plan: what to do now so that the pod comes closer to what it asks for.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::{Backoff, go_duration};
use super::ephemeral::ephemeral_containers;
use super::policy::{pod_policy, should_restart};
use super::{
    Look, Note, Plan, PodFailure, Probed, SeenContainer, SeenState, Step, Waiting, app_containers, init_containers,
    is_sidecar,
};

/// Ended containers kept beside the newest one: `kubectl logs --previous` needs one.
const KEPT_ENDED: usize = 1;

/// What to do now for a pod that is not being deleted.
pub fn next(look: &Look<'_>) -> Plan {
    let mut plan = Plan::default();
    if ended_for_good(look) {
        plan.steps.push(Step::EndPod);
        return plan;
    }
    if let Some(failure) = past_deadline(look, &mut plan) {
        plan.fail = Some(failure);
        plan.steps.push(Step::EndPod);
        return plan;
    }
    match look.sandbox {
        Some(sandbox) if sandbox.ready => {
            if initialize(look, &mut plan) {
                run_apps(look, &mut plan);
            }
            if !plan.steps.contains(&Step::EndPod) {
                look_around(look, &mut plan);
            }
            forget_old(look, &mut plan);
        }
        _ => make_sandbox(look, &mut plan),
    }
    plan
}

/// The API server already says how it ended, or this agent decided it.
fn ended_for_good(look: &Look<'_>) -> bool {
    let phase = look.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) || look.memory.failed.is_some()
}

fn past_deadline(look: &Look<'_>, plan: &mut Plan) -> Option<PodFailure> {
    let seconds = look.pod.spec.as_ref()?.active_deadline_seconds?;
    let start = look.pod.status.as_ref()?.start_time.as_ref()?.0;
    let end = start.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    if look.now < end {
        plan.look_at(end);
        return None;
    }
    Some(PodFailure {
        reason: "DeadlineExceeded".to_owned(),
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
    })
}

fn make_sandbox(look: &Look<'_>, plan: &mut Plan) {
    let apps = app_containers(look.pod);
    let ran = apps.iter().any(|c| last_run(look, &c.name) != LastRun::Never);
    let none_left = ran && apps.iter().all(|c| ended(look, c));
    if (pod_policy(look.pod) == "Never" && ran) || none_left {
        plan.steps.push(Step::EndPod);
        return;
    }
    if let Some(old) = look.sandbox {
        plan.steps.push(Step::DropSandbox { id: old.id.clone() });
    }
    plan.steps.push(Step::CreateSandbox { attempt: look.sandbox.map_or(0, |s| s.attempt.saturating_add(1)) });
}

/// What the runtime, or else the API server, knows of the last run of a container.
#[derive(PartialEq, Eq)]
enum LastRun {
    Never,
    Ended(i32),
    Open,
}

fn last_run(look: &Look<'_>, name: &str) -> LastRun {
    if let Some(seen) = look.newest(name) {
        return if seen.state == SeenState::Exited { LastRun::Ended(seen.exit_code) } else { LastRun::Open };
    }
    let Some(old) = super::containers::old_status(look.pod, name) else { return LastRun::Never };
    if let Some(ended) = old.state.as_ref().and_then(|s| s.terminated.as_ref()) {
        return LastRun::Ended(ended.exit_code);
    }
    if old.container_id.as_deref().is_some_and(|id| !id.is_empty()) { LastRun::Open } else { LastRun::Never }
}

/// True when an app container has ended and its policy does not start it again.
fn ended(look: &Look<'_>, container: &Container) -> bool {
    match last_run(look, &container.name) {
        LastRun::Ended(code) => !should_restart(look.pod, container, false, code),
        LastRun::Never | LastRun::Open => false,
    }
}

/// Init containers in order, sidecars among them; true when app containers may run.
fn initialize(look: &Look<'_>, plan: &mut Plan) -> bool {
    let done = look.initialized();
    for container in init_containers(look.pod) {
        let seen = look.active(&container.name);
        if is_sidecar(container) {
            let runs = keep_running(look, container, seen, plan);
            let started = runs && seen.is_some_and(|s| has_started(look, container, s));
            if !done && !started {
                return false;
            }
            continue;
        }
        if done {
            continue;
        }
        match seen {
            Some(s) if s.state == SeenState::Exited && s.exit_code == 0 => {}
            Some(s) if s.state == SeenState::Running => return false,
            Some(s) if s.state == SeenState::Exited && !should_restart(look.pod, container, true, s.exit_code) => {
                plan.steps.clear();
                plan.steps.push(Step::EndPod);
                return false;
            }
            _ => {
                start(look, container, seen, plan);
                return false;
            }
        }
    }
    true
}

fn run_apps(look: &Look<'_>, plan: &mut Plan) {
    let mut open = false;
    for container in app_containers(look.pod) {
        if !ended(look, container) {
            open = true;
            keep_running(look, container, look.active(&container.name), plan);
        }
    }
    if !open {
        plan.steps.clear();
        plan.waiting.clear();
        plan.steps.push(Step::EndPod);
    }
}

/// Starts the containers that somebody put in later, each once.
fn look_around(look: &Look<'_>, plan: &mut Plan) {
    for container in ephemeral_containers(look.pod) {
        let seen = look.active(&container.name);
        let made = seen.is_some_and(|seen| seen.state == SeenState::Created);
        if made || last_run(look, &container.name) == LastRun::Never {
            start(look, &container, seen, plan);
        }
    }
}

/// Kills what failed its probes, starts what should run; true when it runs and may go on.
fn keep_running(look: &Look<'_>, container: &Container, seen: Option<&SeenContainer>, plan: &mut Plan) -> bool {
    let Some(running) = seen.filter(|s| s.state == SeenState::Running) else {
        start(look, container, seen, plan);
        return false;
    };
    let probed = look.memory.probes.get(&running.id).copied().unwrap_or_default();
    let changed = container.image.as_ref().is_some_and(|image| *image != running.image);
    let (why, probe) = match probed {
        _ if changed => ("definition changed", &None),
        Probed { alive: Some(false), .. } => ("failed liveness probe", &container.liveness_probe),
        Probed { started: Some(false), .. } => ("failed startup probe", &container.startup_probe),
        _ => return true,
    };
    let mut message = format!("Container {} {why}", container.name);
    if changed || container.restart_policy.as_deref().unwrap_or(pod_policy(look.pod)) != "Never" {
        message.push_str(", will be restarted");
    }
    plan.steps.push(Step::Kill {
        id: running.id.clone(),
        name: container.name.clone(),
        message,
        grace_seconds: probe.as_ref().and_then(|p| p.termination_grace_period_seconds),
    });
    false
}

/// True when the startup probe has passed, or there is none.
pub(super) fn has_started(look: &Look<'_>, container: &Container, seen: &SeenContainer) -> bool {
    if seen.state != SeenState::Running {
        return false;
    }
    if container.startup_probe.is_none() {
        return true;
    }
    let probed = look.memory.probes.get(&seen.id).and_then(|p| p.started);
    probed.unwrap_or_else(|| super::containers::told_of(look.pod, seen).and_then(|o| o.started).unwrap_or(false))
}

fn start(look: &Look<'_>, container: &Container, seen: Option<&SeenContainer>, plan: &mut Plan) {
    let name = &container.name;
    if let Some(failure) = look.memory.failures.get(name)
        && look.now < failure.retry_at()
    {
        wait_after_failure(look, name, plan);
        return;
    }
    let Some(seen) = seen else {
        plan.steps.push(Step::Start { name: name.clone(), attempt: look.next_attempt(name) });
        return;
    };
    if seen.state == SeenState::Created {
        plan.steps.push(Step::StartMade { id: seen.id.clone(), name: name.clone() });
        return;
    }
    let finished = seen.finished_at.unwrap_or(look.now);
    let started = seen.started_at.unwrap_or(finished);
    let backoff = look.memory.restarts.get(name).copied().or_else(|| Backoff::found(seen.attempt, started, finished));
    match backoff.and_then(|b| b.until(finished).map(|until| (b, until))) {
        Some((backoff, until)) if look.now < until => {
            crash_loop(look, name, backoff, plan);
            plan.look_at(until);
        }
        _ => {
            plan.restarts.insert(name.clone(), Backoff::after_start(backoff, finished, look.now));
            plan.steps.push(Step::Start { name: name.clone(), attempt: look.next_attempt(name) });
        }
    }
}

fn crash_loop(look: &Look<'_>, name: &str, backoff: Backoff, plan: &mut Plan) {
    let wait = go_duration(backoff.wait);
    let pod = pod_words(look.pod);
    let waiting = Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: format!("back-off {wait} restarting failed container={name} pod={pod}"),
    };
    if look.memory.waiting.get(name) != Some(&waiting) {
        plan.notes.push(Note {
            container: name.to_owned(),
            warning: true,
            reason: "BackOff",
            message: format!("Back-off restarting failed container {name} in pod {pod}"),
        });
    }
    plan.waiting.insert(name.to_owned(), waiting);
}

fn wait_after_failure(look: &Look<'_>, name: &str, plan: &mut Plan) {
    let Some(failure) = look.memory.failures.get(name) else { return };
    plan.look_at(failure.retry_at());
    let mut waiting = failure.waiting.clone();
    if let (Some(at), Some(image)) = (failure.consequence_at(), &failure.image) {
        if look.now < at {
            plan.look_at(at);
        } else {
            let text = format!("Back-off pulling image \"{image}\"");
            let cause = format!("{}: {}", failure.waiting.reason, failure.waiting.message);
            waiting = Waiting { reason: "ImagePullBackOff".to_owned(), message: format!("{text}: {cause}") };
            if look.memory.waiting.get(name) != Some(&waiting) {
                let note = |warning, reason, message| Note { container: name.to_owned(), warning, reason, message };
                plan.notes.push(note(false, "BackOff", text));
                plan.notes.push(note(true, "Failed", "Error: ImagePullBackOff".to_owned()));
            }
        }
    }
    plan.waiting.insert(name.to_owned(), waiting);
}

/// NAME_NAMESPACE(UID), as Kubernetes names a pod in messages.
fn pod_words(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// Old ended containers, and those of older sandboxes, beyond the one that is kept.
fn forget_old(look: &Look<'_>, plan: &mut Plan) {
    let mut names: Vec<&str> = look.containers.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut ended: Vec<&SeenContainer> =
            look.containers.iter().filter(|c| c.name == name && c.state == SeenState::Exited).collect();
        ended.sort_by_key(|c| std::cmp::Reverse(c.attempt));
        let newest_ended = look.newest(name).is_some_and(|n| n.state == SeenState::Exited);
        let keep = KEPT_ENDED + usize::from(newest_ended);
        for old in ended.into_iter().skip(keep) {
            plan.steps.push(Step::Forget { id: old.id.clone() });
        }
    }
}

#[cfg(test)]
#[path = "next_tests.rs"]
mod tests;
