//! The events of an object.

use jiff::Timestamp;
use serde_json::Value;

use super::writer::{Writer, text};
use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::duration::since;
use crate::targets::Target;

/// The object's events; none when they can't be read.
pub(super) async fn search(api: &Api, target: &Target, object: &Value) -> Vec<Value> {
    let is_node = target.mapping.kind == "Node" && target.mapping.group.is_empty();
    let uid = text(&object["metadata"]["uid"]);
    let mut found = by_uid(api, target, &uid).await;
    if is_node {
        // An agent names its node by its name where controllers use the UID.
        found.extend(by_uid(api, target, &target.name).await);
    }
    found
}

async fn by_uid(api: &Api, target: &Target, uid: &str) -> Vec<Value> {
    let namespace = &target.namespace;
    let path = if namespace.is_empty() {
        "/api/v1/events".to_owned()
    } else {
        format!("/api/v1/namespaces/{}/events", escaped(namespace))
    };
    let mut terms = vec![
        format!("involvedObject.name={}", target.name),
        format!("involvedObject.namespace={namespace}"),
        format!("involvedObject.kind={}", target.mapping.kind),
    ];
    if !uid.is_empty() {
        terms.push(format!("involvedObject.uid={uid}"));
    }
    let query = Query::new().with("fieldSelector", terms.join(","));
    match api.list(&path, &query, false, PAGE_OBJECTS).await {
        Ok(mut list) => list["items"].as_array_mut().map(std::mem::take).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// The events as a table, oldest first.
pub(super) fn events(w: &mut Writer, events: &[Value], now: Timestamp) {
    if events.is_empty() {
        w.line(0, "Events:\t<none>");
        return;
    }
    w.flush();
    let mut sorted: Vec<&Value> = events.iter().collect();
    sorted.sort_by_key(|event| text(&event["lastTimestamp"]));
    w.line(0, "Events:");
    w.line(1, "Type\tReason\tAge\tFrom\tMessage");
    w.line(1, "----\t------\t----\t----\t-------");
    for event in sorted {
        w.line(1, line(event, now));
    }
}

fn line(event: &Value, now: Timestamp) -> String {
    let first = if event["eventTime"].is_string() {
        since(&event["eventTime"], now)
    } else {
        since(&event["firstTimestamp"], now)
    };
    let series = &event["series"];
    let count = event["count"].as_i64().unwrap_or_default();
    let age = if series.is_object() {
        format!("{} (x{} over {first})", since(&series["lastObservedTime"], now), text(&series["count"]))
    } else if count > 1 {
        format!("{} (x{count} over {first})", since(&event["lastTimestamp"], now))
    } else {
        first
    };
    let component = text(&event["source"]["component"]);
    let source = if component.is_empty() { text(&event["reportingComponent"]) } else { component };
    let said = text(&event["message"]);
    let field = text(&event["involvedObject"]["fieldPath"]);
    let message = if field.is_empty() { said.trim().to_owned() } else { format!("{field}: {}", said.trim()) };
    format!("{}\t{}\t{age}\t{source}\t{message}", text(&event["type"]), text(&event["reason"]))
}
