//! Tells that containers and sandboxes changed: by the runtime's own stream where it has one, else by looking.
//!
//! # Invariants
//! - What a broken connection swallowed is told after it: the first look compares with the last one before.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;

use super::Shared;
use super::proto::{ContainerEvent, EVENTS, Empty};
use super::sandbox::OWNER;
use crate::runtime::{RuntimeError, SandboxId};

/// How often a runtime without a stream of events is looked at, as Kubernetes does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often one with a stream is looked at all the same: an event that was lost costs no more.
const LOOK_SELDOM: Duration = Duration::from_secs(60);

/// States by sandbox: its own, and by container.
type Seen = BTreeMap<SandboxId, (i32, BTreeMap<String, i32>)>;

/// Until the runtime is dropped.
pub(super) async fn watch(shared: std::sync::Arc<Shared>) {
    let mut seen = Seen::new();
    let mut streams = true;
    loop {
        look(&shared, &mut seen).await;
        if !streams {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        match follow(&shared).await {
            Err(status) if status.code() == Code::Unavailable => {}
            // It has no stream, or does not give one.
            Err(_) => streams = false,
            Ok(()) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Passes the stream's events on, until it ends or it is time to look.
async fn follow(shared: &Shared) -> Result<(), tonic::Status> {
    let mut stream = shared.client.stream::<_, ContainerEvent>(EVENTS, Empty {}).await?;
    let passing = async {
        while let Some(event) = stream.message().await? {
            let Some(sandbox) = event.sandbox else { continue };
            if sandbox.labels.get(OWNER) == Some(&shared.options.owner) {
                shared.tell(SandboxId(sandbox.id));
            }
        }
        Ok(())
    };
    tokio::time::timeout(LOOK_SELDOM, passing).await.unwrap_or(Ok(()))
}

/// Looks, and tells what is not as it was.
async fn look(shared: &Shared, seen: &mut Seen) {
    // While it does not answer nothing can be seen; what changed meanwhile is told at the next look.
    let Ok(now) = snapshot(shared).await else { return };
    for id in changed(seen, &now) {
        shared.tell(id);
    }
    *seen = now;
}

async fn snapshot(shared: &Shared) -> Result<Seen, RuntimeError> {
    let mut seen: Seen =
        shared.sandboxes().await?.into_iter().map(|s| (SandboxId(s.id), (s.state, BTreeMap::new()))).collect();
    for container in shared.containers().await? {
        if let Some((_, containers)) = seen.get_mut(&SandboxId(container.sandbox)) {
            containers.insert(container.id, container.state);
        }
    }
    Ok(seen)
}

/// The sandboxes that are not the same in both.
fn changed(old: &Seen, new: &Seen) -> Vec<SandboxId> {
    let gone = old.keys().filter(|id| !new.contains_key(*id));
    let other = new.iter().filter(|(id, state)| old.get(*id) != Some(*state)).map(|(id, _)| id);
    gone.chain(other).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        type Sandbox<'a> = (&'a str, i32, &'a [(&'a str, i32)]);
        let seen = |list: &[Sandbox<'_>]| -> Seen {
            let containers = |list: &[(&str, i32)]| list.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect();
            list.iter().map(|(id, state, list)| (SandboxId((*id).to_owned()), (*state, containers(list)))).collect()
        };
        let old = seen(&[("a", 0, &[("x", 1)]), ("b", 0, &[("y", 1)]), ("c", 0, &[]), ("d", 0, &[])]);
        let new = seen(&[("a", 0, &[("x", 1)]), ("b", 0, &[("y", 2)]), ("c", 1, &[]), ("e", 0, &[])]);
        let ids: Vec<String> = changed(&old, &new).into_iter().map(|id| id.0).collect();
        assert_eq!(ids, ["d", "b", "c", "e"]);
        assert!(changed(&new, &new).is_empty());
    }
}
