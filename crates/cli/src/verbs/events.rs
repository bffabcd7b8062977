//! `events`: what happened, newest last; of all objects or of one.

use futures::StreamExt;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::duration::since;
use crate::failure::{Failure, Result, message};
use crate::mapping;
use crate::table::{Printer, Style};

/// Flags of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this object
    #[arg(long = "for", value_name = "TYPE/NAME")]
    of: Option<String>,
    /// Only those of these types: Normal, Warning
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Then follow what happens
    #[arg(short = 'w', long)]
    watch: bool,
    /// No line with the columns' names
    #[arg(long)]
    no_headers: bool,
}

/// Prints the events.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    if let Some(wrong) = args.types.iter().find(|name| !["normal", "warning"].contains(&name.to_lowercase().as_str())) {
        return message(format!("valid --types are Normal or Warning, not {wrong}"));
    }
    let path = if args.all_namespaces {
        "/api/v1/events".to_owned()
    } else {
        format!("/api/v1/namespaces/{}/events", escaped(&api.namespace))
    };
    let query = Query::new().with_some("fieldSelector", selector(api, args).await?);
    let mut list = api.list(&path, &query, false, PAGE_OBJECTS).await?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut events = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    events.retain(|event| is_wanted(event, args));
    events.sort_by_key(|event| last_seen(event).as_str().unwrap_or_default().to_owned());
    let mut style = Style { with_namespace: args.all_namespaces, no_headers: args.no_headers, ..Style::default() };
    let mut printer = Printer::default();
    if !events.is_empty() {
        print!("{}", printer.render(&table(&events, Timestamp::now()), &style));
        style.no_headers = true;
    } else if !args.watch {
        match args.all_namespaces {
            true => eprintln!("No events found."),
            false => eprintln!("No events found in {} namespace.", api.namespace),
        }
    }
    if !args.watch {
        return Ok(());
    }
    let query = query.with("watch", "true").with("resourceVersion", version);
    let mut lines = api.lines(&path, &query, "application/json").await?;
    while let Some(line) = lines.next().await {
        let mut event: Value = serde_json::from_str(&line?)
            .map_err(|e| Failure::Message(format!("the server's event is not JSON: {e}")))?;
        let object = event["object"].take();
        match event["type"].as_str().unwrap_or_default() {
            "ERROR" => return Err(Failure::Status(Box::new(object))),
            "ADDED" | "MODIFIED" if is_wanted(&object, args) => {
                print!("{}", printer.render(&table(&[object], Timestamp::now()), &style));
                style.no_headers = true;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn selector(api: &Api, args: &Args) -> Result<Option<String>> {
    let Some(of) = &args.of else { return Ok(None) };
    let Some((kind, name)) = of.split_once('/') else {
        return message("--for must be in resource/name form");
    };
    let mapping = mapping::by_name(api, kind).await?;
    Ok(Some(format!("involvedObject.kind={},involvedObject.name={name}", mapping.kind)))
}

fn is_wanted(event: &Value, args: &Args) -> bool {
    let kind = event["type"].as_str().unwrap_or_default();
    args.types.is_empty() || args.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
}

/// When it happened last.
fn last_seen(event: &Value) -> &Value {
    let candidates = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    candidates.into_iter().find(|time| time.is_string()).unwrap_or(&Value::Null)
}

fn table(events: &[Value], now: Timestamp) -> Value {
    let columns: Vec<Value> = ["Last Seen", "Type", "Reason", "Object", "Message"]
        .iter()
        .map(|name| serde_json::json!({"name": name}))
        .collect();
    let rows: Vec<Value> = events.iter().map(|event| row(event, now)).collect();
    serde_json::json!({"columnDefinitions": columns, "rows": rows})
}

fn row(event: &Value, now: Timestamp) -> Value {
    let first = if event["firstTimestamp"].is_string() { &event["firstTimestamp"] } else { &event["eventTime"] };
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    let last = since(last_seen(event), now);
    let age = if count > 1 { format!("{last} (x{count} over {})", since(first, now)) } else { last };
    let of = &event["involvedObject"];
    let object = format!("{}/{}", of["kind"].as_str().unwrap_or_default(), of["name"].as_str().unwrap_or_default());
    let said = event["message"].as_str().unwrap_or_default().trim();
    serde_json::json!({"cells": [age, event["type"], event["reason"], object, said], "object": event})
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_tells_how_often() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let event = json!({
            "type": "Warning", "reason": "R", "message": "m\n", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "p"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:00Z",
        });
        assert_eq!(row(&event, now)["cells"], json!(["60s (x3 over 10m)", "Warning", "R", "Pod/p", "m"]));
    }
}
