//! Writes that all controllers of pods make: create, delete, adopt, release, status.
//!
//! Invariants: each write is noted so that the set waits for it to come back; creations start with a few at once and
//! become more only while they succeed; writes hit the object that was meant (UID).
//!
//! Absent: which writes to make.

use std::sync::Arc;

use api::kinds::Kind;
use decide::claim::controller_reference;
use futures::stream::{self, FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::{Value, json};

use crate::hub::Hub;
use crate::key::Key;
use crate::limits::{CREATIONS_AT_FIRST, WRITES_IN_FLIGHT};
use crate::record::{About, Event};
use crate::wire::{self, Deletion, Patch};
use crate::world::{Set, version};
use crate::{Sync, SyncError};

/// Whoever carries out the plan of one set.
pub(crate) struct Carrier {
    pub(crate) hub: Arc<Hub>,
    pub(crate) set: Set,
    pub(crate) source: &'static str,
    pub(crate) about: About,
}

impl Carrier {
    pub(crate) fn namespace(&self) -> &str {
        &self.set.1.namespace
    }

    fn tell(&self, warning: bool, reason: &'static str, message: String) {
        let about = self.about.clone();
        self.hub.recorder.record(Event { source: self.source, about, warning, reason, message });
    }

    /// Fails if the set is gone, another one or being deleted: then it must not adopt anything.
    pub(crate) async fn check_alive(&self, kind: &'static Kind) -> Sync {
        let live = wire::look(&self.hub.client, kind, &self.set.1).await?;
        let same = live.filter(|m| m.uid.as_deref() == Some(&self.about.uid) && m.deletion_timestamp.is_none());
        same.map(|_| ()).ok_or(SyncError::Stale)
    }

    pub(crate) async fn patch(&self, kind: &'static Kind, name: &str, how: Patch, body: &Value) -> Sync {
        let key = Key::new(self.namespace(), name);
        let answer = wire::patch(&self.hub.client, kind, &key, "", how, body).await;
        let metadata = match answer {
            // Gone, or a new object of the same name: there is nothing left to change.
            Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 || wire::code(&error) == 422 => {
                return Ok(());
            }
            other => other?,
        };
        let version = version(metadata.resource_version.as_ref());
        let mut world = self.hub.world();
        if kind.plural == "pods" {
            world.written.pod_patched(&self.set, key, version);
        } else {
            world.written.changed(&self.set, kind.plural, key, version);
        }
        Ok(())
    }

    /// Makes the set the controller of an object.
    pub(crate) async fn adopt(&self, kind: &'static Kind, name: &str, uid: &str) -> Sync {
        let about = &self.about;
        let owner = controller_reference(about.api_version, about.kind, &about.key.name, &about.uid);
        let body = json!({"metadata": {"uid": uid, "ownerReferences": [owner]}});
        self.patch(kind, name, Patch::Strategic, &body).await
    }

    /// Ends the set's control of an object.
    pub(crate) async fn release(&self, kind: &'static Kind, name: &str, uid: &str) -> Sync {
        let owner = json!({"$patch": "delete", "uid": self.about.uid});
        let body = json!({"metadata": {"uid": uid, "ownerReferences": [owner]}});
        self.patch(kind, name, Patch::Strategic, &body).await
    }

    /// Stores the status of the set; `body` is the whole set with its resourceVersion.
    pub(crate) async fn store_status(&self, kind: &'static Kind, body: &impl Serialize) -> kube::Result<()> {
        let metadata = match wire::replace(&self.hub.client, kind, &self.set.1, "status", body).await {
            Err(error) if wire::is_gone(&error) => return Ok(()),
            other => other?,
        };
        let version = version(metadata.resource_version.as_ref());
        self.hub.world().written.changed(&self.set, kind.plural, self.set.1.clone(), version);
        Ok(())
    }

    async fn create(&self, pod: Pod) -> Result<(), kube::Error> {
        match wire::create(&self.hub.client, wire::pods(), self.namespace(), &pod).await {
            Ok(metadata) => {
                let key = Key::of(&metadata);
                self.tell(false, "SuccessfulCreate", format!("Created pod: {}", key.name));
                self.hub.world().written.pod_created(&self.set, key, metadata.uid.unwrap_or_default());
                Ok(())
            }
            Err(error) if wire::is_namespace_going(&error) => Ok(()),
            Err(error) => {
                self.tell(true, "FailedCreate", format!("Error creating: {}", said(&error)));
                Err(error)
            }
        }
    }

    async fn delete(&self, name: String, uid: String) -> Result<(), kube::Error> {
        let key = Key::new(self.namespace(), &name);
        let how = Deletion { uid: Some(&uid), ..Deletion::default() };
        match wire::delete(&self.hub.client, wire::pods(), &key, &how).await {
            Ok(()) => {
                self.tell(false, "SuccessfulDelete", format!("Deleted pod: {name}"));
                self.hub.world().written.pod_deleted(&self.set, key, uid);
                Ok(())
            }
            Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => Ok(()),
            Err(error) => {
                self.tell(true, "FailedDelete", format!("Error deleting: {}", said(&error)));
                Err(error)
            }
        }
    }
}

/// What the API server said.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Deletes pods, given by name and UID.
pub(crate) async fn delete_pods(carrier: &Carrier, pods: Vec<(String, String)>) -> Sync {
    let work = stream::iter(pods).map(|(name, uid)| carrier.delete(name, uid));
    summary(work.buffer_unordered(WRITES_IN_FLIGHT).collect().await)
}

/// Creates pods: a few at once, then one more for each that was created, and no other after one that failed.
pub(crate) async fn create_pods(carrier: &Carrier, mut pods: impl Iterator<Item = Pod>) -> Sync {
    let mut running = FuturesUnordered::new();
    let (mut at_once, mut failed) = (CREATIONS_AT_FIRST, None);
    loop {
        while failed.is_none() && running.len() < at_once {
            let Some(pod) = pods.next() else { break };
            running.push(carrier.create(pod));
        }
        match running.next().await {
            Some(Ok(())) => at_once = (at_once + 1).min(WRITES_IN_FLIGHT),
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => return failed.map_or(Ok(()), |first| Err(SyncError::Api(first))),
        }
    }
}

fn summary(outcomes: Vec<Result<(), kube::Error>>) -> Sync {
    outcomes.into_iter().find_map(Result::err).map_or(Ok(()), |first| Err(SyncError::Api(first)))
}

#[cfg(test)]
mod tests;
