//! Opening the store: on this machine's disk, or in an etcd that servers share.
//!
//! # Invariants
//! - Servers that share a store have one authority and one account key: what one signed, the others accept. etcd holds
//!   their fingerprint, and a server with others does not start.
//! - A server makes no keys of its own where a cluster has some already.

use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use store::cached::{self, Cached};
use store::embedded::{Embedded, OpenError, Options, Patient};
use store::etcd::{self, Address, Etcd};
use store::{AnyStore, StoreError};

use crate::error::ServerError;
use crate::limits::{HEARTBEAT_PAUSE, HISTORY_AGE};
use crate::pki;

/// The fact that holds the fingerprint.
const AUTHORITY: &str = "authority";

/// Where objects are kept.
#[derive(Debug, Clone, Default)]
pub enum StoreConfig {
    /// In the data directory.
    #[default]
    Embedded,
    /// In an etcd.
    Etcd(Address),
}

/// A store that is open, before the pki is.
pub(crate) enum Opened {
    Embedded(Embedded),
    Etcd { etcd: Etcd, name: String },
}

/// Opens the store. Of a cluster that others have begun, the keys must be in `data_dir` already.
pub(crate) async fn open(config: &StoreConfig, data_dir: &Path) -> Result<Opened, ServerError> {
    let StoreConfig::Etcd(address) = config else { return embedded(data_dir).map(Opened::Embedded) };
    let name = format!("{}{}", address.members.join(","), address.prefix);
    let etcd = Etcd::open(etcd::Options::new(address.clone())).await?;
    if etcd.fact(AUTHORITY).await?.is_some() && !pki::directory(data_dir).join("ca.crt").exists() {
        return Err(ServerError::ForeignAuthority { store: name, pki: pki::directory(data_dir) });
    }
    Ok(Opened::Etcd { etcd, name })
}

/// The store, once it is sure that its servers trust each other.
pub(crate) async fn join(
    opened: Opened,
    data_dir: &Path,
    authority_pem: &str,
    key: &pki::AccountKey,
) -> Result<AnyStore, ServerError> {
    let (etcd, name) = match opened {
        Opened::Embedded(store) => return Ok(AnyStore::Embedded(store)),
        Opened::Etcd { etcd, name } => (etcd, name),
    };
    let ours = fingerprint(authority_pem, key);
    if etcd.settle(AUTHORITY, &ours).await? != ours {
        return Err(ServerError::ForeignAuthority { store: name, pki: pki::directory(data_dir) });
    }
    let cached = Cached::open(etcd, cached::Options { packed: PACKED, ..cached::Options::default() }).await;
    Ok(AnyStore::Etcd(cached.map_err(|error: StoreError| ServerError::Store(error))?))
}

/// What tells one set of keys from another, and nothing about them.
fn fingerprint(authority_pem: &str, key: &pki::AccountKey) -> String {
    let digest = Sha256::digest(authority_pem.trim().as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("authority sha256:{hex} accounts {}", key.id())
}

/// Where nodes say that they live.
const NODE_LEASES: &[u8] = b"/registry/coordination.k8s.io/leases/kube-node-lease/";
/// Kinds that are many and alike: what a fleet has of them is nearly all that the server keeps.
const PACKED: &[&[u8]] = &[
    b"/registry/core/events/",
    b"/registry/core/nodes/",
    b"/registry/core/pods/",
    b"/registry/coordination.k8s.io/leases/",
];

fn embedded(data_dir: &Path) -> Result<Embedded, ServerError> {
    let dir = data_dir.join("store");
    std::fs::create_dir_all(&dir).map_err(|source| ServerError::DataDir { path: dir.clone(), source })?;
    let patient = Patient { prefix: Bytes::from_static(NODE_LEASES), pause: HEARTBEAT_PAUSE };
    let options =
        Options { history_age_max: Some(HISTORY_AGE), patient: Some(patient), packed: PACKED, ..Options::default() };
    Embedded::open(&dir, options).map_err(|error| match error {
        OpenError::Io { path, source } => ServerError::DataDir { path, source },
        other => ServerError::Open(other),
    })
}
