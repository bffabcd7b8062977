//! Clients that put load on an API server: they know its kubeconfig and its process, and do as little as they can
//! themselves, since they run on the same cores.

mod connection;
mod process;
mod target;

pub(crate) use connection::{Connection, Lines};
pub(crate) use process::{Process, Usage};
pub(crate) use target::Target;
