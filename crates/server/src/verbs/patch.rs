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
        api::patch::apply(kind, self.patch_type, old, &self.body, validation)
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
        let old = object::decode_as(place.kind, &entry)?;
        let Decoded { value: mut new, warnings } = patch.apply(place.kind, &old, options.validation)?;
        defaults::apply(place.kind, &mut new);
        let warnings = [warnings, part.warnings(place.kind, &new, &old)].concat();
        if meta(&new, "resourceVersion") != meta(&old, "resourceVersion") && !meta(&new, "resourceVersion").is_empty() {
            return Err(place.modified());
        }
        api::apply::record(place.kind, Some(&old), &mut new, &manager.writer(part));
        if let Some(written) = replace(app, place, part, &entry, old, new, options.dry_run).await? {
            let mut response = written.respond(StatusCode::OK, form, place)?;
            reply::warn(&mut response, &warnings);
            return Ok(response);
        }
    }
    Err(place.modified())
}
