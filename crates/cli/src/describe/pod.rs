//! A pod.

use jiff::Timestamp;
use serde_json::Value;

use super::container::{OfPod, containers};
use super::controller;
use super::template::{spread, tolerations};
use super::volumes::volumes;
use super::writer::{Writer, items, text};
use crate::duration::{long, since};

/// A pod without its events.
pub(super) fn pod(w: &mut Writer, pod: &Value, now: Timestamp) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    head(w, pod);
    state(w, pod, now);
    w.line(0, format!("IP:\t{}", text(&status["podIP"])));
    let addresses = items(&status["podIPs"]);
    w.line(0, if addresses.is_empty() { "IPs:\t<none>" } else { "IPs:" });
    for address in addresses {
        w.line(1, format!("IP:\t{}", text(&address["ip"])));
    }
    if let Some(owner) = controller(pod) {
        w.line(0, format!("Controlled By:\t{}/{}", text(&owner["kind"]), text(&owner["name"])));
    }
    if !text(&status["nominatedNodeName"]).is_empty() {
        w.line(0, format!("NominatedNodeName:\t{}", text(&status["nominatedNodeName"])));
    }
    let kinds = [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ];
    for (title, list, statuses) in kinds {
        if list == "containers" || !items(&spec[list]).is_empty() {
            containers(w, title, &spec[list], Some(OfPod { pod, statuses: &status[statuses] }), "");
        }
    }
    gates_and_conditions(w, pod);
    volumes(w, &spec["volumes"], "");
    w.line(0, format!("QoS Class:\t{}", qos(pod)));
    w.labels("Node-Selectors", &spec["nodeSelector"]);
    tolerations(w, "Tolerations", &spec["tolerations"]);
    spread(w, spec, "");
}

fn head(w: &mut Writer, pod: &Value) {
    let (metadata, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.line(0, format!("Namespace:\t{}", text(&metadata["namespace"])));
    if spec["priority"].is_i64() {
        w.line(0, format!("Priority:\t{}", text(&spec["priority"])));
    }
    let optional = [
        ("Priority Class Name", "priorityClassName"),
        ("Runtime Class Name", "runtimeClassName"),
        ("Service Account", "serviceAccountName"),
    ];
    for (title, field) in optional {
        if !text(&spec[field]).is_empty() {
            w.line(0, format!("{title}:\t{}", text(&spec[field])));
        }
    }
    match text(&spec["nodeName"]) {
        node if node.is_empty() => w.line(0, "Node:\t<none>"),
        node => w.line(0, format!("Node:\t{node}/{}", text(&status["hostIP"]))),
    }
    if status["startTime"].is_string() {
        w.line(0, format!("Start Time:\t{}", long(&status["startTime"])));
    }
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
}

fn state(w: &mut Writer, pod: &Value, now: Timestamp) {
    let (metadata, status) = (&pod["metadata"], &pod["status"]);
    let phase = text(&status["phase"]);
    if metadata["deletionTimestamp"].is_string() && phase != "Failed" && phase != "Succeeded" {
        w.line(0, format!("Status:\tTerminating (lasts {})", since(&metadata["deletionTimestamp"], now)));
        let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
        w.line(0, format!("Termination Grace Period:\t{grace}s"));
    } else {
        w.line(0, format!("Status:\t{phase}"));
    }
    for (title, field) in [("Reason", "reason"), ("Message", "message")] {
        if !text(&status[field]).is_empty() {
            w.line(0, format!("{title}:\t{}", text(&status[field])));
        }
    }
    let profile = &pod["spec"]["securityContext"]["seccompProfile"];
    if profile.is_object() {
        w.line(0, format!("SeccompProfile:\t{}", text(&profile["type"])));
        if profile["type"] == "Localhost" {
            w.line(0, format!("LocalhostProfile:\t{}", text(&profile["localhostProfile"])));
        }
    }
}

fn gates_and_conditions(w: &mut Writer, pod: &Value) {
    let conditions = items(&pod["status"]["conditions"]);
    let gates = items(&pod["spec"]["readinessGates"]);
    if !gates.is_empty() {
        w.line(0, "Readiness Gates:");
        w.line(1, "Type\tStatus");
    }
    for gate in gates {
        let found = conditions.iter().find(|condition| condition["type"] == gate["conditionType"]);
        let status = found.map_or("<none>".to_owned(), |condition| text(&condition["status"]));
        w.line(1, format!("{} \t{status} ", text(&gate["conditionType"])));
    }
    if !conditions.is_empty() {
        w.line(0, "Conditions:");
        w.line(1, "Type\tStatus");
    }
    for condition in conditions {
        w.line(1, format!("{} \t{} ", text(&condition["type"]), text(&condition["status"])));
    }
}

fn qos(pod: &Value) -> String {
    match text(&pod["status"]["qosClass"]) {
        class if class.is_empty() => api::resources::qos_class(&pod["spec"]).to_owned(),
        class => class,
    }
}
