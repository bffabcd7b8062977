//! `node.status` as the kubelet would write it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use decide::node_pressure::Condition;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::facts::Capacity;
use crate::runtime::ImageInfo;

/// Most pods of one node, as Kubernetes has it.
const PODS_MAX: i64 = 110;
/// Memory kept back from pods, as Kubernetes has it.
const MEMORY_RESERVE: i64 = 100 * 1024 * 1024;
/// Share of the disk, in percent, kept back from pods, as Kubernetes has it.
const DISK_RESERVE_PERCENT: i64 = 10;
/// Most images in the status, as Kubernetes has it: it bounds the object's size.
const IMAGES_MAX: usize = 50;

/// What a status is made from.
pub(super) struct Facts {
    pub(super) capacity: Capacity,
    pub(super) info: NodeSystemInfo,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) hostname: String,
    pub(super) images: Vec<ImageInfo>,
    /// What the node is short of.
    pub(super) pressure: Vec<Condition>,
    /// The machine goes down.
    pub(super) going_down: bool,
    /// Why pods can't get a network, where they can't.
    pub(super) no_network: Option<String>,
}

/// What a node that waits for its network says, in the kubelet's words.
pub(super) fn network_words(cause: &str) -> String {
    format!("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{cause}")
}

/// The whole status; conditions keep their time of transition from `old`.
pub(super) fn status(facts: &Facts, old: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let capacity = &facts.capacity;
    let resources = |memory: i64, disk: i64| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(capacity.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", memory / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", disk / 1024))),
            ("pods".to_owned(), Quantity(PODS_MAX.to_string())),
        ])
    };
    let disk_left = capacity.disk_bytes / 100 * (100 - DISK_RESERVE_PERCENT);
    let mut addresses: Vec<NodeAddress> = facts
        .addresses
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: facts.hostname.clone() });
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(resources((capacity.memory_bytes - MEMORY_RESERVE).max(0), disk_left)),
        capacity: Some(resources(capacity.memory_bytes, capacity.disk_bytes)),
        conditions: Some(conditions(facts, old, now)),
        images: Some(images(&facts.images)),
        node_info: Some(facts.info.clone()),
        ..Default::default()
    }
}

fn conditions(facts: &Facts, old: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let [memory, disk, pids] =
        [Condition::Memory, Condition::Disk, Condition::Pids].map(|condition| facts.pressure.contains(&condition));
    let pressure = |type_, on, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        let (reason, message) = if on { yes } else { no };
        (type_, on, reason, message.to_owned())
    };
    let ready = match &facts.no_network {
        _ if facts.going_down => ("Ready", false, "KubeletNotReady", "node is shutting down".to_owned()),
        None => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(cause) => ("Ready", false, "KubeletNotReady", network_words(cause)),
    };
    let list = [
        pressure(
            "MemoryPressure",
            memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let now = Timestamp::from_second(now.as_second()).ok().map(Time);
    list.into_iter()
        .map(|(type_, on, reason, message)| {
            let status = if on { "True" } else { "False" };
            let before = old.and_then(|o| o.conditions.as_ref()?.iter().find(|c| c.type_ == type_));
            let kept = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: now.clone(),
                last_transition_time: kept.or_else(|| now.clone()),
            }
        })
        .collect()
}

fn images(list: &[ImageInfo]) -> Vec<ContainerImage> {
    let mut list: Vec<&ImageInfo> = list.iter().collect();
    list.sort_by_key(|i| std::cmp::Reverse(i.size));
    let image = |i: &ImageInfo| ContainerImage {
        names: Some(i.digests.iter().chain(&i.tags).cloned().collect()),
        size_bytes: i64::try_from(i.size).ok(),
    };
    list.into_iter().take(IMAGES_MAX).map(image).collect()
}

/// What must be told at once; heartbeats and free bytes alone wait for the next turn.
pub(super) fn essence(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
        condition.last_transition_time = None;
    }
    status.daemon_endpoints = None;
    status
}

/// Whether two statuses differ, and in nothing but the images.
pub(super) fn differs_in_images_alone(one: &NodeStatus, other: &NodeStatus) -> bool {
    one.images != other.images && *one == NodeStatus { images: one.images.clone(), ..other.clone() }
}

/// The fields to write after the essence `told` was written; all of them where nothing was. Conditions always are among them,
/// for their heartbeat: what changes seldom (addresses, images) is most of a status, and each image that comes or goes would
/// send all of it.
pub(super) fn changed(status: &NodeStatus, told: Option<&NodeStatus>) -> Value {
    let value = |status: &NodeStatus| serde_json::to_value(status).unwrap_or_default();
    let mut all = value(status);
    let (Some(told), Value::Object(fields)) = (told.map(value), &mut all) else { return all };
    fields.retain(|name, field| name == "conditions" || told.get(name) != Some(field));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written_and_conditions() {
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let old = status(&facts(&[]), None, Timestamp::UNIX_EPOCH);
        let told = essence(&old);
        assert_eq!(changed(&old, None), serde_json::to_value(&old).unwrap());
        assert_eq!(fields(&changed(&old, Some(&told))), ["conditions"]);
        let mut new = old.clone();
        new.images = Some(vec![ContainerImage { names: Some(vec!["x:1".to_owned()]), size_bytes: Some(1) }]);
        let patch = changed(&new, Some(&told));
        assert_eq!(fields(&patch), ["conditions", "images"]);
        assert_eq!(patch["images"][0]["names"][0], "x:1");
        assert_eq!(patch["conditions"].as_array().unwrap().len(), 4);
    }

    fn facts(pressure: &[Condition]) -> Facts {
        let (capacity, info, addresses, hostname, images) = Default::default();
        Facts {
            capacity,
            info,
            addresses,
            hostname,
            images,
            pressure: pressure.to_vec(),
            going_down: false,
            no_network: None,
        }
    }

    fn check(pressure: &[Condition], expect: [&str; 4]) {
        let list = conditions(&facts(pressure), None, Timestamp::UNIX_EPOCH);
        assert_eq!(list.iter().map(|c| c.status.as_str()).collect::<Vec<_>>(), expect, "{pressure:?}");
    }

    #[test]
    fn without_a_network_the_node_is_not_ready() {
        let cause = Some("Network plugin returns error: cni plugin not initialized".to_owned());
        let facts = Facts { no_network: cause, ..facts(&[]) };
        let list = conditions(&facts, None, Timestamp::UNIX_EPOCH);
        let ready = list.last().unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
        let want = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                    message:Network plugin returns error: cni plugin not initialized";
        assert_eq!(ready.message.as_deref(), Some(want));
    }

    #[test]
    fn a_machine_that_goes_down_is_not_ready() {
        let list = conditions(&Facts { going_down: true, ..facts(&[]) }, None, Timestamp::UNIX_EPOCH);
        let ready = list.last().unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("False", Some("node is shutting down")));
    }

    #[test]
    fn pressures() {
        check(&[], ["False", "False", "False", "True"]);
        check(&[Condition::Memory], ["True", "False", "False", "True"]);
        check(&[Condition::Disk, Condition::Pids], ["False", "True", "True", "True"]);
    }

    #[test]
    fn transitions_are_kept() {
        let first = NodeStatus {
            conditions: Some(conditions(&facts(&[]), None, Timestamp::from_second(10).unwrap())),
            ..Default::default()
        };
        let second = conditions(&facts(&[]), Some(&first), Timestamp::from_second(20).unwrap());
        assert_eq!(second[0].last_transition_time, first.conditions.unwrap()[0].last_transition_time);
        assert_eq!(second[0].last_heartbeat_time.as_ref().unwrap().0.as_second(), 20);
    }
}
