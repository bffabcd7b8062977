//! One address or port that a Service has, and its key in the store.

use std::net::Ipv4Addr;

use api::status::Status;
use bytes::Bytes;
use serde_json::{Value, json};
use store::{Entry, Store};

use crate::app::{App, failure};
use crate::object;
use crate::verbs::write::now;

/// Where ports are recorded, outside of what any kind lists.
pub(super) const PORTS: &str = "/registry/ranges/node-ports/";
/// Who makes the IPAddress objects of Services, as Kubernetes labels them.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// The value of that label.
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// An address or a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holding {
    Address(Ipv4Addr),
    Port(u16),
}

/// All that a Service has.
pub(super) fn of(service: &Value) -> Vec<Holding> {
    let spec = &service["spec"];
    let address = spec["clusterIP"].as_str().and_then(|ip| ip.parse().ok()).map(Holding::Address);
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    let ports = ports.chain([&spec["healthCheckNodePort"]]);
    let ports = ports.filter_map(|port| u16::try_from(port.as_u64()?).ok()).filter(|port| *port != 0);
    let mut all: Vec<Holding> = address.into_iter().chain(ports.map(Holding::Port)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What the keys of all addresses begin with.
pub(super) fn addresses() -> String {
    api::kinds::find("networking.k8s.io", "v1", "ipaddresses")
        .map(|kind| object::prefix(kind, None))
        .unwrap_or_default()
}

impl Holding {
    /// Its key in the store.
    pub(super) fn key(self) -> String {
        match self {
            Holding::Address(ip) => format!("{}{ip}", addresses()),
            Holding::Port(port) => format!("{PORTS}{port}"),
        }
    }

    /// What an entry's key stands for.
    pub(super) fn of_entry(entry: &Entry) -> Option<Holding> {
        let key = std::str::from_utf8(&entry.key).ok()?;
        match key.strip_prefix(PORTS) {
            Some(port) => port.parse().ok().map(Holding::Port),
            None => key.strip_prefix(&addresses())?.parse().ok().map(Holding::Address),
        }
    }

    /// What is stored under its key.
    pub(super) fn record(self, namespace: &str, name: &str) -> Result<Bytes, Status> {
        let metadata = json!({"creationTimestamp": now()});
        let record = match self {
            Holding::Port(_) => json!({"metadata": metadata, "namespace": namespace, "name": name}),
            Holding::Address(ip) => json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
                "metadata": {"name": ip.to_string(), "uid": uuid::Uuid::new_v4().to_string(),
                    "creationTimestamp": now(),
                    "labels": {"ipaddress.kubernetes.io/ip-family": "IPv4", MANAGED_BY: ALLOCATOR}},
                "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}},
            }),
        };
        object::encode(&record)
    }

    /// Removes its key, if it is that of this Service.
    pub(super) async fn give_back<S: Store>(self, app: &App<S>, namespace: &str, name: &str) -> Result<(), Status> {
        let key = self.key();
        let Some(entry) = app.store.get(key.as_bytes()).await.map_err(failure)?.0 else { return Ok(()) };
        match owner(&entry) {
            Some(owner) if (owner.namespace.as_str(), owner.name.as_str()) == (namespace, name) => {
                // Someone else's by now: then it is not ours to give.
                app.remove(&key, entry.mod_revision).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// The Service that a key belongs to, and since when.
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) since: jiff::Timestamp,
}

/// None for an IPAddress that someone else keeps.
pub(super) fn owner(entry: &Entry) -> Option<Owner> {
    let record: Value = serde_json::from_slice(&entry.value).ok()?;
    let reference = match record.get("spec") {
        Some(_) if record["metadata"]["labels"][MANAGED_BY] != ALLOCATOR => return None,
        Some(spec) => &spec["parentRef"],
        None => &record,
    };
    let text = |field: &str| reference[field].as_str().map(str::to_owned);
    let since = record["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse().ok());
    Some(Owner { namespace: text("namespace")?, name: text("name")?, since: since.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Revision;

    #[test]
    fn what_a_service_has() {
        let service = json!({"spec": {"clusterIP": "10.96.0.9", "healthCheckNodePort": 30002,
            "ports": [{"nodePort": 30001}, {"nodePort": 30001}, {"port": 1}]}});
        let all = [Holding::Address(Ipv4Addr::new(10, 96, 0, 9)), Holding::Port(30001), Holding::Port(30002)];
        assert_eq!(of(&service), all);
        for holding in all {
            let entry = Entry {
                key: holding.key().into(),
                value: holding.record("a", "b").unwrap(),
                create_revision: Revision(1),
                mod_revision: Revision(1),
            };
            assert_eq!(Holding::of_entry(&entry), Some(holding));
            let owner = owner(&entry).unwrap();
            assert_eq!((owner.namespace.as_str(), owner.name.as_str()), ("a", "b"));
        }
        assert_eq!(of(&json!({"spec": {"clusterIP": "None"}})), []);
    }
}
