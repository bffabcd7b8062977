//! A pod template, as workloads and revisions show it.

use serde_json::Value;

use super::container;
use super::volumes;
use super::writer::{Writer, items, text};

/// `Pod Template:` and all below.
pub(crate) fn pod_template(w: &mut Writer, template: &Value) {
    w.line(0, "Pod Template:");
    w.labels("  Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|all| !all.is_empty()) {
        w.annotations("  Annotations", &template["metadata"]["annotations"]);
    }
    let spec = &template["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        w.line(1, format!("Service Account:\t{}", text(&spec["serviceAccountName"])));
    }
    if !items(&spec["initContainers"]).is_empty() {
        container::containers(w, "Init Containers", &spec["initContainers"], None, "  ");
    }
    container::containers(w, "Containers", &spec["containers"], None, "  ");
    volumes::volumes(w, &spec["volumes"], "  ");
    spread(w, spec, "  ");
    if !text(&spec["priorityClassName"]).is_empty() {
        w.line(1, format!("Priority Class Name:\t{}", text(&spec["priorityClassName"])));
    }
    w.labels("  Node-Selectors", &spec["nodeSelector"]);
    tolerations(w, "  Tolerations", &spec["tolerations"]);
}

/// Tolerations, sorted by key.
pub(super) fn tolerations(w: &mut Writer, title: &str, list: &Value) {
    let mut sorted: Vec<&Value> = items(list).iter().collect();
    sorted.sort_by_key(|toleration| text(&toleration["key"]));
    w.list(title, sorted.into_iter().map(toleration).collect());
}

fn toleration(toleration: &Value) -> String {
    let part = |name: &str| text(&toleration[name]);
    let mut line = part("key");
    if !part("value").is_empty() {
        line = format!("{line}={}", part("value"));
    }
    if !part("effect").is_empty() {
        line = format!("{line}:{}", part("effect"));
    }
    if part("operator") == "Exists" && part("value").is_empty() {
        line = if line.is_empty() { "op=Exists".into() } else { format!("{line} op=Exists") };
    }
    if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
        line = format!("{line} for {seconds}s");
    }
    line
}

/// Topology spread constraints, sorted by key; nothing if there are none.
pub(super) fn spread(w: &mut Writer, spec: &Value, space: &str) {
    let mut sorted: Vec<&Value> = items(&spec["topologySpreadConstraints"]).iter().collect();
    if sorted.is_empty() {
        return;
    }
    sorted.sort_by_key(|constraint| text(&constraint["topologyKey"]));
    let line = |constraint: &Value| {
        let mut line = format!(
            "{}:{} when max skew {} is exceeded",
            text(&constraint["topologyKey"]),
            text(&constraint["whenUnsatisfiable"]),
            text(&constraint["maxSkew"])
        );
        if constraint["labelSelector"].is_object() {
            line = format!("{line} for selector {}", super::selector_text(&constraint["labelSelector"]));
        }
        line
    };
    w.list(&format!("{space}Topology Spread Constraints"), sorted.into_iter().map(line).collect());
}
