//! New nodes take no pods until their agent has shown that they are ready.

use serde_json::{Value, json};

/// The taint that the node controller takes away once the node is ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Adds the taint to a new node.
pub(super) fn taint_until_ready(node: &mut Value) {
    if !node["spec"].is_object() {
        node["spec"] = json!({});
    }
    let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
    match node["spec"]["taints"].as_array_mut() {
        Some(taints) if taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") => {}
        Some(taints) => taints.push(taint),
        None => node["spec"]["taints"] = json!([taint]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once() {
        let mut node = json!({"metadata": {"name": "n"}});
        taint_until_ready(&mut node);
        taint_until_ready(&mut node);
        assert_eq!(node["spec"]["taints"], json!([{"key": NOT_READY, "effect": "NoSchedule"}]));
    }
}
