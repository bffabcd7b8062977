//! What the API server is told of a pod.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use decide::dead_man::is_stand_in;
use decide::pod_lifecycle::{self, Addresses};
use decide::static_pods::is_static;
use http::HeaderValue;
use http::header::ACCEPT;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams, Request};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::within;
use super::downward::Ips;
use super::worker::Worker;
use super::{Picture, patch, resources};
use crate::runtime::{Runtime, RuntimeError};

/// Steps that take longer than this are told before they end (an image that comes slowly).
const TELL_WITHIN: Duration = Duration::from_millis(400);
/// A server that takes longer to answer is asked again later: containers must not wait for it.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(8);
/// The same status is not sent twice within this, so that a server that changes what it stores makes no storm.
const SAME_STATUS_AFTER: Duration = Duration::from_secs(60);

/// What is asked for in answer to a status: it is known, and so is the rest of the pod.
const METADATA_ALONE: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// What is read of that.
#[derive(Deserialize)]
pub(super) struct Told {
    pub(super) metadata: ToldMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToldMetadata {
    pub(super) resource_version: Option<String>,
}

impl<R: Runtime> Worker<R> {
    fn addresses(&self, picture: &Picture) -> Addresses {
        let host_network = self.state.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let pod: Vec<IpAddr> = if host_network { self.agent.addresses.clone() } else { picture.ips.clone() };
        Addresses { host: self.agent.addresses.clone(), pod }
    }

    /// The addresses a container may ask for.
    pub(super) fn ips(&self, picture: &Picture) -> Ips {
        let texts = |list: Vec<IpAddr>| list.iter().map(ToString::to_string).collect();
        let addresses = self.addresses(picture);
        Ips { host: texts(addresses.host), pod: texts(addresses.pod) }
    }

    fn status(&self, picture: &Picture, ended: bool) -> PodStatus {
        let mut status = pod_lifecycle::status(&self.looked(picture), &self.addresses(picture), ended);
        if self.state.turned_away {
            // Nothing of it was ever begun: no container waits.
            (status.container_statuses, status.init_container_statuses) = (None, None);
            status.ephemeral_container_statuses = None;
        }
        self.tell_pre_pull(&mut status);
        status.qos_class.get_or_insert_with(|| resources::qos(&self.state.pod).to_owned());
        status
    }

    /// Writes the status when it changed.
    ///
    /// # Errors
    /// When the API server can't be told now. A pod it no longer has is no error: the watch says so.
    pub(super) async fn tell(&mut self, picture: &Picture, ended: bool) -> Result<(), RuntimeError> {
        let status = self.status(picture, ended);
        self.count_start(&status);
        if is_static(&self.state.pod) {
            return Box::pin(self.tell_mirror(status)).await;
        }
        if is_stand_in(&self.state.pod) {
            // No API server knows it.
            self.take_status(Some(status), None);
            return Ok(());
        }
        if self.is_told(&status) {
            return Ok(());
        }
        let new = patch::canonical(&status);
        let old = self.state.pod.status.as_ref().map(patch::canonical).unwrap_or_default();
        let told = patch::fingerprint(&new);
        let Some(body) = patch::patch(&self.uid, &old, new) else {
            self.state.nothing_to_tell = Some((status, Arc::downgrade(&self.state.pod)));
            return Ok(());
        };
        drop(old);
        if self.is_again(told) {
            return Ok(());
        }
        match self.send(body).await {
            Ok(answer) => {
                self.take_status(Some(status), answer.metadata.resource_version);
                self.state.told = Some((told, Instant::now()));
                self.agent.answers.note();
                self.report_trial();
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(RuntimeError::Failed(format!("the status can't be written: {error}"))),
        }
    }

    /// Whether the API server was told just this a moment ago.
    pub(super) fn is_again(&self, status: u64) -> bool {
        self.state.told.is_some_and(|(told, at)| told == status && at.elapsed() < SAME_STATUS_AFTER)
    }

    /// Whether the pod has this status, as far as a look at what was compared before tells.
    fn is_told(&self, status: &PodStatus) -> bool {
        let pod = &self.state.pod;
        let before = self.state.nothing_to_tell.as_ref();
        before.is_some_and(|(told, of)| Weak::as_ptr(of) == Arc::as_ptr(pod) && told == status)
            || pod.status.as_ref() == Some(status)
    }

    /// The pod has this status by now.
    pub(super) fn take_status(&mut self, status: Option<PodStatus>, version: Option<String>) {
        let phase = |status: Option<&PodStatus>| status.and_then(|status| status.phase.clone());
        // A pod that has ended must not begin again after a boot.
        self.state.unkept |= phase(self.state.pod.status.as_ref()) != phase(status.as_ref());
        let Pod { metadata, spec, .. } = &*self.state.pod;
        let mut own = Pod { metadata: metadata.clone(), spec: spec.clone(), status };
        own.metadata.resource_version = version;
        self.state.pod = Arc::new(own);
        self.agent.keep_pod(&self.uid, Some(Arc::clone(&self.state.pod)));
    }

    /// The object by which the API server shows the pod, if it has one.
    fn shown(&self) -> Option<Arc<Pod>> {
        match &self.state.pod {
            pod if is_static(pod) => self.known_mirror(),
            pod => Some(Arc::clone(pod)).filter(|pod| !is_stand_in(pod)),
        }
    }

    /// The first time that a pod which came to this agent runs.
    fn count_start(&mut self, new: &PodStatus) {
        let phase = |status: Option<&PodStatus>| status.and_then(|s| s.phase.clone()).unwrap_or_default();
        if phase(Some(new)) == "Running"
            && let Some(since) = self.state.since.take()
            && phase(self.state.pod.status.as_ref()) != "Running"
        {
            self.agent.counters.started(since.elapsed());
        }
    }

    pub(super) async fn send(&self, body: Value) -> Result<Told, kube::Error> {
        let meta = &self.state.pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        let pods: Api<Pod> = Api::namespaced(self.agent.client.clone(), namespace);
        let name = meta.name.as_deref().unwrap_or_default();
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&body));
        let request = Request::new(pods.resource_url()).patch_subresource("status", name, &params, &patch);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        // It is text by now: no tree waits for the server.
        drop(body);
        request.headers_mut().insert(ACCEPT, METADATA_ALONE);
        within(ANSWER_MAX, self.agent.client.request(request)).await
    }

    /// Waits for `work`; when that takes long, tells meanwhile what the pod waits for.
    pub(super) async fn telling<T>(&self, picture: &Picture, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(TELL_WITHIN) => {}
        }
        let status = self.status(picture, false);
        let told = async {
            let Some(shown) = self.shown() else { return };
            let old = shown.status.as_ref().map(patch::canonical).unwrap_or_default();
            let uid = shown.metadata.uid.as_deref().unwrap_or_default();
            if let Some(body) = patch::patch(uid, &old, patch::canonical(&status)) {
                drop(self.send(body).await);
            }
        };
        let (done, ()) = tokio::join!(work, told);
        done
    }
}
