//! The options of writes, from query and body.

use api::decode::FieldValidation;
use api::status::{self, Status};
use serde_json::Value;

use crate::request::Query;

/// The options of create, update and patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    /// Do all but store.
    pub(crate) dry_run: bool,
    /// What unknown and duplicate fields lead to.
    pub(crate) validation: FieldValidation,
}

impl WriteOptions {
    /// From the query.
    ///
    /// # Errors
    /// 422 for values that mean nothing.
    pub(crate) fn parse(query: &Query) -> Result<WriteOptions, Status> {
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => return Err(status::bad_request(format!("invalid fieldValidation: {other}"))),
        };
        Ok(WriteOptions { dry_run: dry_run(query.all("dryRun"))?, validation })
    }
}

fn dry_run<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some("All"), None) => Ok(true),
        (Some(other), _) => Err(status::bad_request(format!("invalid dryRun: {other:?}, supported values: \"All\""))),
    }
}

/// What happens to the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// The options of deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl DeleteOptions {
    /// From a DeleteOptions body, or the query when there is none.
    ///
    /// # Errors
    /// 400 for what can't be read, 422 for values that mean nothing.
    pub(crate) fn parse(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, Status> {
        let Some(body) = body else {
            let grace = query.get("gracePeriodSeconds").map(|text| {
                text.parse().map_err(|_| status::bad_request(format!("invalid gracePeriodSeconds: {text}")))
            });
            let orphan = query.get("orphanDependents").map(|text| text == "true" || text == "1");
            return Ok(DeleteOptions {
                dry_run: dry_run(query.all("dryRun"))?,
                grace_seconds: grace.transpose()?,
                propagation: propagation(orphan, query.get("propagationPolicy"))?,
                uid: None,
                resource_version: None,
            });
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let listed = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        let in_body = dry_run(listed.iter().filter_map(Value::as_str))?;
        Ok(DeleteOptions {
            dry_run: in_body || dry_run(query.all("dryRun"))?,
            grace_seconds: body["gracePeriodSeconds"].as_i64(),
            propagation: propagation(body["orphanDependents"].as_bool(), body["propagationPolicy"].as_str())?,
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
        })
    }
}

fn propagation(orphan: Option<bool>, policy: Option<&str>) -> Result<Option<Propagation>, Status> {
    Ok(match (orphan, policy) {
        (Some(true), _) => Some(Propagation::Orphan),
        (Some(false), _) => Some(Propagation::Background),
        (None, None) => None,
        (None, Some("Orphan")) => Some(Propagation::Orphan),
        (None, Some("Background")) => Some(Propagation::Background),
        (None, Some("Foreground")) => Some(Propagation::Foreground),
        (None, Some(other)) => {
            return Err(status::bad_request(format!(
                "invalid propagationPolicy: {other:?}, supported values: \"Foreground\", \"Background\", \"Orphan\""
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deletes() {
        let body = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
        let parsed = DeleteOptions::parse(&Query::parse(None), Some(&body)).unwrap();
        assert_eq!((parsed.grace_seconds, parsed.propagation), (Some(0), Some(Propagation::Foreground)));
        assert_eq!(parsed.uid.as_deref(), Some("u"));
        let query = Query::parse(Some("gracePeriodSeconds=5&orphanDependents=true&dryRun=All"));
        let parsed = DeleteOptions::parse(&query, None).unwrap();
        assert_eq!((parsed.grace_seconds, parsed.propagation), (Some(5), Some(Propagation::Orphan)));
        assert!(parsed.dry_run);
        assert_eq!(DeleteOptions::parse(&Query::parse(Some("dryRun=Some")), None).unwrap_err().code, 400);
    }
}
