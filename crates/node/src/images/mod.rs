//! Images of this machine: a store of unpacked layers that all agents of the machine share.
//!
//! # Invariants
//! - Several processes may open one store; what one adds, the others see. `layout` says how.
//! - kill -9 at any moment leaves no half image: an image is seen when its record is renamed into place, after all its
//!   layers. Leftovers go at the next open.
//! - Every digest is verified: of layers as they came, of layers unpacked, of configurations.
//! - What containers run from is pinned and is not removed.
//!
//! # Absent
//! Containers: the runtime mounts the directories that [`Store::rootfs`] names, and pins them.

mod archive;
mod builtin;
pub(crate) mod credentials;
mod digest;
mod error;
mod fetch;
mod hosts;
mod install;
mod layers;
mod layout;
mod manifest;
mod name;
mod partial;
mod pull;
#[cfg(test)]
mod pull_tests;
mod record;
mod registry;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod unpack;
#[cfg(test)]
mod unpack_tests;

pub use builtin::BUILTIN_PROGRAM;
pub use error::StoreError;
pub use name::{Name, is_digest};
pub use pull::{PullNetwork, Puller};
pub use record::{ImageConfig, RootfsInfo};
pub use registry::RegistryConfig;
pub use store::Store;
