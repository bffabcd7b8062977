//! Collects the pods that `decide::pod_gc` names, every now and then.
//!
//! Invariants: what cannot be collected now is tried again with the next look.
//!
//! Absent: any decision; pods of nodes that are gone (`nodes`).

use std::sync::Arc;

use decide::pod_gc::{ENDED_KEPT, is_stuck, surplus};
use decide::view::PodView;
use tokio_util::sync::CancellationToken;

use crate::disrupt::finish;
use crate::hub::Hub;
use crate::key::Key;
use crate::limits::POD_GC_PERIOD;

/// Collects pods until shutdown.
pub(crate) async fn run(hub: Arc<Hub>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(POD_GC_PERIOD) => {}
        }
        for pod in due(&hub) {
            if let Err(error) = finish(&hub, &pod, None).await {
                tracing::debug!(key = %Key::new(&pod.namespace, &pod.name), %error, "a pod could not be collected yet");
            }
        }
    }
}

fn due(hub: &Hub) -> Vec<Arc<PodView>> {
    let world = hub.world();
    let node = |pod: &PodView| pod.node.as_ref().and_then(|name| world.nodes.get(name)).map(AsRef::as_ref);
    let mut due: Vec<Arc<PodView>> = world.pods.iter().filter(|pod| is_stuck(pod, node(pod))).cloned().collect();
    let ended = surplus(world.pods.iter().map(AsRef::as_ref), ENDED_KEPT);
    due.extend(ended.iter().filter_map(|pod| world.pods.get(&Key::new(&pod.namespace, &pod.name)).cloned()));
    due
}
