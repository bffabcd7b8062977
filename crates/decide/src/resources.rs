//! Amounts: what pods ask for and what nodes have, as whole numbers, and the ports that pods take of their node.
//!
//! Invariants: cpu counts in thousandths, everything else in units; requests round up, so that a node is never overbooked
//! by rounding.
//!
//! Absent: the syntax of quantities (`api::quantity`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Amounts by resource name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources(pub BTreeMap<String, i64>);

impl From<&BTreeMap<String, Quantity>> for Resources {
    fn from(list: &BTreeMap<String, Quantity>) -> Self {
        Self(list.iter().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect())
    }
}

/// The amount that `quantity` of the resource `name` stands for; 0 when it cannot be read.
fn amount(name: &str, quantity: &Quantity) -> i64 {
    let Ok(parsed) = api::quantity::Quantity::parse(&quantity.0) else { return 0 };
    if name == "cpu" { parsed.milli() } else { parsed.units() }
}

impl Resources {
    /// What a pod of this spec asks for: the larger of what its containers use together and what any of its init
    /// containers needs on the way there, and the overhead.
    #[must_use]
    pub fn requested(spec: &PodSpec) -> Self {
        Self::total(spec, of_container)
    }

    fn total(spec: &PodSpec, of: impl Fn(&Container) -> Self) -> Self {
        let mut running = Self::default();
        let mut starting = Self::default();
        for container in &spec.containers {
            running.add(&of(container));
        }
        let mut sidecars = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let mut own = of(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&own);
                own = sidecars.clone();
            } else {
                own.add(&sidecars);
            }
            starting.raise_to(&own);
        }
        running.add(&sidecars);
        running.raise_to(&starting);
        if let Some(whole) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
            for (name, value) in Self::from(whole).0 {
                running.0.insert(name, value);
            }
        }
        if let Some(overhead) = &spec.overhead {
            running.add(&Self::from(overhead));
        }
        running
    }

    /// Adds `other`, name by name.
    pub fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
    }

    /// Takes `other` away, name by name; never below zero.
    pub fn subtract(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            if let Some(rest) = self.0.get_mut(name) {
                *rest = rest.saturating_sub(*value).max(0);
            }
        }
    }

    /// The amount of one resource.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*value);
        }
    }
}

/// What a pod is reckoned to use of cpu (thousandths) and memory (bytes) when nodes are compared: what its containers
/// ask for, and for those that ask for none a usual amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usual {
    /// Thousandths of a processor.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

/// What a container that asks for no cpu is reckoned to use, in thousandths. Kubernetes' figure.
const USUAL_CPU: i64 = 100;

/// What a container that asks for no memory is reckoned to use, in bytes. Kubernetes' figure.
const USUAL_MEMORY: i64 = 200 * 1024 * 1024;

impl Usual {
    /// Of a pod of this spec.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        let all = Resources::total(spec, |container| {
            let mut own = of_container(container);
            own.0.entry("cpu".to_owned()).or_insert(USUAL_CPU);
            own.0.entry("memory".to_owned()).or_insert(USUAL_MEMORY);
            own
        });
        Self { cpu: all.get("cpu"), memory: all.get("memory") }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }

    /// Takes `other` away; never below zero.
    pub fn subtract(&mut self, other: Self) {
        self.cpu = (self.cpu - other.cpu).max(0);
        self.memory = (self.memory - other.memory).max(0);
    }
}

fn of_container(container: &Container) -> Resources {
    container.resources.as_ref().and_then(|r| r.requests.as_ref()).map(Resources::from).unwrap_or_default()
}

/// A port that a pod takes of its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Address on the node; `0.0.0.0` means all of them.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

/// The address that stands for all addresses of a node.
const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// The ports that a pod of this spec takes of its node.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Vec<Self> {
        let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        ports
            .filter_map(|p| {
                let port = p.host_port.filter(|n| *n > 0)?;
                let ip = p.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or(ANY_ADDRESS);
                let protocol = p.protocol.as_deref().unwrap_or("TCP");
                Some(Self { ip: ip.to_owned(), protocol: protocol.to_owned(), port })
            })
            .collect()
    }

    /// True when both cannot be taken on one node.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let same_address = self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}
