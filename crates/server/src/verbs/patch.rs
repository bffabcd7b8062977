//! Changing an object by a patch.

use std::sync::Arc;

use api::decode::{Decoded, FieldValidation};
use api::defaults;
use api::kinds::Kind;
use api::patch::PatchType;
use api::status::{self, Status};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use store::Store;

use super::apply::{self, APPLY};
use super::field_manager::FieldManager;
use super::options::WriteOptions;
use super::write::{Part, replace};
use crate::app::{App, Ask, Place};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::negotiate;
use crate::object::{self, meta};
use crate::outline::Outline;
use crate::reply::{self, Reply};
use crate::request::ResourcePath;

/// The media types of patches that we apply.
const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", APPLY];

/// A patch as it came.
pub(crate) struct Patch {
    patch_type: PatchType,
    body: Bytes,
}

impl Patch {
    /// # Errors
    /// 415 for other media types.
    pub(crate) fn read(content_type: &str, body: Bytes) -> Result<Patch, Status> {
        let patch_type = PatchType::of_media(content_type).ok_or_else(|| status::unsupported_media(PATCHES))?;
        Ok(Patch { patch_type, body })
    }

    /// The object of `kind` that comes of `old`, with what clients are warned of.
    ///
    /// # Errors
    /// Why the patch does not apply, or what is wrong with the result.
    pub(crate) fn apply(&self, kind: &Kind, old: &Value, validation: FieldValidation) -> Result<Decoded, Status> {
        self.of(kind)?.apply(old, validation)
    }

    /// It as a patch of objects of `kind`.
    fn of<'a>(&self, kind: &'a Kind) -> Result<api::patch::Patch<'a>, Status> {
        api::patch::Patch::read(kind, self.patch_type, &self.body)
    }
}

/// Answers a patch; computes it anew when someone else wrote in between.
pub(crate) async fn patch<S: Store>(
    app: &Arc<App<S>>,
    ask: Ask,
    path: &ResourcePath,
    place: Place<'_>,
    part: Part,
) -> Reply {
    let content_type = negotiate::content_type(&ask.headers);
    if content_type == APPLY {
        return apply::apply(app, ask, path, place, part).await;
    }
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let manager = FieldManager::of_write(&ask.query, &ask.headers, "PatchOptions")?;
    let patch = Patch::read(&content_type, body::bytes(ask.body).await?)?;
    let _turn = app.event_turns.turn(place.kind).await?;
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let patch = patch.of(place.kind)?;
        let Outline { object: old, left } = match part == Part::Status && patch.is_of_status_alone() {
            true => Outline::of_status(place.kind, &entry)?,
            false => object::decode_as(place.kind, &entry)?.into(),
        };
        let Decoded { value: mut new, warnings } = patch.apply(&old, options.validation)?;
        defaults::apply(place.kind, &mut new);
        let warnings = [warnings, part.warnings(place.kind, &new, &old)].concat();
        if meta(&new, "resourceVersion") != meta(&old, "resourceVersion") && !meta(&new, "resourceVersion").is_empty() {
            return Err(place.modified());
        }
        api::apply::record(place.kind, Some(&old), &mut new, &manager.writer(part));
        let new = Outline { object: new, left };
        if let Some(written) = replace(app, place, part, &entry, old, new, options.dry_run).await? {
            let mut response = written.respond(StatusCode::OK, form, place)?;
            reply::warn(&mut response, &warnings);
            return Ok(response);
        }
    }
    Err(place.modified())
}

#[cfg(test)]
mod tests {
    use api::kinds;
    use api::prepare;
    use api::validate;
    use serde_json::json;
    use store::{Entry, Revision};

    use super::super::write::encode;
    use super::*;

    fn pods() -> &'static Kind {
        kinds::find("", "v1", "pods").unwrap()
    }

    /// A pod of a DaemonSet as it is stored once its node has told of it.
    fn pod() -> Value {
        let manager = |name: &str, subresource: &str, fields: Value| {
            json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": name,
                "operation": "Update", "subresource": subresource, "time": "2026-01-01T00:00:00Z"})
        };
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "x"}, "managedFields": [
                    manager("control", "", json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}})),
                    manager("agent", "status", json!({"f:status": {"f:phase": {}, "f:podIP": {}}})),
                    manager("agent", "other", json!({"f:status": {"f:hostIP": {}}}))]},
            "spec": {"nodeName": "n", "tolerations": [{"operator": "Exists"}], "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]},
            "status": {"phase": "Pending", "hostIP": "10.0.0.1", "qosClass": "BestEffort", "podIP": "10.1.0.1",
                "podIPs": [{"ip": "10.1.0.1"}]}});
        defaults::apply(pods(), &mut pod);
        pod
    }

    fn entry(pod: &Value) -> Entry {
        Entry {
            key: Bytes::from_static(b"k"),
            value: object::encode(pod).unwrap(),
            create_revision: Revision(1),
            mod_revision: Revision(7),
        }
    }

    /// What a patch of a pod's status comes to.
    fn patched(outline: Outline, patch: &Value) -> Result<(bool, Bytes), String> {
        let patch = api::patch::Patch::read(pods(), PatchType::Strategic, patch.to_string().as_bytes())
            .map_err(|s| s.message().to_owned())?;
        let is_of_status = patch.is_of_status_alone();
        let Outline { object: old, left } = outline;
        let mut new = patch.apply(&old, FieldValidation::Warn).map_err(|status| status.message().to_owned())?.value;
        defaults::apply(pods(), &mut new);
        let writer = api::apply::Writer { manager: "agent", subresource: "status", now: "2026-01-02T00:00:00Z" };
        api::apply::record(pods(), Some(&old), &mut new, &writer);
        prepare::update_status(pods(), &mut new, &old);
        let errors = validate::update_status(pods(), &new, &old);
        if !errors.is_empty() {
            return Err(validate::aggregate(&errors));
        }
        api::apply::keep_times(&mut new, &old);
        Ok((is_of_status, encode(pods(), Outline { object: new, left }).unwrap()))
    }

    #[test]
    fn a_status_patched_in_an_outline_is_stored_as_in_the_whole_object() {
        let ended = json!([{"name": "c", "state": {"terminated": {"exitCode": 1}}}]);
        let running = json!([{"name": "c", "state": {"running": {}}}]);
        let mut of_ended = pod();
        of_ended["status"]["containerStatuses"] = ended;
        of_ended["spec"]["restartPolicy"] = "Never".into();
        for pod in [pod(), of_ended] {
            let entry = entry(&pod);
            for patch in [
                json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "startTime": "2026-01-02T00:00:00Z"}}),
                json!({"metadata": {"uid": "u"}, "status": {"phase": "Pending"}}),
                json!({"status": {"podIP": null, "podIPs": null}}),
                json!({"status": {"hostIP": "10.0.0.2", "conditions": [{"type": "Ready", "status": "True"}]}}),
                json!({"status": {"containerStatuses": running}}),
                json!({"status": {"podIP": "no address", "podIPs": [{"ip": "no address"}]}}),
                json!({"status": 7}),
                json!({"metadata": {"uid": "other"}}),
                json!({}),
            ] {
                let outline = patched(Outline::of_status(pods(), &entry).unwrap(), &patch);
                let whole = patched(object::decode_as(pods(), &entry).unwrap().into(), &patch);
                assert_eq!(outline, whole, "{patch}");
                assert!(outline.is_err() || outline.is_ok_and(|(is_of_status, _)| is_of_status), "{patch}");
            }
        }
    }

    #[test]
    fn patches_of_more_than_the_status() {
        for (patch_type, patch) in [
            (PatchType::Strategic, json!({"metadata": {"labels": {"a": "b"}}, "status": {}})),
            (PatchType::Strategic, json!({"metadata": {"managedFields": []}})),
            (PatchType::Strategic, json!({"spec": {}, "status": {}})),
            (PatchType::Strategic, json!({"$patch": "replace", "status": {}})),
            (PatchType::Strategic, json!({"metadata": {"$patch": "delete"}, "status": {}})),
            (PatchType::Strategic, json!({"metadata": null, "status": {}})),
            (PatchType::Merge, json!({"status": {}})),
            (PatchType::Json, json!([])),
        ] {
            let read = api::patch::Patch::read(pods(), patch_type, patch.to_string().as_bytes()).unwrap();
            assert!(!read.is_of_status_alone(), "{patch}");
        }
    }
}
