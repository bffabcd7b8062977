//! ConfigMaps, Secrets and tokens a pod names, asked for when they are needed.
//!
//! # Invariants
//! - What the API server says holds, also that there is no such object. Only where it can't be asked, what it said last is
//!   gone by: [`Kept`] has it on disk.
//!
//! # Absent
//! A cache in memory: what is kept on disk serves, where a watch ([`super::watched`]) says that it holds.

use std::time::Duration;

use decide::dead_man::is_stand_in;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::within;
use super::kept::Kept;
use super::watched::Watched;
use crate::images::credentials::Keyring;

/// A server that takes longer to answer counts as one that can't be asked: pods wait for this.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why an object can't be used, in Kubernetes' words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// It does not exist (yet).
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// configmap, secret, serviceaccount.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object is there, the key is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// ConfigMap or Secret.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server has no tokens to give.
    #[error(
        "the API server gives no tokens for service accounts (serviceaccounts/{0}/token): set automountServiceAccountToken: false or use a server with TokenRequest"
    )]
    NoTokens(String),
    /// The API server can't be asked.
    #[error("couldn't get {kind} {namespace}/{name}: {cause}")]
    Api {
        /// configmap, secret, serviceaccount.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        cause: Box<kube::Error>,
    },
}

impl ObjectError {
    /// True where waiting for the object may help and `optional` makes it unnecessary.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoKey { .. })
    }

    /// True where the server said nothing about the object: it is away, in trouble, or does not know this node any more.
    fn is_silence(&self) -> bool {
        match self {
            Self::Api { cause, .. } => match cause.as_ref() {
                kube::Error::Api(status) => matches!(status.code, 401 | 429 | 500..),
                _ => true,
            },
            _ => false,
        }
    }
}

/// A ConfigMap or a Secret.
pub(crate) trait Named:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
    /// In messages.
    const KIND: &'static str;
    /// Nobody can change it.
    fn immutable(&self) -> bool;
}

impl Named for ConfigMap {
    const KIND: &'static str = "configmap";
    fn immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

impl Named for Secret {
    const KIND: &'static str = "secret";
    fn immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

/// Asks the API server.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
    kept: Kept,
    watched: Watched,
}

fn namespace_of(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

fn named<T>(
    kind: &'static str,
    namespace: &str,
    name: &str,
    result: Result<Option<T>, kube::Error>,
) -> Result<T, ObjectError> {
    match result {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(ObjectError::NotFound { kind, name: name.to_owned() }),
        Err(cause) => Err(ObjectError::Api {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cause: Box::new(cause),
        }),
    }
}

impl Objects {
    pub(crate) fn new(client: Client, kept: Kept, watched: Watched) -> Self {
        Self { client, kept, watched }
    }

    /// A ConfigMap of the pod's namespace.
    pub(crate) async fn config_map(&self, pod: &Pod, name: &str) -> Result<ConfigMap, ObjectError> {
        self.object(pod, name).await
    }

    /// A Secret of the pod's namespace.
    pub(crate) async fn secret(&self, pod: &Pod, name: &str) -> Result<Secret, ObjectError> {
        self.object(pod, name).await
    }

    async fn object<K: Named>(&self, pod: &Pod, name: &str) -> Result<K, ObjectError> {
        if is_stand_in(pod) {
            return self.only_kept(K::KIND, pod, name).await;
        }
        let found = match self.unchanged::<K>(pod, name).await {
            Some(found) => found,
            None => self.newest(pod, name).await,
        };
        if let Ok(object) = &found {
            self.watched.read(K::KIND, object.meta(), object.immutable());
        }
        found
    }

    async fn newest<K: Named>(&self, pod: &Pod, name: &str) -> Result<K, ObjectError> {
        let namespace = namespace_of(pod);
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let mut found = named(K::KIND, namespace, name, within(ANSWER_MAX, api.get_opt(name)).await);
        if let Ok(object) = &mut found {
            // Nobody here reads who wrote which field.
            object.meta_mut().managed_fields = None;
        }
        self.or_kept(K::KIND, pod, name, found).await
    }

    /// What was kept, where a watch says that it is still so.
    async fn unchanged<K: Named>(&self, pod: &Pod, name: &str) -> Option<Result<K, ObjectError>> {
        let version = self.watched.version(K::KIND, namespace_of(pod), name)?;
        let kept: Option<K> = self.kept.object(pod.metadata.uid.as_deref()?, K::KIND, name).await?;
        match kept {
            Some(kept) if version.is_some() && kept.meta().resource_version == version => Some(Ok(kept)),
            None if version.is_none() => Some(Err(ObjectError::NotFound { kind: K::KIND, name: name.to_owned() })),
            _ => None,
        }
    }

    /// Of a pod that the API server does not know any more it says nothing either.
    async fn only_kept<T>(&self, kind: &'static str, pod: &Pod, name: &str) -> Result<T, ObjectError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let kept = self.kept.object(uid, kind, name).await.flatten();
        kept.ok_or_else(|| ObjectError::NotFound { kind, name: name.to_owned() })
    }

    /// Keeps what was found, or that there is nothing; where the server is silent, what it said last.
    async fn or_kept<T>(
        &self,
        kind: &'static str,
        pod: &Pod,
        name: &str,
        found: Result<T, ObjectError>,
    ) -> Result<T, ObjectError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        match &found {
            Ok(object) => self.kept.save_object(uid, kind, name, Some(object)).await,
            Err(ObjectError::NotFound { .. }) => self.kept.save_object::<T>(uid, kind, name, None).await,
            Err(error) if error.is_silence() => match self.kept.object(uid, kind, name).await {
                Some(Some(object)) => return Ok(object),
                Some(None) => return Err(ObjectError::NotFound { kind, name: name.to_owned() }),
                None => {}
            },
            Err(_) => {}
        }
        found
    }

    /// A token of the pod's service account, bound to the pod. Where the server is silent the last one, though it may have
    /// expired: a pod that can't be told otherwise starts with what it had.
    pub(crate) async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_seconds: Option<i64>,
    ) -> Result<String, ObjectError> {
        if is_stand_in(pod) {
            return self.only_kept("token", pod, audience.unwrap_or_default()).await;
        }
        let found = self.new_token(pod, audience, expiration_seconds).await;
        self.or_kept("token", pod, audience.unwrap_or_default(), found).await
    }

    async fn new_token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_seconds: Option<i64>,
    ) -> Result<String, ObjectError> {
        let namespace = namespace_of(pod);
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|a| vec![a.to_owned()]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                expiration_seconds,
            }),
            ..Default::default()
        };
        match within(ANSWER_MAX, api.create_token_request(account, &PostParams::default(), &request)).await {
            Ok(answer) => Ok(answer.status.and_then(|s| s.token).unwrap_or_default()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405 | 501) => {
                match named("serviceaccount", namespace, account, within(ANSWER_MAX, api.get_opt(account)).await) {
                    Ok(_) => Err(ObjectError::NoTokens(account.to_owned())),
                    Err(error) => Err(error),
                }
            }
            Err(cause) => Err(ObjectError::Api {
                kind: "token of serviceaccount",
                namespace: namespace.to_owned(),
                name: account.to_owned(),
                cause: Box::new(cause),
            }),
        }
    }

    /// Who may pull, by the pod's imagePullSecrets. Secrets that are missing are passed over, as Kubernetes does: the image
    /// may be public.
    pub(crate) async fn pull_secrets(&self, pod: &Pod, keyring: &mut Keyring) {
        let secrets = pod.spec.as_ref().and_then(|s| s.image_pull_secrets.as_deref()).unwrap_or_default();
        for reference in secrets {
            let Ok(secret) = self.secret(pod, &reference.name).await else { continue };
            let data = secret.data.unwrap_or_default();
            if let Some(config) = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")) {
                keyring.add(&config.0);
            }
        }
    }
}
