//! Waiting for an object to become as wanted: look, then follow its changes, and look again when the watch ends.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::client::{Api, Query};
use crate::failure::{Failure, Result, message};
use crate::targets::Target;

/// Wait between two tries when the server can't be reached or refuses the watch.
const RETRY: Duration = Duration::from_millis(500);
/// Waiting "forever" is a week, as in kubectl.
pub(crate) const FOREVER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Follows the target until `done` says so; it is told the object, or None when it is not there. False: time is up.
pub(crate) async fn until(
    api: &Api,
    target: &Target,
    limit: Duration,
    mut done: impl FnMut(Option<&Value>) -> Result<bool>,
) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let (version, object) = match target.get(api).await {
            Ok(object) => (object["metadata"]["resourceVersion"].as_str().map(str::to_owned), Some(object)),
            Err(e) if e.is_not_found() => (None, None),
            Err(e) => return Err(e),
        };
        if done(object.as_ref())? {
            return Ok(true);
        }
        match timeout_at(deadline, follow(api, target, version, &mut done)).await {
            Err(_) => return Ok(false),
            Ok(Ok(true)) => return Ok(true),
            Ok(Ok(false)) => {}
            Ok(Err(e @ (Failure::Message(_) | Failure::Bare(_)))) => return Err(e),
            // A watch that the server ends or refuses is begun again.
            Ok(Err(_)) => tokio::time::sleep(RETRY).await,
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

/// True: done. False: the watch ended.
async fn follow(
    api: &Api,
    target: &Target,
    version: Option<String>,
    done: &mut impl FnMut(Option<&Value>) -> Result<bool>,
) -> Result<bool> {
    let query = Query::new()
        .with("watch", "true")
        .with("fieldSelector", format!("metadata.name={}", target.name))
        .with_some("resourceVersion", version);
    let path = target.mapping.collection(Some(&target.namespace));
    let mut lines = api.lines(&path, &query, "application/json").await?;
    while let Some(line) = lines.next().await {
        // A broken line is a broken watch.
        let Ok(Ok(mut event)) = line.map(|line| serde_json::from_str::<Value>(&line)) else { return Ok(false) };
        let object = event["object"].take();
        let finished = match event["type"].as_str().unwrap_or_default() {
            "ADDED" | "MODIFIED" => done(Some(&object))?,
            "DELETED" => done(None)?,
            "ERROR" => return Err(Failure::Status(Box::new(object))),
            _ => false,
        };
        if finished {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits until the object of this UID is gone.
pub(crate) async fn until_gone(api: &Api, target: &Target, uid: &str, limit: Duration) -> Result<()> {
    let gone = |object: Option<&Value>| {
        Ok(object.is_none_or(|object| !uid.is_empty() && object["metadata"]["uid"].as_str() != Some(uid)))
    };
    match until(api, target, limit, gone).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            message(format!("timed out waiting for the condition on {}/{}", target.mapping.plural, target.name))
        }
        // Who may not look may still delete.
        Err(e) if matches!(e.reason(), "Forbidden" | "MethodNotAllowed") => Ok(()),
        Err(e) => Err(e),
    }
}
