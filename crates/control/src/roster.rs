//! Which controllers run, and what each has to follow.
//!
//! Names are those of kube-controller-manager: `daemonset-controller`, or short `daemonset`; `*` means all, and a name with
//! a minus leaves one out.
//!
//! Invariants: only what a controller that runs reads is followed; a kind that no controller must have may be missing on
//! the API server, or be kept from this user.
//!
//! Absent: controllers of Kubernetes that have no counterpart here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// DaemonSets: pods, revisions, status.
    DaemonSet,
    /// RolloutPolicies: whether they can work.
    RolloutPolicy,
    /// ReplicaSets: pods and status.
    ReplicaSet,
    /// The status of disruption budgets.
    Disruption,
    /// Binds pods to nodes.
    Scheduler,
    /// The taint of new nodes that wait for their daemons.
    NodeReadiness,
    /// The health of nodes: conditions and taints.
    NodeLifecycle,
    /// Deletes pods that taints of their node drive away.
    TaintEviction,
    /// Deletes pods that nobody else ends.
    PodGc,
    /// Deletes objects whose owners are gone.
    GarbageCollector,
    /// Empties namespaces that are being deleted.
    Namespace,
    /// The default service account of each namespace.
    ServiceAccount,
    /// The certificate of the API server in each namespace.
    RootCa,
    /// Signs what is told to everyone about the API server by the tokens that new nodes join with.
    BootstrapSigner,
    /// Deletes such tokens when they have ended.
    TokenCleaner,
    /// Deletes certificate requests that have had their time.
    CsrCleaner,
}

/// A kind, or some, that informers follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Pods,
    Nodes,
    DaemonSets,
    ReplicaSets,
    Revisions,
    Namespaces,
    Budgets,
    Policies,
    NodeLeases,
    ServiceAccounts,
    ConfigMaps,
    /// Secrets that are bootstrap tokens.
    Tokens,
    /// What is told to everyone about the API server.
    ClusterInfo,
    /// Definitions of custom kinds.
    Definitions,
    /// The owners of all objects of all kinds.
    Owners,
}

use Source::{
    Budgets, ClusterInfo, ConfigMaps, DaemonSets, Definitions, Namespaces, NodeLeases, Nodes, Owners, Pods, Policies,
    ReplicaSets, Revisions, ServiceAccounts, Tokens,
};

/// What is known of a controller.
struct Row {
    controller: Controller,
    name: &'static str,
    short: &'static str,
    /// What it cannot work without.
    needs: &'static [Source],
    /// What it reads when it is there.
    uses: &'static [Source],
}

const ROWS: [Row; 16] = [
    Row {
        controller: Controller::DaemonSet,
        name: "daemonset-controller",
        short: "daemonset",
        needs: &[Pods, Nodes, DaemonSets, Revisions],
        uses: &[Namespaces, Policies],
    },
    Row {
        controller: Controller::RolloutPolicy,
        name: "rolloutpolicy-controller",
        short: "rolloutpolicy",
        needs: &[Nodes, DaemonSets],
        uses: &[Namespaces, Policies],
    },
    Row {
        controller: Controller::ReplicaSet,
        name: "replicaset-controller",
        short: "replicaset",
        needs: &[Pods, ReplicaSets],
        uses: &[],
    },
    Row {
        controller: Controller::Disruption,
        name: "disruption-controller",
        short: "disruption",
        needs: &[Pods, ReplicaSets, Budgets],
        uses: &[],
    },
    Row {
        controller: Controller::Scheduler,
        name: "kube-scheduler",
        short: "scheduler",
        needs: &[Pods, Nodes, ReplicaSets, Namespaces, Budgets],
        uses: &[],
    },
    Row {
        controller: Controller::NodeReadiness,
        name: "node-readiness-controller",
        short: "nodereadiness",
        needs: &[Pods, Nodes, DaemonSets],
        uses: &[Namespaces, Policies],
    },
    Row {
        controller: Controller::NodeLifecycle,
        name: "node-lifecycle-controller",
        short: "nodelifecycle",
        needs: &[Pods, Nodes, NodeLeases],
        uses: &[],
    },
    Row {
        controller: Controller::TaintEviction,
        name: "taint-eviction-controller",
        short: "tainteviction",
        needs: &[Pods, Nodes],
        uses: &[],
    },
    Row {
        controller: Controller::PodGc,
        name: "pod-garbage-collector-controller",
        short: "podgc",
        needs: &[Pods, Nodes],
        uses: &[],
    },
    Row {
        controller: Controller::GarbageCollector,
        name: "garbage-collector-controller",
        short: "garbagecollector",
        needs: &[Pods, Nodes, DaemonSets, ReplicaSets, Revisions, Namespaces, Budgets],
        uses: &[Definitions, Owners],
    },
    Row {
        controller: Controller::Namespace,
        name: "namespace-controller",
        short: "namespace",
        needs: &[Namespaces],
        uses: &[Definitions],
    },
    Row {
        controller: Controller::ServiceAccount,
        name: "serviceaccount-controller",
        short: "serviceaccount",
        needs: &[Namespaces],
        uses: &[ServiceAccounts],
    },
    Row {
        controller: Controller::RootCa,
        name: "root-ca-certificate-publisher-controller",
        short: "root-ca-cert-publisher",
        needs: &[Namespaces],
        uses: &[ConfigMaps],
    },
    Row {
        controller: Controller::BootstrapSigner,
        name: "bootstrap-signer-controller",
        short: "bootstrapsigner",
        needs: &[Tokens, ClusterInfo],
        uses: &[],
    },
    Row {
        controller: Controller::TokenCleaner,
        name: "token-cleaner-controller",
        short: "tokencleaner",
        needs: &[Tokens],
        uses: &[],
    },
    Row {
        controller: Controller::CsrCleaner,
        name: "certificatesigningrequest-cleaner-controller",
        short: "csrcleaner",
        // It asks once in a while.
        needs: &[],
        uses: &[],
    },
];

/// The controllers that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster(BTreeSet<Controller>);

impl Default for Roster {
    fn default() -> Self {
        Self(ROWS.iter().map(|row| row.controller).collect())
    }
}

/// Why a list of controllers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// There is no controller of this name.
    #[error("there is no controller {name:?}; write *, or some of {known}; a minus before a name leaves it out")]
    Unknown {
        /// The name.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// No controller is left.
    #[error("no controller is named to run; write *,-NAME to run all but one")]
    Nothing,
}

impl FromStr for Roster {
    type Err = RosterError;

    /// Reads names with commas between them. As kube-controller-manager does: of several words about one controller the
    /// first counts, and `*` is for those that no other word is about.
    fn from_str(text: &str) -> Result<Self, RosterError> {
        let mut said: BTreeMap<Controller, bool> = BTreeMap::new();
        let mut all = false;
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            if word == "*" {
                all = true;
                continue;
            }
            let (name, runs) = word.strip_prefix('-').map_or((word, true), |name| (name, false));
            let Some(row) = ROWS.iter().find(|row| row.name == name || row.short == name) else {
                let known = ROWS.map(|row| row.short).join(", ");
                return Err(RosterError::Unknown { name: name.to_owned(), known });
            };
            said.entry(row.controller).or_insert(runs);
        }
        let runs = |c: &Controller| said.get(c).copied().unwrap_or(all);
        let roster = Self(ROWS.iter().map(|row| row.controller).filter(runs).collect());
        if roster.0.is_empty() { Err(RosterError::Nothing) } else { Ok(roster) }
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.rows().map(|row| row.short).collect();
        f.write_str(&names.join(", "))
    }
}

impl Roster {
    /// These controllers.
    #[must_use]
    pub fn of(controllers: &[Controller]) -> Self {
        Self(controllers.iter().copied().collect())
    }

    /// True when this controller runs.
    #[must_use]
    pub fn runs(&self, controller: Controller) -> bool {
        self.0.contains(&controller)
    }

    /// True when any of these runs.
    pub(crate) fn runs_any(&self, controllers: &[Controller]) -> bool {
        controllers.iter().any(|c| self.runs(*c))
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| self.runs(row.controller))
    }

    /// What is to be followed, and whether a controller cannot work without it.
    pub(crate) fn sources(&self) -> BTreeMap<Source, bool> {
        let used = self.rows().flat_map(|row| row.uses.iter().map(|source| (*source, false)));
        let needed = self.rows().flat_map(|row| row.needs.iter().map(|source| (*source, true)));
        // What is needed comes last and wins.
        used.chain(needed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Result<String, RosterError> {
        text.parse::<Roster>().map(|roster| roster.to_string())
    }

    #[test]
    fn names_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("daemonset", "daemonset"),
            ("daemonset-controller, replicaset-controller", "daemonset, replicaset"),
            (
                "*,-scheduler,-kube-scheduler,-garbagecollector",
                "daemonset, rolloutpolicy, replicaset, disruption, \
              nodereadiness, nodelifecycle, tainteviction, podgc, namespace, serviceaccount, root-ca-cert-publisher, \
              bootstrapsigner, tokencleaner, csrcleaner",
            ),
            (
                "-daemonset,*,daemonset,-podgc,podgc",
                "rolloutpolicy, replicaset, disruption, scheduler, nodereadiness, nodelifecycle, \
              tainteviction, garbagecollector, namespace, serviceaccount, root-ca-cert-publisher, \
              bootstrapsigner, tokencleaner, csrcleaner",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(short(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!("*".parse(), Ok(Roster::default()));
    }

    #[test]
    fn bad_lists_say_what_to_write() {
        let said = short("daemonset,job").unwrap_err().to_string();
        assert!(
            said.starts_with("there is no controller \"job\"") && said.contains("daemonset, rolloutpolicy"),
            "{said}"
        );
        for text in ["", "-daemonset", " , "] {
            assert_eq!(short(text), Err(RosterError::Nothing), "{text}");
        }
    }

    #[test]
    fn only_what_is_read_is_followed() {
        let sources = |text: &str| text.parse::<Roster>().map(|r| r.sources().into_iter().collect::<Vec<_>>());
        let daemon_set = [
            (Pods, true),
            (Nodes, true),
            (DaemonSets, true),
            (Revisions, true),
            (Namespaces, false),
            (Policies, false),
        ];
        assert_eq!(sources("daemonset").as_deref(), Ok(&daemon_set[..]));
        assert_eq!(sources("replicaset").as_deref(), Ok(&[(Pods, true), (ReplicaSets, true)][..]));
        assert_eq!(sources("csrcleaner,tokencleaner").as_deref(), Ok(&[(Tokens, true)][..]));
        let both = sources("daemonset,namespace").expect("known");
        assert!(both.contains(&(Namespaces, true)) && both.contains(&(Definitions, false)), "{both:?}");
    }
}
