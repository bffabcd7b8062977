//! ConfigMaps, Secrets and tokens a pod names, asked for when they are needed.
//!
//! # Absent
//! A cache: what a pod mounts is on the node's disk anyway, and a second copy in memory would only go stale.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::images::credentials::Keyring;

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
}

/// Asks the API server.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
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
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<ConfigMap, ObjectError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        named("configmap", namespace, name, api.get_opt(name).await)
    }

    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, ObjectError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        named("secret", namespace, name, api.get_opt(name).await)
    }

    /// A token of the pod's service account, bound to the pod.
    pub(crate) async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_seconds: Option<i64>,
    ) -> Result<String, ObjectError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
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
        match api.create_token_request(account, &PostParams::default(), &request).await {
            Ok(answer) => Ok(answer.status.and_then(|s| s.token).unwrap_or_default()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405 | 501) => {
                match named("serviceaccount", namespace, account, api.get_opt(account).await) {
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
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        for reference in secrets {
            let Ok(secret) = self.secret(namespace, &reference.name).await else { continue };
            let data = secret.data.unwrap_or_default();
            if let Some(config) = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")) {
                keyring.add(&config.0);
            }
        }
    }
}
