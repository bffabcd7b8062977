//! The promises of the [`store::Store`] trait, kept by the embedded backend, by etcd, and by the cache before etcd; and
//! what only etcd can do to a server. A real etcd is needed: tests/install brings it.

mod backends;
mod cached;
mod etcd;
mod etcd_process;
mod faults;
mod members;
mod model;
mod promises;
mod proxy;
