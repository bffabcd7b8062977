//! Indexes and manifests, as OCI and Docker write them: the fields that lead to layers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::record::architecture;

/// Most bytes of a manifest, index or configuration: registries refuse more than 4 MiB.
pub(crate) const JSON_BYTES_MAX: u64 = 4 << 20;
/// How deep indexes nest.
pub(crate) const INDEX_DEPTH_MAX: usize = 4;

/// An index (with `manifests`) or a manifest (with `config` and `layers`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// A pointer to a blob.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    /// Whether it leads to something for this machine, as far as it says.
    pub(crate) fn fits(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| platform.os == "linux" && platform.architecture == architecture())
    }
}
