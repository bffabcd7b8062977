//! Pulls images on threads of their own, in the network namespace that reaches the registries.
//!
//! # Invariants
//! - A node may live in a network namespace of its own; a pull does not: it runs where [`PullNetwork`] says.
//! - A pull whose caller went away stops.
//! - A mirror never sees the user's secrets.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::{Semaphore, oneshot};

use super::error::StoreError;
use super::fetch::Fetch;
use super::name::Name;
use super::registry::RegistryConfig;
use super::store::Store;
use crate::runtime::{ImageInfo, RegistryAuth};

/// Images pulled at once by one agent: each is a thread and up to [`super::fetch::LAYERS_AT_ONCE`] downloads.
const PULLS_AT_ONCE: usize = 4;

/// A network namespace to pull in.
#[derive(Debug, Clone)]
pub struct PullNetwork {
    netns: Arc<File>,
}

impl PullNetwork {
    /// That of the calling thread: the machine's, when called before [`crate::network::enter`].
    ///
    /// # Errors
    /// Without /proc.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// That which is bound to a file.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { netns: Arc::new(File::open(path)?) })
    }
}

/// Pulls into one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Puller {
    store: Store,
    config: Arc<RegistryConfig>,
    network: PullNetwork,
    slots: Arc<Semaphore>,
}

impl Puller {
    /// Nothing is reached yet.
    #[must_use]
    pub fn new(store: Store, config: RegistryConfig, network: PullNetwork) -> Self {
        Self { store, config: Arc::new(config), network, slots: Arc::new(Semaphore::new(PULLS_AT_ONCE)) }
    }

    /// Pulls, verifies and unpacks. Layers that are here are not pulled again. Dropping the future stops the pull.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], [`StoreError::Pull`] with what each server said, [`StoreError::Io`].
    pub async fn pull(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<ImageInfo, StoreError> {
        let name = Name::parse(reference)?;
        let failed = |cause: String| StoreError::Pull { image: reference.to_owned(), cause };
        let endpoints = self.config.endpoints(&name)?;
        let _slot = self.slots.acquire().await.map_err(|error| failed(error.to_string()))?;
        let (store, config) = (self.store.clone(), Arc::clone(&self.config));
        let image = reference.to_owned();
        run_in(self.network.clone(), move || async move {
            let mut causes = Vec::new();
            for endpoint in endpoints {
                let secrets = if endpoint.mirror { config.mirror_auth(&endpoint) } else { auth.clone() };
                let fetch = Fetch::new(&store, &name, &endpoint, secrets.as_ref());
                let result = match fetch {
                    Ok(fetch) => fetch.run().await,
                    Err(error) => Err(error),
                };
                match result {
                    Err(StoreError::Pull { cause, .. }) => causes.push(cause),
                    Err(StoreError::Content { what, cause }) => causes.push(format!("{what}: {cause}")),
                    other => return other,
                }
            }
            Err(StoreError::Pull { image, cause: causes.join("; ") })
        })
        .await
        .map_err(|error| failed(error.to_string()))?
    }
}

/// Runs a future on a thread of its own in the namespace, with a small runtime of its own.
async fn run_in<T, F>(network: PullNetwork, work: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (mut sender, receiver) = oneshot::channel();
    thread::Builder::new().name("image-pull".into()).spawn(move || {
        let result = move_into_link_name_space(network.netns.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(io::Error::from)
            .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
        let result = match result {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    result = work() => Some(Ok(result)),
                    () = sender.closed() => None,
                }
            }),
            Err(error) => Some(Err(error)),
        };
        if let Some(result) = result {
            // Nobody listens if the caller went away just now.
            drop(sender.send(result));
        }
    })?;
    receiver.await.map_err(|_| io::Error::other("the pulling thread died"))?
}
