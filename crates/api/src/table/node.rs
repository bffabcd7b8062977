//! Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, UNKNOWN, flag, list, text, text_or};
use super::{AGE, Column, NAME, Printer};

pub(super) const NODE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status"),
        Column::text("Roles"),
        AGE,
        Column::text("Version"),
        Column::wide("Internal-IP"),
        Column::wide("External-IP"),
        Column::wide("OS-Image"),
        Column::wide("Kernel-Version"),
        Column::wide("Container-Runtime"),
    ],
    row,
};

fn row(node: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        cells::name(node),
        status(node).into(),
        roles(node).into(),
        cells::age(node, now),
        cells::cell(node, "/status/nodeInfo/kubeletVersion"),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        text_or(node, "/status/nodeInfo/osImage", UNKNOWN),
        kernel(node).into(),
        text_or(node, "/status/nodeInfo/containerRuntimeVersion", UNKNOWN),
    ]
}

fn status(node: &Value) -> String {
    let ready = match cells::condition(node, "Ready") {
        Some(condition) if text(condition, "/status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if flag(node, "/spec/unschedulable") { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let roles: BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = list(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
    found.map_or(NONE, |address| text(address, "/address"))
}

fn kernel(node: &Value) -> String {
    let kernel = text(node, "/status/nodeInfo/kernelVersion");
    let kernel = if kernel.is_empty() { UNKNOWN } else { kernel };
    match text(node, "/status/nodeInfo/architecture") {
        "" => kernel.to_owned(),
        architecture => format!("{kernel} ({architecture})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        fn check(node: Value, expect: &str) {
            assert_eq!(printed("v1", "Node", node), expect);
        }
        check(json!({}), "x|Unknown|<none>|5m||<none>|<none>|<unknown>|<unknown>|<unknown>");
        let info = json!({"kubeletVersion": "v1.36.2", "osImage": "Debian GNU/Linux 12", "kernelVersion": "6.1.0",
            "containerRuntimeVersion": "hollow://1", "architecture": "amd64"});
        check(
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
                "spec": {"unschedulable": true}, "status": {"nodeInfo": info,
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
            "x|Ready,SchedulingDisabled|a,control-plane|5m|v1.36.2|10.0.0.1|<none>|Debian GNU/Linux 12|6.1.0 \
             (amd64)|hollow://1",
        );
        check(
            json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
            "x|NotReady|<none>|5m||<none>|<none>|<unknown>|<unknown>|<unknown>",
        );
    }
}
