//! Events, of both API groups that serve them.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, number, text};
use super::{Column, NAME, Printer};

pub(super) const EVENT: Printer = Printer {
    columns: &[
        Column::text("Last Seen"),
        Column::text("Type"),
        Column::text("Reason"),
        Column::text("Object"),
        Column::wide("Subobject"),
        Column::wide("Source"),
        Column::text("Message"),
        Column::wide("First Seen"),
        Column::wide("Count"),
        Column { priority: 1, ..NAME },
    ],
    row,
};

/// The first of the paths that holds a text.
fn either<'a>(event: &'a Value, paths: [&str; 2]) -> &'a str {
    paths.into_iter().map(|path| text(event, path)).find(|text| !text.is_empty()).unwrap_or("")
}

fn seen(event: &Value, paths: [&str; 2], now: Timestamp) -> Option<String> {
    let path = paths.into_iter().find(|path| cells::moment(event, path).is_some())?;
    Some(cells::since(event, path, now))
}

fn row(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = seen(event, ["/firstTimestamp", "/deprecatedFirstTimestamp"], now)
        .unwrap_or_else(|| cells::since(event, "/eventTime", now));
    let mut last = seen(event, ["/lastTimestamp", "/deprecatedLastTimestamp"], now).unwrap_or_else(|| first.clone());
    let mut count = number(event, "/count").max(number(event, "/deprecatedCount")).max(1);
    if event.get("series").is_some_and(Value::is_object) {
        last = cells::since(event, "/series/lastObservedTime", now);
        count = number(event, "/series/count");
    }
    let kind = either(event, ["/involvedObject/kind", "/regarding/kind"]).to_lowercase();
    let target = match either(event, ["/involvedObject/name", "/regarding/name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = either(event, ["/source/component", "/deprecatedSource/component"]);
    let component =
        if component.is_empty() { either(event, ["/reportingComponent", "/reportingController"]) } else { component };
    let host = either(event, ["/source/host", "/deprecatedSource/host"]);
    let host = if host.is_empty() { text(event, "/reportingInstance") } else { host };
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        last.into(),
        cells::cell(event, "/type"),
        cells::cell(event, "/reason"),
        target.into(),
        either(event, ["/involvedObject/fieldPath", "/regarding/fieldPath"]).into(),
        source.into(),
        either(event, ["/message", "/note"]).trim().into(),
        first.into(),
        count.into(),
        cells::name(event),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::json;

    #[test]
    fn rows() {
        let event = json!({"involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
            "type": "Normal", "reason": "Started", "message": "Started container\n", "count": 2,
            "source": {"component": "kubelet", "host": "n-0"},
            "firstTimestamp": "2026-01-01T00:03:00Z", "lastTimestamp": "2026-01-01T00:04:00Z"});
        let expect = "60s|Normal|Started|pod/p|spec.containers{c}|kubelet, n-0|Started container|2m|2|x";
        assert_eq!(printed("v1", "Event", event), expect);
        let event = json!({"regarding": {"kind": "Node", "name": "n"}, "type": "Warning", "reason": "R", "note": "m",
            "reportingController": "c", "eventTime": "2026-01-01T00:03:00.000000Z",
            "series": {"count": 4, "lastObservedTime": "2026-01-01T00:04:50.000000Z"}});
        assert_eq!(printed("events.k8s.io/v1", "Event", event), "10s|Warning|R|node/n||c|m|2m|4|x");
    }
}
