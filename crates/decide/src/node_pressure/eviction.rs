//! Which pod a node gives up first, and what is said of it.
//!
//! # Invariants
//! - No daemon ends for want of disk or process ids: its controller would make it anew at once, and nothing would be won.
//! - For want of memory a daemon ends only when no other pod can, and not again before its [`Respite`] is over.

use k8s_openapi::api::core::v1::Pod;

use super::quantity::binary;
use super::respite::Respite;
use super::{Shortage, Signal};
use crate::static_pods::{MIRROR, SOURCE};

/// From this priority on a pod is critical, as Kubernetes has it.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What decides about a pod, whatever it uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// spec.priority.
    pub priority: i32,
    /// A DaemonSet controls it.
    pub daemon: bool,
    /// It must not end.
    pub critical: bool,
}

impl Standing {
    /// Of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let owners = pod.metadata.owner_references.iter().flatten();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        let note = |name: &str| pod.metadata.annotations.as_ref().and_then(|notes| notes.get(name));
        let fixed = note(MIRROR).is_some() || note(SOURCE).is_some_and(|source| source != "api");
        Self {
            priority,
            daemon: controllers.any(|owner| owner.kind == "DaemonSet"),
            critical: fixed || priority >= CRITICAL_PRIORITY,
        }
    }
}

/// What a container uses of one thing, and what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUse {
    /// Its name.
    pub name: String,
    /// In bytes.
    pub used: u64,
    /// In bytes.
    pub request: u64,
}

/// A pod that could end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// metadata.uid.
    pub uid: String,
    /// NAMESPACE/NAME.
    pub name: String,
    /// UID of the object that controls it; empty without one.
    pub controller: String,
    /// See there.
    pub standing: Standing,
    /// What it uses of what is short; None where that could not be measured.
    pub used: Option<u64>,
    /// What it asked for.
    pub request: u64,
    /// For the message: of memory and disk.
    pub containers: Vec<ContainerUse>,
}

/// The pod to end, if there is one that may.
#[must_use]
pub fn choose<'a>(signal: Signal, candidates: &'a [Candidate], respite: &Respite) -> Option<&'a Candidate> {
    let may_end = |candidate: &&Candidate| {
        let standing = candidate.standing;
        let daemon_may = signal == Signal::Memory && !respite.spares(&candidate.controller);
        !standing.critical && (!standing.daemon || daemon_may)
    };
    candidates.iter().filter(may_end).min_by_key(|candidate| {
        let over = candidate.used.map(|used| i128::from(used) - i128::from(candidate.request));
        // Of process ids there are no requests, so nobody exceeds them.
        let within = signal != Signal::Pids && over.is_some_and(|over| over <= 0);
        let priority = candidate.standing.priority;
        (candidate.standing.daemon, within, priority, over.is_some(), -over.unwrap_or(0), &candidate.name)
    })
}

/// Why it ends, in Kubernetes' words.
#[must_use]
pub fn message(shortage: &Shortage, candidate: &Candidate) -> String {
    let resource = shortage.signal.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold, shortage.available
    );
    for container in candidate.containers.iter().filter(|container| container.used > container.request) {
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            container.name,
            binary(container.used),
            binary(container.request)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, priority: i32, used: u64, request: u64) -> Candidate {
        let standing = Standing { priority, ..Standing::default() };
        Candidate { name: name.to_owned(), standing, used: Some(used), request, ..Candidate::default() }
    }

    fn check(signal: Signal, mut pods: Vec<Candidate>, expect: &[&str]) {
        let mut order = Vec::new();
        while let Some(next) = choose(signal, &pods, &Respite::default()).map(|pod| pod.name.clone()) {
            pods.retain(|pod| pod.name != next);
            order.push(next);
        }
        assert_eq!(order, expect);
    }

    #[test]
    fn memory_goes_by_requests_then_priority_then_excess() {
        let pods = vec![
            pod("within-low", 0, 10, 20),
            pod("over-high", 100, 500, 20),
            pod("over-low-little", 0, 30, 20),
            pod("over-low-much", 0, 90, 20),
            pod("within-high", 100, 10, 20),
        ];
        let order = ["over-low-much", "over-low-little", "over-high", "within-low", "within-high"];
        check(Signal::Memory, pods, &order);
    }

    #[test]
    fn what_is_not_measured_goes_before_its_equals() {
        let unknown = Candidate { used: None, ..pod("unknown", 0, 0, 0) };
        check(Signal::Memory, vec![pod("over", 0, 9, 1), unknown], &["unknown", "over"]);
    }

    #[test]
    fn process_ids_go_by_priority_then_number() {
        let pods = vec![pod("few", 0, 2, 0), pod("many-high", 9, 900, 0), pod("many", 0, 100, 0)];
        check(Signal::Pids, pods, &["many", "few", "many-high"]);
    }

    #[test]
    fn daemons_go_last_and_critical_pods_never() {
        let mut daemon = pod("daemon", 0, 900, 1);
        daemon.standing.daemon = true;
        let mut critical = pod("critical", 0, 999, 1);
        critical.standing.critical = true;
        let pods = [daemon, critical, pod("modest", 1000, 1, 5)];
        for (signal, expect) in [
            (Signal::Memory, &["modest", "daemon"][..]),
            (Signal::NodeDisk, &["modest"]),
            (Signal::NodeInodes, &["modest"]),
            (Signal::ImageDisk, &["modest"]),
            (Signal::ImageInodes, &["modest"]),
            (Signal::Pids, &["modest"]),
        ] {
            check(signal, pods.to_vec(), expect);
        }
    }

    #[test]
    fn a_daemon_that_was_given_up_is_not_given_up_again() {
        let mut daemon = pod("daemon-a", 0, 900, 1);
        (daemon.standing.daemon, daemon.controller) = (true, "uid-of-a".to_owned());
        let other = Candidate { name: "daemon-b".to_owned(), controller: "uid-of-b".to_owned(), ..daemon.clone() };
        let mut respite = Respite::default();
        respite.given_up(&daemon, jiff::Timestamp::UNIX_EPOCH);
        let again = Candidate { name: "daemon-a-anew".to_owned(), ..daemon };
        assert_eq!(choose(Signal::Memory, std::slice::from_ref(&again), &respite), None);
        assert_eq!(choose(Signal::Memory, &[again, other.clone()], &respite), Some(&other));
    }

    #[test]
    fn standing_is_read_from_the_pod() {
        let read = |text: &str| Standing::of(&serde_json::from_str(text).unwrap());
        let owner = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","name":"d","uid":"u","controller":true}"#;
        let daemon =
            read(&format!(r#"{{"metadata":{{"ownerReferences":[{owner}]}},"spec":{{"containers":[],"priority":5}}}}"#));
        assert_eq!(daemon, Standing { priority: 5, daemon: true, critical: false });
        assert!(read(r#"{"metadata":{},"spec":{"containers":[],"priority":2000000000}}"#).critical);
        assert!(read(r#"{"metadata":{"annotations":{"kubernetes.io/config.source":"file"}}}"#).critical);
        assert!(!read(r#"{"metadata":{"annotations":{"kubernetes.io/config.source":"api"}}}"#).critical);
    }

    #[test]
    fn kubernetes_words() {
        let shortage = Shortage { signal: Signal::Memory, threshold: "100Mi".into(), available: "52Mi".into() };
        let container = |name: &str, used, request| ContainerUse { name: name.into(), used, request };
        let containers = vec![container("a", 3 << 20, 1 << 20), container("b", 1, 2)];
        let candidate = Candidate { containers, ..Candidate::default() };
        assert_eq!(
            message(&shortage, &candidate),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. Container a was using \
             3Mi, request is 1Mi, has larger consumption of memory. "
        );
    }
}
