//! The end of a pod: in which order its containers stop and how long they may take.
//!
//! # Absent
//! The deletion of the object: the agent asks the API server for it when nothing runs any more.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{Look, SeenContainer, SeenState, init_containers, is_sidecar};

/// Shortest time between SIGTERM and SIGKILL, as Kubernetes has it: even a forced end lets a process say goodbye.
pub const GRACE_MIN: SignedDuration = SignedDuration::from_secs(2);
/// Default of terminationGracePeriodSeconds.
const GRACE_DEFAULT_SECONDS: i64 = 30;

/// How long the pod's containers may still take. The deadline is the API server's, so a restart of the agent does not
/// give a pod its whole time again.
pub fn grace_left(pod: &Pod, now: Timestamp) -> SignedDuration {
    let spec = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    let asked = pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(GRACE_DEFAULT_SECONDS);
    let whole = SignedDuration::from_secs(asked.max(0));
    let left = pod.metadata.deletion_timestamp.as_ref().map_or(whole, |at| at.0.duration_since(now));
    left.min(whole).max(GRACE_MIN)
}

/// What runs, in waves: everything but sidecars first, then sidecars from the last to the first. Each wave ends before
/// the next begins.
pub fn waves<'a>(look: &Look<'a>) -> Vec<Vec<&'a SeenContainer>> {
    let running = |c: &&SeenContainer| c.state == SeenState::Running;
    let sidecars: Vec<&str> =
        init_containers(look.pod).iter().filter(|c| is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let mut waves = Vec::new();
    waves.push(look.containers.iter().filter(running).filter(|c| !sidecars.contains(&c.name.as_str())).collect());
    for name in sidecars.iter().rev() {
        waves.push(look.containers.iter().filter(running).filter(|c| c.name == *name).collect());
    }
    waves.retain(|wave: &Vec<&SeenContainer>| !wave.is_empty());
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_lifecycle::Memory;
    use crate::pod_lifecycle::testing::{at, pod, seen};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn grace_follows_the_servers_deadline() {
        let cases = [(None, None, 30), (Some(60), None, 60), (Some(60), Some(60), 50), (Some(0), Some(0), 2)];
        for (asked, ends_at, expect) in cases {
            let mut pod = pod("Always", &[], &["a"]);
            pod.metadata.deletion_grace_period_seconds = asked;
            pod.metadata.deletion_timestamp = ends_at.map(|s| Time(at(s)));
            let now = if ends_at.is_some() { at(10) } else { at(0) };
            assert_eq!(grace_left(&pod, now).as_secs(), expect, "{asked:?} {ends_at:?}");
        }
    }

    #[test]
    fn sidecars_go_last_and_backwards() {
        let pod = pod("Always", &["s1+", "i", "s2+"], &["a", "b"]);
        let containers: Vec<_> = ["s1", "s2", "a", "b"].map(|n| seen(n, 0, SeenState::Running)).into();
        let memory = Memory::default();
        let look = Look { pod: &pod, sandbox: None, containers: &containers, memory: &memory, now: at(0) };
        let names: Vec<Vec<&str>> = waves(&look).iter().map(|w| w.iter().map(|c| c.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["s2"], vec!["s1"]]);
    }
}
