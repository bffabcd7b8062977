//! kube-rs against a server process over TLS: what its informers, writers and streams expect of a Kubernetes API server.
//!
//! The last module needs a pod that runs; tests/e2e starts one and asks for it by name.

mod informers;
mod pods;
mod process;
mod writes;
