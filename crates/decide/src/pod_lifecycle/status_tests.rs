use super::*;
use crate::pod_lifecycle::testing::{at, exited, pod, sandbox, seen};
use crate::pod_lifecycle::{Memory, Probed, SeenContainer, Waiting, is_sidecar};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Probe};

fn of(pod: &Pod, containers: &[SeenContainer], memory: &Memory, ended: bool) -> PodStatus {
    let up = sandbox(true);
    let look = Look { pod, sandbox: Some(&up), containers, memory, now: at(100) };
    status(&look, &Addresses::default(), ended)
}

/// `a:running!` is running and ready, `a:waiting(R)`, `a:ended(0)`.
fn words(list: &[ContainerStatus]) -> String {
    let one = |s: &ContainerStatus| {
        let state = s.state.clone().unwrap_or_default();
        let what = match (&state.waiting, &state.terminated) {
            (Some(w), _) => format!("waiting({})", w.reason.clone().unwrap_or_default()),
            (_, Some(t)) => format!("ended({})", t.exit_code),
            _ => "running".to_owned(),
        };
        let mark = if s.ready { "!" } else { "" };
        format!("{}:{what}{mark}#{}", s.name, s.restart_count)
    };
    list.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn check(pod: &Pod, containers: &[SeenContainer], ended: bool, phase: &str, expect: &str) {
    let status = of(pod, containers, &Memory::default(), ended);
    let all = [status.init_container_statuses.unwrap_or_default(), status.container_statuses.unwrap_or_default()];
    assert_eq!((status.phase.unwrap().as_str(), words(&all.concat()).as_str()), (phase, expect));
}

#[test]
fn phases_and_states() {
    let running = |n| seen(n, 0, SeenState::Running);
    let (always, never) = (pod("Always", &[], &["a", "b"]), pod("Never", &[], &["a", "b"]));
    check(&always, &[], false, "Pending", "a:waiting(ContainerCreating)#0 b:waiting(ContainerCreating)#0");
    check(&always, &[running("a")], false, "Pending", "a:running!#0 b:waiting(ContainerCreating)#0");
    check(&always, &[running("a"), running("b")], false, "Running", "a:running!#0 b:running!#0");
    check(&always, &[exited("a", 2, 1), exited("b", 0, 0)], false, "Running", "a:ended(1)#2 b:ended(0)#0");
    check(&always, &[exited("a", 2, 1), exited("b", 0, 0)], true, "Failed", "a:ended(1)#2 b:ended(0)#0");
    check(&never, &[exited("a", 0, 0), running("b")], false, "Running", "a:ended(0)#0 b:running!#0");
    check(&never, &[exited("a", 0, 0), exited("b", 0, 0)], false, "Succeeded", "a:ended(0)#0 b:ended(0)#0");
    check(&never, &[exited("a", 0, 0), exited("b", 0, 9)], false, "Failed", "a:ended(0)#0 b:ended(9)#0");
    let init = pod("Always", &["i", "s+"], &["a"]);
    check(
        &init,
        &[exited("i", 0, 0)],
        false,
        "Pending",
        "i:ended(0)!#0 s:waiting(PodInitializing)#0 a:waiting(PodInitializing)#0",
    );
    check(
        &init,
        &[exited("i", 0, 0), running("s"), running("a")],
        false,
        "Running",
        "i:ended(0)!#0 s:running!#0 a:running!#0",
    );
    let dead = pod("Never", &["i"], &["a"]);
    check(&dead, &[exited("i", 0, 2)], false, "Failed", "i:ended(2)#0 a:waiting(PodInitializing)#0");
}

/// Else each status that is heard again from the API server would be one to look into.
#[test]
fn an_api_server_shows_it_as_it_was_told() {
    let kind = api::kinds::find("", "v1", "pods").unwrap();
    let addresses = Addresses { host: vec!["10.0.0.1".parse().unwrap()], pod: vec!["10.1.0.1".parse().unwrap()] };
    let resources = serde_json::json!({"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}});
    for name in ["i", "a"] {
        for seen in [vec![], vec![seen(name, 0, SeenState::Running)], vec![exited(name, 2, 1)]] {
            let mut pod = pod("Always", &["i"], &["a"]);
            for container in &mut pod.spec.as_mut().unwrap().containers {
                container.resources = serde_json::from_value(resources.clone()).unwrap();
            }
            let (up, memory) = (sandbox(true), Memory::default());
            let look = Look { pod: &pod, sandbox: Some(&up), containers: &seen, memory: &memory, now: at(100) };
            let told = status(&look, &addresses, false);
            let mut stored = serde_json::json!({"metadata": {"name": "p"}, "status": told});
            api::decode::normalize(kind, &mut stored, api::decode::FieldValidation::Strict).unwrap();
            let heard: Pod = serde_json::from_value(stored).unwrap();
            assert_eq!(heard.status, Some(told));
        }
    }
}

#[test]
fn crash_loop_moves_the_end_to_last_state() {
    let p = pod("Always", &[], &["a"]);
    let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message: "back-off".to_owned() };
    let memory = Memory { waiting: [("a".to_owned(), waiting)].into(), ..Default::default() };
    let status = of(&p, &[exited("a", 3, 1)], &memory, false);
    let a = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(
        (words(std::slice::from_ref(a)).as_str(), status.phase.as_deref()),
        ("a:waiting(CrashLoopBackOff)#3", Some("Running"))
    );
    assert_eq!(a.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
}

#[test]
fn conditions_name_what_is_not_ready() {
    let p = pod("Always", &[], &["a", "b"]);
    let status = of(&p, &[seen("a", 0, SeenState::Running)], &Memory::default(), false);
    let text: Vec<String> = status
        .conditions
        .unwrap()
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.message.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        text,
        [
            "PodReadyToStartContainers=True ",
            "Initialized=True ",
            "Ready=False containers with unready status: [b]",
            "ContainersReady=False containers with unready status: [b]",
            "PodScheduled=True ",
        ]
    );
}

#[test]
fn a_new_agent_keeps_what_was_ready() {
    let mut p = pod("Always", &[], &["a"]);
    p.spec.as_mut().unwrap().containers[0].readiness_probe = Some(Probe::default());
    p.spec.as_mut().unwrap().containers[0].startup_probe = Some(Probe::default());
    let running = [seen("a", 0, SeenState::Running)];
    assert!(!of(&p, &running, &Memory::default(), false).container_statuses.unwrap()[0].ready);
    let yes = Probed { started: Some(true), ready: Some(true), alive: None };
    let memory = Memory { probes: [("a-0".to_owned(), yes)].into(), ..Default::default() };
    p.status = Some(of(&p, &running, &memory, false));
    let after = of(&p, &running, &Memory::default(), false);
    assert!(after.container_statuses.as_ref().unwrap()[0].ready);
    assert_eq!(Some(after), p.status);
}

#[test]
fn a_lost_container_counts_as_a_restart() {
    let mut p = pod("Always", &[], &["a"]);
    p.status = Some(of(&p, &[seen("a", 4, SeenState::Running)], &Memory::default(), false));
    let memory = Memory::default();
    let up = sandbox(true);
    let look = Look { pod: &p, sandbox: Some(&up), containers: &[], memory: &memory, now: at(100) };
    let plan = crate::pod_lifecycle::next(&look);
    assert_eq!(plan.steps, [crate::pod_lifecycle::Step::Start { name: "a".to_owned(), attempt: 5 }]);
    let a = of(&p, &[], &memory, false).container_statuses.unwrap().remove(0);
    assert_eq!(a.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 137);
    // Told once more before it starts, it still counts once.
    p.status.as_mut().unwrap().container_statuses = Some(vec![a]);
    let look = Look { pod: &p, sandbox: Some(&up), containers: &[], memory: &memory, now: at(101) };
    let plan = crate::pod_lifecycle::next(&look);
    assert_eq!(plan.steps, [crate::pod_lifecycle::Step::Start { name: "a".to_owned(), attempt: 5 }]);
}

#[test]
fn sidecars_are_known_by_their_policy() {
    let p = pod("Always", &["i", "s+"], &["a"]);
    let init = p.spec.unwrap().init_containers.unwrap();
    assert_eq!(init.iter().map(is_sidecar).collect::<Vec<_>>(), [false, true]);
}
