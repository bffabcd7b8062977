//! The Kubernetes HTTP API over a [`store::Store`]: discovery, verbs, watches, admission, authentication, the tunnel to
//! the nodes.
//!
//! # Invariants
//! - Only what the store made durable is acknowledged.
//! - A request inside of the process goes the same way as one over a socket.
//!
//! # Absent
//! Decisions of controllers: the server stores what it is told and says what is stored. Who may decide in its place, the
//! node of a new daemon (`placing`) and the reasons of a node (`reasons`), is handed to it from outside.

mod admission;
mod app;
mod auth;
mod backend;
mod body;
mod bootstrap;
mod custom;
mod discovery;
mod error;
mod event_expiry;
mod event_turns;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod listen;
mod metrics;
mod negotiate;
mod node_pods;
mod object;
mod outline;
pub mod pki;
mod placing;
mod proxy;
mod reasons;
mod reply;
mod request;
mod reviews;
mod seats;
mod selection;
mod server;
mod service;
mod services;
mod shape;
mod streams;
mod tunnel;
mod verbs;

pub use backend::StoreConfig;
pub use error::ServerError;
pub use placing::{Placed, Placer};
pub use reasons::{Reasons, ReasonsAnswer, ReasonsAsked};
pub use server::{Config, EVENT_TTL, NODE_CERTIFICATE_TTL, Server};
pub use services::{RangeError, ServiceRange};
