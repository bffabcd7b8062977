//! Why a server does not start, in one line that says what to do.
//!
//! # Absent
//! Errors of single requests: those are Status objects, see `reply`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the server did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error("address {addr} is in use; stop what listens there or choose another with --listen")]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The address can't be listened on for another reason.
    #[error("can't listen on {addr}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data directory can't be used.
    #[error(
        "can't write {path}: {source}; choose another directory with --data-dir or run as a user that may write there"
    )]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server uses the data directory, a newer everynode wrote it, or it is damaged.
    #[error(transparent)]
    Open(#[from] store::embedded::OpenError),
    /// etcd can't be used.
    #[error(transparent)]
    Etcd(#[from] store::etcd::OpenError),
    /// etcd holds a cluster whose authority or account key is another one.
    #[error(
        "{store} holds a cluster whose keys are not those in {pki}: copy ca.crt, ca.key and sa.key there from \
         DATA_DIR/pki of one of its servers, or name another prefix, as in --store etcd://HOST/PREFIX"
    )]
    ForeignAuthority {
        /// The etcd.
        store: String,
        /// Where the keys belong.
        pki: PathBuf,
    },
    /// The objects that every cluster has could not be made.
    #[error("the first objects could not be made: {0}")]
    Bootstrap(String),
    /// A file of the pki is broken.
    #[error("{path} is not usable: {reason}; remove it and it is made again, or restore it")]
    Pki {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The token file is broken.
    #[error("token file {path}: {reason}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// The store can't be read or written.
    #[error("the store can't be used: {0}")]
    Store(#[from] store::StoreError),
    /// TLS can't be set up.
    #[error("tls can't be set up: {0}")]
    Tls(String),
}
