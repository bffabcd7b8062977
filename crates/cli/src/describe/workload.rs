//! DaemonSets and ReplicaSets.

use serde_json::Value;

use super::template::pod_template;
use super::writer::{Writer, items, text};
use super::{controller, selector_text};
use crate::reasons::{held, named};
use crate::table::join_labels;

/// A DaemonSet; `pods` are those it controls.
pub(super) fn daemon_set(w: &mut Writer, set: &Value, pods: &[Value]) {
    let (metadata, spec, status) = (&set["metadata"], &set["spec"], &set["status"]);
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.line(0, format!("Selector:\t{}", selector_text(&spec["selector"])));
    w.line(0, format!("Node-Selector:\t{}", join_labels(&spec["template"]["spec"]["nodeSelector"])));
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
    let counts = [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ];
    for (title, field) in counts {
        w.line(0, format!("{title}: {}", status[field].as_i64().unwrap_or_default()));
    }
    w.line(0, format!("Pods Status:\t{}", phases(pods)));
    pod_template(w, &spec["template"]);
}

/// Why nodes run a DaemonSet's daemon or not, by cause: ours alone, kubectl says nothing of nodes.
pub(super) fn reasons(w: &mut Writer, report: &Value) {
    w.line(0, "Nodes:");
    w.line(1, "State\tCount\tCause\tNodes\tWhy");
    w.line(1, "-----\t-----\t-----\t-----\t---");
    for cause in items(&report["causes"]) {
        let part = |name: &str| text(&cause[name]);
        let (count, nodes) = (cause["nodes"].as_u64().unwrap_or_default(), named(cause));
        w.line(1, format!("{}\t{count}\t{}\t{nodes}\t{}", part("state"), part("cause"), part("about")));
    }
    for (about, nodes) in held(report) {
        w.line(0, format!("Update waits on {nodes} nodes:\t{about}"));
    }
}

/// A ReplicaSet; `pods` are those it controls.
pub(super) fn replica_set(w: &mut Writer, set: &Value, pods: &[Value]) {
    let (metadata, spec, status) = (&set["metadata"], &set["spec"], &set["status"]);
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.line(0, format!("Namespace:\t{}", text(&metadata["namespace"])));
    w.line(0, format!("Selector:\t{}", selector_text(&spec["selector"])));
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
    if let Some(owner) = controller(set) {
        w.line(0, format!("Controlled By:\t{}/{}", text(&owner["kind"]), text(&owner["name"])));
    }
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    w.line(0, format!("Replicas:\t{} current / {} desired", number(&status["replicas"]), number(&spec["replicas"])));
    w.line(0, format!("Pods Status:\t{}", phases(pods)));
    pod_template(w, &spec["template"]);
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        w.line(0, "Conditions:");
        w.line(1, "Type\tStatus\tReason");
        w.line(1, "----\t------\t------");
    }
    for condition in conditions {
        let part = |name: &str| text(&condition[name]);
        w.line(1, format!("{} \t{}\t{}", part("type"), part("status"), part("reason")));
    }
}

fn phases(pods: &[Value]) -> String {
    let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
    format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        count("Running"),
        count("Pending"),
        count("Succeeded"),
        count("Failed")
    )
}
