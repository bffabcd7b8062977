use super::*;
use crate::pod_lifecycle::testing::{at, exited, pod, sandbox, seen};
use crate::pod_lifecycle::{Addresses, Memory, SeenSandbox, StartFailure, status, target};
use k8s_openapi::api::core::v1::EphemeralContainer;

/// Steps as words, so that a table reads like a story.
fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::DropSandbox { id } => format!("drop {id}"),
        Step::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Step::Kill { id, message, .. } => format!("kill {id}: {message}"),
        Step::Start { name, attempt } => format!("start {name} {attempt}"),
        Step::StartMade { id, .. } => format!("start made {id}"),
        Step::Forget { id } => format!("forget {id}"),
        Step::EndPod => "end".to_owned(),
    };
    plan.steps.iter().map(word).collect()
}

fn check(pod: &Pod, sandbox: Option<&SeenSandbox>, containers: &[SeenContainer], expect: &[&str]) {
    let memory = Memory::default();
    let plan = next(&Look { pod, sandbox, containers, memory: &memory, now: at(1000) });
    assert_eq!(words(&plan), expect, "{containers:?}");
}

#[test]
fn sandboxes() {
    let always = pod("Always", &[], &["a"]);
    let never = pod("Never", &[], &["a"]);
    let on_failure = pod("OnFailure", &[], &["a"]);
    let (up, down) = (sandbox(true), sandbox(false));
    check(&always, None, &[], &["sandbox 0"]);
    check(&always, Some(&down), &[], &["drop s", "sandbox 1"]);
    check(&always, Some(&down), &[exited("a", 0, 0)], &["drop s", "sandbox 1"]);
    check(&never, Some(&down), &[], &["drop s", "sandbox 1"]);
    check(&never, Some(&down), &[exited("a", 0, 137)], &["end"]);
    check(&on_failure, Some(&down), &[exited("a", 0, 0)], &["end"]);
    check(&on_failure, Some(&down), &[exited("a", 0, 1)], &["drop s", "sandbox 1"]);
    check(&always, Some(&up), &[seen("a", 0, SeenState::Running)], &[]);
}

#[test]
fn init_containers_in_order() {
    let p = pod("Always", &["i", "s+", "j"], &["a"]);
    let up = sandbox(true);
    let running = |n| seen(n, 0, SeenState::Running);
    check(&p, Some(&up), &[], &["start i 0"]);
    check(&p, Some(&up), &[running("i")], &[]);
    check(&p, Some(&up), &[exited("i", 0, 0)], &["start s 0"]);
    check(&p, Some(&up), &[exited("i", 0, 0), running("s")], &["start j 0"]);
    check(&p, Some(&up), &[exited("i", 0, 0), running("s"), running("j")], &[]);
    check(&p, Some(&up), &[exited("i", 0, 0), running("s"), exited("j", 0, 0)], &["start a 0"]);
    check(&p, Some(&up), &[exited("i", 0, 3)], &["start i 1"]);
    check(&p, Some(&up), &[exited("i", 0, 0), exited("s", 0, 1), running("a")], &["start s 1"]);
    let never = pod("Never", &["i"], &["a"]);
    check(&never, Some(&up), &[exited("i", 0, 3)], &["end"]);
}

#[test]
fn debug_containers_start_once() {
    let mut pod = pod("Always", &["i"], &["a"]);
    let debug = |name: &str| EphemeralContainer {
        name: name.to_owned(),
        target_container_name: Some("a".to_owned()),
        ..Default::default()
    };
    pod.spec.as_mut().unwrap().ephemeral_containers = Some(vec![debug("d"), debug("e")]);
    let up = sandbox(true);
    let (i, a) = (exited("i", 0, 0), seen("a", 0, SeenState::Running));
    check(&pod, None, &[], &["sandbox 0"]);
    check(&pod, Some(&up), &[], &["start i 0", "start d 0", "start e 0"]);
    check(&pod, Some(&up), &[i.clone(), a.clone(), exited("d", 0, 1)], &["start e 0"]);
    let made = seen("e", 0, SeenState::Created);
    check(
        &pod,
        Some(&up),
        &[i.clone(), a.clone(), seen("d", 0, SeenState::Running), made.clone()],
        &[&format!("start made {}", made.id)],
    );
    assert_eq!(target(&pod, "d"), Some("a"));
    // Those of a lost sandbox do not come again, and one that failed leaves the pod as it is.
    let memory = Memory::default();
    let all = [i, a, exited("d", 0, 1)];
    let look = Look { pod: &pod, sandbox: Some(&up), containers: &all, memory: &memory, now: at(1000) };
    let told = status(&look, &Addresses::default(), false);
    assert_eq!(told.phase.as_deref(), Some("Running"));
    let list = told.ephemeral_container_statuses.clone().unwrap();
    assert!(list[0].state.as_ref().unwrap().terminated.is_some() && !list[0].ready);
    pod.status = Some(told);
    check(&pod, Some(&up), &all[..2], &["start e 0"]);
}

#[test]
fn apps_follow_their_policy() {
    let up = sandbox(true);
    let two = |policy| pod(policy, &["s+"], &["a", "b"]);
    let with_sidecar = |rest: Vec<SeenContainer>| [vec![seen("s", 0, SeenState::Running)], rest].concat();
    let all = with_sidecar(vec![exited("a", 0, 0), exited("b", 0, 0)]);
    check(&two("Always"), Some(&up), &all, &["start a 1", "start b 1"]);
    check(&two("OnFailure"), Some(&up), &all, &["end"]);
    check(&two("Never"), Some(&up), &all, &["end"]);
    let half = with_sidecar(vec![exited("a", 0, 1), seen("b", 0, SeenState::Running)]);
    check(&two("OnFailure"), Some(&up), &half, &["start a 1"]);
    check(&two("Never"), Some(&up), &half, &[]);
    let made = with_sidecar(vec![seen("a", 0, SeenState::Created), seen("b", 0, SeenState::Running)]);
    check(&two("Never"), Some(&up), &made, &["start made a-0"]);
}

#[test]
fn old_containers_are_forgotten() {
    let up = sandbox(true);
    let p = pod("Always", &[], &["a"]);
    let list = [exited("a", 0, 1), exited("a", 1, 1), exited("a", 2, 1), seen("a", 3, SeenState::Running)];
    check(&p, Some(&up), &list, &["forget a-1", "forget a-0"]);
}

#[test]
fn crash_loop_waits_and_says_so_once() {
    let (up, p) = (sandbox(true), pod("Always", &[], &["a"]));
    let containers = [exited("a", 1, 1)];
    let mut memory = Memory::default();
    memory.restarts.insert("a".to_owned(), Backoff { wait: SignedDuration::from_secs(20), since: at(0) });
    let look = |memory: &Memory, now| next(&Look { pod: &p, sandbox: Some(&up), containers: &containers, memory, now });
    let plan = look(&memory, at(10));
    assert!(plan.steps.is_empty());
    assert_eq!(plan.again_at, Some(at(21)));
    assert_eq!(plan.waiting["a"].message, "back-off 20s restarting failed container=a pod=p_default(u)");
    assert_eq!(plan.notes[0].message, "Back-off restarting failed container a in pod p_default(u)");
    memory.waiting = plan.waiting;
    assert!(look(&memory, at(11)).notes.is_empty());
    let plan = look(&memory, at(21));
    assert_eq!(words(&plan), ["start a 2"]);
    assert_eq!(plan.restarts["a"].wait.as_secs(), 40);
}

#[test]
fn images_that_do_not_come() {
    let (up, p) = (sandbox(true), pod("Always", &[], &["a"]));
    let mut memory = Memory::default();
    let waiting = Waiting { reason: "ErrImagePull".to_owned(), message: "no route".to_owned() };
    memory.failures.insert("a".to_owned(), StartFailure::image(None, waiting, "x:1", at(0)));
    let look = |now| next(&Look { pod: &p, sandbox: Some(&up), containers: &[], memory: &memory, now });
    assert_eq!((look(at(0)).waiting["a"].reason.as_str(), look(at(0)).again_at), ("ErrImagePull", Some(at(3))));
    let later = look(at(4));
    assert_eq!(later.waiting["a"].reason, "ImagePullBackOff");
    assert_eq!(later.waiting["a"].message, "Back-off pulling image \"x:1\": ErrImagePull: no route");
    assert_eq!((later.notes.len(), later.again_at), (2, Some(at(10))));
    assert_eq!(words(&look(at(10))), ["start a 0"]);
}

#[test]
fn probes_kill() {
    let up = sandbox(true);
    let containers = [seen("a", 0, SeenState::Running)];
    for (policy, probed, expect) in [
        ("Always", Probed { alive: Some(true), ..Default::default() }, None),
        ("Always", Probed { alive: Some(false), ..Default::default() }, Some("liveness probe, will be restarted")),
        ("Always", Probed { started: Some(false), ..Default::default() }, Some("startup probe, will be restarted")),
        ("Never", Probed { alive: Some(false), ..Default::default() }, Some("liveness probe")),
        ("Always", Probed { ready: Some(false), ..Default::default() }, None),
    ] {
        let p = pod(policy, &[], &["a"]);
        let memory = Memory { probes: [("a-0".to_owned(), probed)].into(), ..Default::default() };
        let plan = next(&Look { pod: &p, sandbox: Some(&up), containers: &containers, memory: &memory, now: at(9) });
        let expect: Vec<String> = expect.iter().map(|w| format!("kill a-0: Container a failed {w}")).collect();
        assert_eq!(words(&plan), expect);
    }
}

#[test]
fn another_image_restarts_only_its_container() {
    let (up, mut p) = (sandbox(true), pod("Always", &[], &["a", "b"]));
    p.spec.as_mut().unwrap().containers[1].image = Some("busybox:2".to_owned());
    let containers = [seen("a", 0, SeenState::Running), seen("b", 0, SeenState::Running)];
    check(&p, Some(&up), &containers, &["kill b-0: Container b definition changed, will be restarted"]);
}

#[test]
fn deadline_fails_the_pod() {
    let (up, mut p) = (sandbox(true), pod("Always", &[], &["a"]));
    p.spec.as_mut().unwrap().active_deadline_seconds = Some(60);
    let start = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0));
    p.status = Some(k8s_openapi::api::core::v1::PodStatus { start_time: Some(start), ..Default::default() });
    let memory = Memory::default();
    let look = |now| next(&Look { pod: &p, sandbox: Some(&up), containers: &[], memory: &memory, now });
    assert_eq!(look(at(59)).again_at, Some(at(60)));
    assert_eq!(look(at(60)).fail.unwrap().reason, "DeadlineExceeded");
}
