//! OpenAPI documents of the built-in kinds: version 2 as one document, version 3 as an index and one document for each
//! group and version, made from the tables of kinds and types.
//!
//! Documents are built on demand: a server keeps the bytes it sends, not these values.
//!
//! Invariants: names of definitions, operations and extensions are Kubernetes'; every reference within a document
//! resolves in it.
//! Absent: descriptions of operations, the deprecated watch paths.

mod custom;
mod definitions;
mod gnostic;
mod operations;
mod parameters;
mod texts;
mod v2;
mod v3;

pub use custom::CustomKind;
pub use v2::{v2_document, v2_protobuf};
pub use v3::{v3_document, v3_index};

use crate::kinds::KINDS;

/// What clients ask for to get version 2 in protobuf. The `@` is no valid media type, so the answer is named
/// [`V2_PROTOBUF`].
pub const V2_PROTOBUF_REQUESTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Media type of version 2 in protobuf; clients may also ask for it by this name.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Groups and versions that have documents, in discovery's order.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = KINDS.iter().map(|kind| (kind.group, kind.version)).collect();
    found.dedup();
    found
}

/// What the PATCH of a custom object takes.
const CUSTOM_PATCH_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// The same, and those of custom kinds.
fn all_group_versions(customs: &[CustomKind]) -> Vec<(&'static str, &'static str)> {
    let mut found = group_versions();
    for custom in customs {
        let own = (custom.kind.group, custom.kind.version);
        if !found.contains(&own) {
            found.push(own);
        }
    }
    found
}

/// The path below which a group and version is served, without a leading slash.
fn root_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

#[cfg(test)]
mod tests;
