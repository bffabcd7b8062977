//! Pods as people write them, on real containers: the same cases on each runtime.

mod cases;
mod confinement;
mod containerd;
mod embedded;
mod fields;
mod on_containerd;
mod world;

/// Each case on each runtime, under its own name.
macro_rules! on_each {
    ($($case:ident)*) => {
        mod on_embedded {
            $(#[tokio::test]
            async fn $case() {
                super::all::$case::<super::embedded::OwnRuntime>().await;
            })*
        }
        mod cri {
            $(#[tokio::test]
            async fn $case() {
                super::all::$case::<super::containerd::Containerd>().await;
            })*
        }
    };
}

/// The cases by their names.
mod all {
    pub(crate) use super::cases::{failures_are_told, pods_live_on_without_their_agent, what_a_container_sees};
    pub(crate) use super::confinement::{
        processes_of_a_pod_are_limited, stop_signals_are_the_pods, system_calls_are_filtered,
    };
    pub(crate) use super::fields::{
        a_debug_container_sees_its_target, a_pod_is_limited_as_a_whole, a_pod_that_writes_too_much_is_evicted,
        mounts_below_are_read_only_too, names_and_rights_are_the_pods, what_can_not_be_is_refused,
    };
}

on_each! {
    what_a_container_sees
    pods_live_on_without_their_agent
    failures_are_told
    system_calls_are_filtered
    stop_signals_are_the_pods
    processes_of_a_pod_are_limited
    names_and_rights_are_the_pods
    a_pod_is_limited_as_a_whole
    a_debug_container_sees_its_target
    a_pod_that_writes_too_much_is_evicted
    what_can_not_be_is_refused
    mounts_below_are_read_only_too
}
