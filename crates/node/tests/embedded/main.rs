//! The embedded runtime on the real kernel, with a busybox image. Needs root.

mod confinement;
mod figures;
mod fixture;
mod lifecycle;
mod mounts;
mod streams;
mod takeover;
