//! New pods of DaemonSets, for the server: the scheduler of the same process says where they go.
//!
//! # Absent
//! How it chooses.

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// Asks the scheduler.
pub(crate) struct Ahead(pub(crate) control::Placer);

impl server::Placer for Ahead {
    fn place(&self, pod: &Value) -> Option<Box<dyn server::Placed>> {
        let placed = self.0.place(|| api::unmanaged::read::<Pod, _>(pod).ok())?;
        Some(Box::new(One(placed)))
    }
}

struct One(control::Placed);

impl server::Placed for One {
    fn node(&self) -> &str {
        self.0.node()
    }

    fn stored(self: Box<Self>) {
        self.0.stored();
    }
}
