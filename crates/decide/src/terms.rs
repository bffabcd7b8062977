//! What a pod asks of other pods, read once: affinity, anti-affinity and spreading.
//!
//! Invariants: a selector that cannot be read selects nothing; a term without namespaces means the pod's own.
//!
//! Absent: `matchLabelKeys`, which the API server folds into the selectors beside them.

use std::collections::{BTreeMap, BTreeSet};

use api::selector::Labels;
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, PodSpec, TopologySpreadConstraint};

use crate::view::PodView;

/// Other pods that a pod wants near or far, and how near.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The label of nodes whose value says what is near.
    pub topology_key: String,
    namespaces: BTreeSet<String>,
    namespace_selector: Labels,
    selector: Labels,
}

impl Term {
    fn of(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
            selector: selector(term.label_selector.as_ref()),
        }
    }

    /// True when `pod` is one that this term means; `labels` are those of the pod's namespace.
    #[must_use]
    pub fn means(&self, pod: &PodView, labels: Option<&BTreeMap<String, String>>) -> bool {
        let none = BTreeMap::new();
        let here = self.namespaces.contains(&pod.namespace)
            || (!self.namespace_selector.is_nothing() && self.namespace_selector.matches(labels.unwrap_or(&none)));
        here && self.selector.matches(&pod.labels)
    }
}

fn selector(selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>) -> Labels {
    Labels::from_label_selector(selector).unwrap_or_else(|_| Labels::nothing())
}

/// The pod affinity and anti-affinity of one pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    /// Pods that must be near.
    pub needs: Vec<Term>,
    /// Pods that must not be near.
    pub shuns: Vec<Term>,
    /// Pods that had better be near, with weights.
    pub likes: Vec<(i64, Term)>,
    /// Pods that had better not be near, with weights.
    pub dislikes: Vec<(i64, Term)>,
}

impl Terms {
    /// The terms of a pod in `namespace`; `None` when it has none.
    #[must_use]
    pub fn of(affinity: Option<&Affinity>, namespace: &str) -> Option<Box<Self>> {
        let near = affinity?.pod_affinity.as_ref();
        let far = affinity?.pod_anti_affinity.as_ref();
        let hard = |terms: Option<&Vec<PodAffinityTerm>>| {
            terms.into_iter().flatten().map(|t| Term::of(t, namespace)).collect::<Vec<_>>()
        };
        let terms = Self {
            needs: hard(near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            shuns: hard(far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            likes: near
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(|t| (i64::from(t.weight), Term::of(&t.pod_affinity_term, namespace)))
                .collect(),
            dislikes: far
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(|t| (i64::from(t.weight), Term::of(&t.pod_affinity_term, namespace)))
                .collect(),
        };
        (terms != Self::default()).then(|| Box::new(terms))
    }
}

/// How evenly pods like this one are to be spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// True with `DoNotSchedule`.
    pub hard: bool,
    /// How many more pods than the emptiest a domain may have.
    pub skew_max: i64,
    /// The label of nodes whose values are the domains.
    pub topology_key: String,
    /// The pods that count.
    pub selector: Labels,
    /// With fewer domains than this, the emptiest counts as empty.
    pub domains_min: usize,
    /// True when only nodes count that the pod's node selector and affinity allow.
    pub honours_affinity: bool,
    /// True when only nodes count whose taints the pod tolerates.
    pub honours_taints: bool,
}

impl Spread {
    /// The constraints of a pod.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Vec<Self> {
        let one = |c: &TopologySpreadConstraint| Self {
            hard: c.when_unsatisfiable != "ScheduleAnyway",
            skew_max: i64::from(c.max_skew),
            topology_key: c.topology_key.clone(),
            selector: selector(c.label_selector.as_ref()),
            domains_min: usize::try_from(c.min_domains.unwrap_or(1)).unwrap_or(1),
            honours_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: c.node_taints_policy.as_deref() == Some("Honor"),
        };
        spec.topology_spread_constraints.iter().flatten().map(one).collect()
    }
}
