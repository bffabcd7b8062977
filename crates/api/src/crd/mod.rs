//! Custom resource definitions: what may be defined, and what then holds for objects of the kinds they define.
//!
//! A definition becomes one [`Kind`] for each version that it serves ([`served()`]). The kind carries a
//! [`Custom`]: its compiled schema and all else that the definition says, shared by whoever holds the kind. Functions of
//! this crate that take a kind (decoding, defaults, preparing, validating, applying, printing) look there and come here.
//!
//! Invariants: functions of their arguments; a schema is compiled once for each change of its definition.
//! Absent: storing, conversion by webhooks.

mod check;
mod columns;
mod decode;
mod default;
mod definition;
mod fault;
mod formats;
mod intern;
mod jsonpath;
mod lists;
mod meta;
mod numbers;
mod objects;
pub(crate) mod pattern;
mod props;
mod prune;
mod rules;
mod scale;
pub(crate) mod schema;
mod served;
mod status;
mod structural;
mod version;

use serde_json::Value;

pub use intern::{Full, Interner};
pub use scale::{Scale, ScaleError};
pub use schema::Schema;
pub use served::{group_resource, served};
pub use status::{CLEANUP, Names, is_terminating, mark_terminating, settle, with_condition};

pub(crate) use columns::{definitions, row};
pub(crate) use decode::{decode, normalize};
pub(crate) use definition::validate_definition;
pub(crate) use objects::{
    prepare_create, prepare_status, prepare_update, validate_create, validate_status, validate_update, warnings,
};

use crate::kinds::Kind;
use crate::status::Status;
use columns::Column;

/// What a definition says of one version of its kind.
#[derive(Debug)]
pub struct Custom {
    /// Name of lists in `kind:`.
    pub list_kind: String,
    /// The version that objects are stored as.
    pub storage_version: String,
    /// The versions that are served.
    pub served_versions: Vec<String>,
    /// The schema of objects.
    pub schema: Schema,
    /// The whole of every object is kept.
    pub preserves_unknown: bool,
    /// Where the scale subresource reads and writes.
    pub scale: Option<Scale>,
    /// Further fields that objects can be selected by, such as `spec.color`.
    pub selectable: Vec<String>,
    /// What users of this version are warned of.
    pub deprecation: Option<String>,
    /// The definition is being deleted: nothing new is made.
    pub is_terminating: bool,
    /// Other versions are made by a webhook, which is not called.
    pub needs_webhook: bool,
    columns: Vec<Column>,
}

/// Two kinds are the same when they share their definition.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Custom {}

/// A stored object as readers of `kind` see it: in the kind's version, pruned, with defaults.
///
/// # Errors
/// 500 when only a webhook could make this version of it.
pub fn read(kind: &Kind, custom: &Custom, object: &mut Value) -> Result<(), Status> {
    let version = kind.api_version();
    let is_same = object["apiVersion"].as_str() == Some(&version);
    if !is_same && custom.needs_webhook {
        return Err(crate::status::internal(format!(
            "conversion webhook for {}, Kind={} failed: everynode calls no conversion webhooks; read the object in the \
             version that it is stored as, or set spec.conversion.strategy to None",
            object["apiVersion"].as_str().unwrap_or_default(),
            kind.kind
        )));
    }
    if !is_same {
        object["apiVersion"] = Value::String(version);
    }
    if !custom.preserves_unknown {
        prune::unknown(object, &custom.schema);
        prune::nulls(object, Some(&custom.schema));
    }
    fill_defaults(custom, object);
    Ok(())
}

/// An object as it is stored: in the version for that.
pub fn store(kind: &Kind, custom: &Custom, object: &mut Value) -> Result<(), Status> {
    if kind.version == custom.storage_version {
        return Ok(());
    }
    let version = format!("{}/{}", kind.group, custom.storage_version);
    if custom.needs_webhook {
        return Err(crate::status::internal(format!(
            "conversion webhook for {}, Kind={} failed: everynode calls no conversion webhooks; write the object as \
             {version}, or set spec.conversion.strategy to None",
            kind.api_version(),
            kind.kind
        )));
    }
    object["apiVersion"] = Value::String(version);
    Ok(())
}

/// Fills in the defaults of the schema.
pub(crate) fn fill_defaults(custom: &Custom, object: &mut Value) {
    default::fill(object, &custom.schema);
}
