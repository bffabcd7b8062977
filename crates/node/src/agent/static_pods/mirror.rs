//! What the API server is told of a static pod: its mirror is made, and carries its status.

use std::sync::Arc;

use decide::static_pods::{self, Need, need};
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;

use crate::agent::patch;
use crate::agent::stop::delete_object;
use crate::agent::tell::ANSWER_MAX;
use crate::agent::worker::Worker;
use crate::runtime::{Runtime, RuntimeError};

impl<R: Runtime> Worker<R> {
    /// The mirror, if the API server has the right one.
    pub(in crate::agent) fn known_mirror(&self) -> Option<Arc<Pod>> {
        let pod = &self.state.pod;
        let seen = self.agent.mirrors.get(&static_pods::full_name(pod))?;
        (need(pod, Some(&seen)) == Need::Nothing).then_some(seen)
    }

    /// Keeps the status, makes the mirror where it is missing, and writes the status there.
    ///
    /// # Errors
    /// When the API server can't be told now. The pod runs on.
    pub(in crate::agent) async fn tell_mirror(&mut self, status: PodStatus) -> Result<(), RuntimeError> {
        let new = patch::canonical(&status);
        self.take_status(Some(status), None);
        let failed = |why: String| RuntimeError::Failed(format!("its mirror pod can't be written: {why}"));
        let mirror = match tokio::time::timeout(ANSWER_MAX, self.mirror()).await {
            Ok(mirror) => mirror.map_err(failed)?,
            Err(_) => return Err(failed(format!("no answer within {ANSWER_MAX:?}"))),
        };
        let old = mirror.status.as_ref().map(patch::canonical).unwrap_or_default();
        let uid = mirror.metadata.uid.as_deref().unwrap_or_default();
        let fingerprint = patch::fingerprint(&new);
        let Some(body) = patch::patch(uid, &old, new) else { return Ok(()) };
        if self.is_again(fingerprint) {
            return Ok(());
        }
        match self.send(body).await {
            Ok(told) => {
                let mut mirror = Pod::clone(&mirror);
                mirror.status.clone_from(&self.state.pod.status);
                mirror.metadata.resource_version = told.metadata.resource_version;
                self.agent.mirrors.note(Arc::new(mirror));
                self.state.told = Some((fingerprint, Instant::now()));
                Ok(())
            }
            // Somebody deleted it: the watch tells.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The mirror, made where there is none.
    async fn mirror(&mut self) -> Result<Arc<Pod>, String> {
        if let Some(mirror) = self.known_mirror() {
            return Ok(mirror);
        }
        let pod = Arc::clone(&self.state.pod);
        let full = static_pods::full_name(&pod);
        if let Some(old) = self.agent.mirrors.get(&full) {
            self.replace(&old).await?;
        }
        let node = &self.agent.options.node_name;
        let found = Api::<Node>::all(self.agent.client.clone()).get_opt(node).await.map_err(|e| e.to_string())?;
        let uid = found.and_then(|node| node.metadata.uid).ok_or("its node is not registered yet")?;
        let new = static_pods::mirror(&pod, node, &uid);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.agent.client.clone(), namespace);
        let made = match pods.create(&PostParams::default(), &new).await {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let there = pods.get(name).await.map_err(|e| e.to_string())?;
                match need(&pod, Some(&there)) {
                    Need::Nothing => there,
                    _ if static_pods::is_mirror(&there) => {
                        self.replace(&there).await?;
                        pods.create(&PostParams::default(), &new).await.map_err(|e| e.to_string())?
                    }
                    _ => return Err(format!("there is another pod {full}: delete it, or rename the one in the file")),
                }
            }
            Err(error) => return Err(error.to_string()),
        };
        let made = Arc::new(made);
        self.agent.mirrors.note(Arc::clone(&made));
        self.state.told = None;
        Ok(made)
    }

    /// Deletes a mirror that is of another pod, or that somebody deleted.
    async fn replace(&self, old: &Pod) -> Result<(), String> {
        if !delete_object(&self.agent, old).await {
            return Err("the old one can't be deleted yet".to_owned());
        }
        self.agent.mirrors.forget(old);
        Ok(())
    }
}
