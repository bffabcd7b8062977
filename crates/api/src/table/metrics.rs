//! Autoscalers: what they aim at and where they are.

use serde_json::Value;

use super::cells::{self, NONE, UNKNOWN, UNSET, list, number, shown, text};
use super::{AGE, Column, NAME, Printer};

/// How many metrics are shown before `+ N more...`.
const METRICS_SHOWN_MAX: usize = 2;

pub(super) const HORIZONTAL_POD_AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Reference"),
        Column::text("Targets"),
        Column::text("MinPods"),
        Column::text("MaxPods"),
        Column::text("Replicas"),
        AGE,
    ],
    row: |scaler, now| {
        let reference =
            format!("{}/{}", text(scaler, "/spec/scaleTargetRef/kind"), text(scaler, "/spec/scaleTargetRef/name"));
        vec![
            cells::name(scaler),
            reference.into(),
            targets(scaler).into(),
            shown(scaler, "/spec/minReplicas").unwrap_or_else(|| UNSET.to_owned()).into(),
            number(scaler, "/spec/maxReplicas").into(),
            number(scaler, "/status/currentReplicas").into(),
            cells::age(scaler, now),
        ]
    },
};

fn targets(scaler: &Value) -> String {
    let metrics = list(scaler, "/spec/metrics");
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let statuses = list(scaler, "/status/currentMetrics");
    let parts: Vec<String> =
        metrics.iter().take(METRICS_SHOWN_MAX).enumerate().map(|(i, metric)| target(metric, statuses.get(i))).collect();
    let more = metrics.len().saturating_sub(METRICS_SHOWN_MAX);
    if more > 0 { format!("{} + {more} more...", parts.join(", ")) } else { parts.join(", ") }
}

/// One metric as `current/wanted`.
fn target(metric: &Value, status: Option<&Value>) -> String {
    let (key, of_resource) = match text(metric, "/type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let current = |field: &str| status.and_then(|status| shown(status, &format!("/{key}/current/{field}")));
    let wanted = |field: &str| shown(metric, &format!("/{key}/target/{field}"));
    let unknown = || UNKNOWN.to_owned();
    let prefix = if of_resource { format!("{}: ", text(metric, &format!("/{key}/name"))) } else { String::new() };
    match wanted("averageValue") {
        Some(average) => {
            let suffix = if matches!(key, "external" | "object") { " (avg)" } else { "" };
            format!("{prefix}{}/{average}{suffix}", current("averageValue").unwrap_or_else(unknown))
        }
        None if of_resource => {
            let percent = |value: Option<String>, absent: &str| value.map_or(absent.to_owned(), |v| format!("{v}%"));
            let now = percent(current("averageUtilization"), UNKNOWN);
            format!("{prefix}{now}/{}", percent(wanted("averageUtilization"), "<auto>"))
        }
        None => format!("{}/{}", current("value").unwrap_or_else(unknown), wanted("value").unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        fn check(metrics: Value, current: Value, expect: &str) {
            let obj = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1,
                "maxReplicas": 5, "metrics": metrics}, "status": {"currentMetrics": current}});
            let row = printed("autoscaling/v2", "HorizontalPodAutoscaler", obj);
            assert_eq!(row, format!("x|Deployment/d|{expect}|1|5|0|5m"));
        }
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        check(json!([]), json!([]), "<none>");
        check(json!([cpu]), json!([]), "cpu: <unknown>/80%");
        check(json!([cpu]), json!([{"resource": {"current": {"averageUtilization": 30}}}]), "cpu: 30%/80%");
        check(json!([cpu, cpu, cpu]), json!([]), "cpu: <unknown>/80%, cpu: <unknown>/80% + 1 more...");
        let external = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        check(json!([external]), json!([]), "<unknown>/5 (avg)");
    }
}
