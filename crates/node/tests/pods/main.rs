//! Pods as people write them, on real containers: the same cases on each runtime.

mod cases;
mod containerd;
mod embedded;
mod on_containerd;
mod world;

/// Each case on each runtime, under its own name.
macro_rules! on_each {
    ($($case:ident)*) => {
        mod on_embedded {
            $(#[tokio::test]
            async fn $case() {
                super::cases::$case::<super::embedded::OwnRuntime>().await;
            })*
        }
        mod cri {
            $(#[tokio::test]
            async fn $case() {
                super::cases::$case::<super::containerd::Containerd>().await;
            })*
        }
    };
}

on_each! { what_a_container_sees pods_live_on_without_their_agent failures_are_told }
