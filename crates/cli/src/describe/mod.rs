//! `describe`: one object in words, with its events.

mod container;
mod events;
mod generic;
mod node;
mod pod;
mod template;
mod volumes;
mod workload;
mod writer;

use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query};
use crate::failure::Result;
use crate::reasons::{self, ReasonsQuery};
use crate::targets::Target;

pub(crate) use template::pod_template;
pub(crate) use writer::Writer;

/// The object's description.
pub(crate) async fn describe(api: &Api, target: &Target, show_events: bool) -> Result<String> {
    let object = match &target.object {
        Some(object) if target.source.is_none() => object.clone(),
        _ => target.get(api).await?,
    };
    let events = if show_events { Some(events::search(api, target, &object).await) } else { None };
    let now = Timestamp::now();
    let mut w = Writer::new();
    match (target.mapping.group.as_str(), target.mapping.kind.as_str()) {
        ("apps", "DaemonSet") => {
            workload::daemon_set(&mut w, &object, &owned_pods(api, &object).await?);
            let query = ReasonsQuery { summary: true, ..ReasonsQuery::default() };
            // Who may not know why is told the rest.
            if let Ok(report) = reasons::ask(api, &target.namespace, &target.name, &query).await {
                workload::reasons(&mut w, &report);
            }
        }
        ("apps", "ReplicaSet") => workload::replica_set(&mut w, &object, &owned_pods(api, &object).await?),
        ("", "Pod") => pod::pod(&mut w, &object, now),
        ("", "Node") => {
            let lease = node::lease(api, &target.name).await;
            let pods = node::pods(api, &target.name).await?;
            node::node(&mut w, &object, &lease, &pods, now);
        }
        ("", "ConfigMap") => generic::config_map(&mut w, &object),
        ("", "Secret") => {
            generic::secret(&mut w, &object);
            return Ok(w.finish());
        }
        ("", "Namespace") => {
            generic::namespace(&mut w, &object);
            return Ok(w.finish());
        }
        _ => generic::generic(&mut w, &object),
    }
    if let Some(events) = events {
        events::events(&mut w, &events, now);
    }
    Ok(w.finish())
}

/// Pods in the workload's namespace that it controls.
async fn owned_pods(api: &Api, owner: &Value) -> Result<Vec<Value>> {
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let selector = selector_text(&owner["spec"]["selector"]);
    let path = format!("/api/v1/namespaces/{}/pods", crate::client::escaped(namespace));
    let query = Query::new().with("labelSelector", selector);
    let mut list = api.list(&path, &query, false, PAGE_OBJECTS).await?;
    let pods = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let uid = &owner["metadata"]["uid"];
    Ok(pods.into_iter().filter(|pod| controller(pod).is_some_and(|found| &found["uid"] == uid)).collect())
}

/// The owner that controls the object.
fn controller(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"].as_array()?.iter().find(|owner| owner["controller"] == true)
}

/// A label selector as requests write it.
pub(crate) fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for term in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = term["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = term["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match term["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    parts.join(",")
}

#[cfg(test)]
mod tests;
