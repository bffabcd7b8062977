//! What can go wrong with a network, by what the caller can do about it.

use std::io;

use ipnet::IpNet;

/// Why the network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Every address is taken.
    #[error("no free address in {0}: remove pods, or give the node a wider pod network")]
    Exhausted(IpNet),
    /// It can't be used like this; trying again is useless.
    #[error("{0}")]
    Invalid(String),
    /// Another pod has the port.
    #[error("host port {port} is taken by pod {by}")]
    PortTaken {
        /// The port in words.
        port: String,
        /// NAMESPACE/NAME.
        by: String,
    },
    /// A plugin said no.
    #[error("{0}")]
    Plugin(String),
    /// There is no CNI configuration yet, in the words of Kubernetes' runtimes.
    #[error("Network plugin returns error: cni plugin not initialized")]
    NotReady,
    /// The kernel said no.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl NetworkError {
    /// Adds what was tried to an error of the kernel.
    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source }
    }
}
