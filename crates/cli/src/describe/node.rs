//! A node: its conditions, what it has and what its pods ask for.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use serde_json::Value;

use super::writer::{Writer, items, text};
use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::duration::{long, since};
use crate::failure::{Failure, Result};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

/// The node's lease, or why it can't be read.
pub(super) async fn lease(api: &Api, name: &str) -> Result<Value> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", escaped(name));
    api.get(&path, &Query::new()).await
}

/// The node's pods that have not ended; None: they are not for the user to see.
pub(super) async fn pods(api: &Api, name: &str) -> Result<Option<Vec<Value>>> {
    let selector = format!("spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed");
    let query = Query::new().with("fieldSelector", selector);
    match api.list("/api/v1/pods", &query, false, PAGE_OBJECTS).await {
        Ok(mut list) => Ok(Some(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())),
        Err(e) if e.reason() == "Forbidden" => Ok(None),
        Err(e) => Err(e),
    }
}

/// A node without its events.
pub(super) fn node(w: &mut Writer, node: &Value, lease: &Result<Value>, pods: &Option<Vec<Value>>, now: Timestamp) {
    let (metadata, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.line(0, format!("Roles:\t{}", roles(metadata)));
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
    w.line(0, format!("CreationTimestamp:\t{}", long(&metadata["creationTimestamp"])));
    taints(w, spec);
    w.line(0, format!("Unschedulable:\t{}", spec["unschedulable"] == true));
    describe_lease(w, lease);
    conditions(w, status);
    w.line(0, "Addresses:");
    for address in items(&status["addresses"]) {
        w.line(1, format!("{}:\t{}", text(&address["type"]), text(&address["address"])));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let amounts = status[field].as_object();
        if amounts.is_some_and(|amounts| !amounts.is_empty()) {
            w.line(0, format!("{title}:"));
        }
        for (name, amount) in amounts.into_iter().flatten() {
            w.line(1, format!("{name}:\t{}", text(amount)));
        }
    }
    system(w, node);
    match pods {
        Some(pods) => resources(w, node, pods, now),
        None => w.line(0, "Pods:\tnot authorized"),
    }
}

fn roles(metadata: &Value) -> String {
    let labels = metadata["labels"].as_object();
    let mut roles: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == ROLE_LABEL => value.as_str().filter(|role| !role.is_empty()).map(str::to_owned),
            _ => None,
        })
        .collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn taints(w: &mut Writer, spec: &Value) {
    let mut sorted: Vec<&Value> = items(&spec["taints"]).iter().collect();
    sorted.sort_by_key(|taint| format!("{},{}", text(&taint["effect"]), text(&taint["key"])));
    w.list("Taints", sorted.into_iter().map(taint_text).collect());
}

/// `key=value:effect`, without the parts that it lacks.
pub(crate) fn taint_text(taint: &Value) -> String {
    let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
    match (value.is_empty(), effect.is_empty()) {
        (_, true) => key,
        (true, false) => format!("{key}:{effect}"),
        (false, false) => format!("{key}={value}:{effect}"),
    }
}

fn describe_lease(w: &mut Writer, lease: &Result<Value>) {
    let lease = match lease {
        Ok(lease) => lease,
        Err(e) => {
            let why = match e {
                Failure::Status(status) => text(&status["message"]),
                other => other.text(),
            };
            return w.line(0, format!("Lease:\tFailed to get lease: {why}"));
        }
    };
    let spec = &lease["spec"];
    let time = |value: &Value| if value.is_string() { long(value) } else { "<unset>".into() };
    let holder = if spec["holderIdentity"].is_string() { text(&spec["holderIdentity"]) } else { "<unset>".into() };
    w.line(0, "Lease:");
    w.line(1, format!("HolderIdentity:\t{holder}"));
    w.line(1, format!("AcquireTime:\t{}", time(&spec["acquireTime"])));
    w.line(1, format!("RenewTime:\t{}", time(&spec["renewTime"])));
}

fn conditions(w: &mut Writer, status: &Value) {
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        w.line(0, "Conditions:");
        w.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        w.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    }
    for condition in conditions {
        let part = |name: &str| text(&condition[name]);
        let (heartbeat, change) = (long(&condition["lastHeartbeatTime"]), long(&condition["lastTransitionTime"]));
        w.line(
            1,
            format!(
                "{} \t{} \t{heartbeat} \t{change} \t{} \t{}",
                part("type"),
                part("status"),
                part("reason"),
                part("message")
            ),
        );
    }
}

fn system(w: &mut Writer, node: &Value) {
    let info = &node["status"]["nodeInfo"];
    w.line(0, "System Info:");
    let rows = [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ];
    for (title, field) in rows {
        w.line(1, format!("{title}:\t{}", text(&info[field])));
    }
    let spec = &node["spec"];
    if !text(&spec["podCIDR"]).is_empty() {
        w.line(0, format!("PodCIDR:\t{}", text(&spec["podCIDR"])));
    }
    let ranges: Vec<String> = items(&spec["podCIDRs"]).iter().map(text).collect();
    if !ranges.is_empty() {
        w.line(0, format!("PodCIDRs:\t{}", ranges.join(",")));
    }
    if !text(&spec["providerID"]).is_empty() {
        w.line(0, format!("ProviderID:\t{}", text(&spec["providerID"])));
    }
}

/// Sums by resource name.
type Amounts = BTreeMap<String, Quantity>;

fn resources(w: &mut Writer, node: &Value, pods: &[Value], now: Timestamp) {
    let status = &node["status"];
    let has = |name: &str| {
        let allocatable = &status["allocatable"];
        let of = if allocatable.is_object() { allocatable } else { &status["capacity"] };
        Quantity::from_json(&of[name]).unwrap_or_else(|_| zero())
    };
    let share = |amount: &Quantity, name: &str| {
        let whole = has(name);
        // Memory in milli-units would overflow; only CPU needs them.
        let (part, whole) =
            if name == "cpu" { (amount.milli(), whole.milli()) } else { (amount.units(), whole.units()) };
        let percent = if whole == 0 { 0 } else { (part as f64 / whole as f64 * 100.0) as i64 };
        format!("{amount} ({percent}%)")
    };
    w.line(0, format!("Non-terminated Pods:\t({} in total)", pods.len()));
    w.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    w.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for pod in pods {
        let (request, limit) = (totals(pod, "requests"), totals(pod, "limits"));
        let of = |amounts: &Amounts, name: &str| share(&amounts.get(name).cloned().unwrap_or_else(zero), name);
        let metadata = &pod["metadata"];
        w.line(
            1,
            format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{}",
                text(&metadata["namespace"]),
                text(&metadata["name"]),
                of(&request, "cpu"),
                of(&limit, "cpu"),
                of(&request, "memory"),
                of(&limit, "memory"),
                since(&metadata["creationTimestamp"], now)
            ),
        );
        add(&mut requests, request);
        add(&mut limits, limit);
    }
    w.line(0, "Allocated resources:");
    w.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    w.line(1, "Resource\tRequests\tLimits");
    w.line(1, "--------\t--------\t------");
    let of = |amounts: &Amounts, name: &str| share(&amounts.get(name).cloned().unwrap_or_else(zero), name);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        w.line(1, format!("{name}\t{}\t{}", of(&requests, name), of(&limits, name)));
    }
    let others: Vec<&String> = status["allocatable"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
    for name in others.iter().filter(|name| name.starts_with("hugepages-")) {
        w.line(1, format!("{name}\t{}\t{}", of(&requests, name), of(&limits, name)));
    }
    for name in others.iter().filter(|name| name.contains('/')) {
        let bare = |amounts: &Amounts| amounts.get(*name).cloned().unwrap_or_else(zero);
        w.line(1, format!("{name}\t{}\t{}", bare(&requests), bare(&limits)));
    }
}

fn zero() -> Quantity {
    Quantity::from_units(0, Format::DecimalSi)
}

fn totals(pod: &Value, which: &str) -> Amounts {
    api::resources::container_totals(&pod["spec"], which)
}

fn add(sums: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *sums.entry(name).or_insert_with(zero) += &amount;
    }
}
