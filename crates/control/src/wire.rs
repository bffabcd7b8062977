//! Writes to the API server, by kind and key, answered with no more than metadata.
//!
//! Invariants: every write of an existing object can carry its UID, so that it never hits a new object of the same name.
//!
//! Absent: retries (keys are retried, not requests).

use api::kinds::{Kind, find};
use decide::owners::Propagation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::key::Key;

/// Metadata of an answer; the rest is not read.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "api::unmanaged::metadata")]
    metadata: ObjectMeta,
}

/// A list of which only the number of items is read.
#[derive(Debug, Deserialize)]
struct Items {
    #[serde(default)]
    items: Vec<Answer>,
}

/// How a patch is merged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patch {
    Merge,
    Strategic,
}

/// How an object is deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion<'a> {
    pub(crate) uid: Option<&'a str>,
    pub(crate) resource_version: Option<&'a str>,
    pub(crate) grace_s: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
}

/// The rows of the kinds that controllers write or follow.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $group:literal $plural:literal),*) => {
        $($(#[$doc])* pub(crate) fn $name() -> &'static Kind {
            // The table is part of the program, so this cannot fail at run time; a test reads every row.
            find($group, "v1", $plural).expect("a row of the table of kinds")
        })*
        #[cfg(test)]
        const ROWS: &[fn() -> &'static Kind] = &[$($name),*];
    };
}

rows! {
    pods: "" "pods",
    nodes: "" "nodes",
    namespaces: "" "namespaces",
    events: "" "events",
    config_maps: "" "configmaps",
    secrets: "" "secrets",
    service_accounts: "" "serviceaccounts",
    daemon_sets: "apps" "daemonsets",
    replica_sets: "apps" "replicasets",
    revisions: "apps" "controllerrevisions",
    budgets: "policy" "poddisruptionbudgets",
    leases: "coordination.k8s.io" "leases",
    certificate_requests: "certificates.k8s.io" "certificatesigningrequests"
}

/// The HTTP status of a refusal, 0 for other failures.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// True when the object is gone or another one has its name.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(code(error), 404 | 410)
}

/// True when a creation was refused because its namespace is being deleted.
pub(crate) fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|c| c.reason == "NamespaceTerminating")
}

/// The path of a collection; an empty namespace means all of them.
pub(crate) fn collection(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    if kind.namespaced && !namespace.is_empty() {
        format!("{root}/{}/namespaces/{namespace}/{}", kind.version, kind.plural)
    } else {
        format!("{root}/{}/{}", kind.version, kind.plural)
    }
}

fn object(kind: &Kind, key: &Key, subresource: &str) -> String {
    let separator = if subresource.is_empty() { "" } else { "/" };
    format!("{}/{}{separator}{subresource}", collection(kind, &key.namespace), key.name)
}

async fn send<T: serde::de::DeserializeOwned>(
    client: &Client,
    method: &str,
    path: &str,
    media: &str,
    body: Vec<u8>,
) -> kube::Result<T> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::CONTENT_TYPE, media)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

const JSON: &str = "application/json";

fn encode(body: &impl Serialize) -> kube::Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(kube::Error::SerdeError)
}

/// Creates an object.
pub(crate) async fn create(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    body: &impl Serialize,
) -> kube::Result<ObjectMeta> {
    let answer: Answer = send(client, "POST", &collection(kind, namespace), JSON, typed(kind, body)?).await?;
    Ok(answer.metadata)
}

/// The body with `apiVersion` and `kind`, which types write first, and which JSON that is put together here may lack.
fn typed(kind: &Kind, body: &impl Serialize) -> kube::Result<Vec<u8>> {
    let body = encode(body)?;
    let members = match body.strip_prefix(b"{") {
        Some(members) if !members.starts_with(br#""apiVersion":"#) => members,
        _ => return Ok(body),
    };
    let head = format!(r#"{{"apiVersion":"{}","kind":"{}""#, kind.api_version(), kind.kind);
    let comma: &[u8] = if members == b"}" { b"" } else { b"," };
    Ok([head.as_bytes(), comma, members].concat())
}

/// Posts to a subresource of an object; the answer is not read.
pub(crate) async fn post(client: &Client, kind: &Kind, key: &Key, sub: &str, body: &Value) -> kube::Result<()> {
    let _: IgnoredAny = send(client, "POST", &object(kind, key, sub), JSON, encode(body)?).await?;
    Ok(())
}

/// Replaces an object or one of its subresources.
pub(crate) async fn replace(
    client: &Client,
    kind: &Kind,
    key: &Key,
    sub: &str,
    body: &impl Serialize,
) -> kube::Result<ObjectMeta> {
    let answer: Answer = send(client, "PUT", &object(kind, key, sub), JSON, typed(kind, body)?).await?;
    Ok(answer.metadata)
}

/// Patches an object or one of its subresources.
pub(crate) async fn patch(
    client: &Client,
    kind: &Kind,
    key: &Key,
    sub: &str,
    how: Patch,
    body: &Value,
) -> kube::Result<ObjectMeta> {
    let media = match how {
        Patch::Merge => "application/merge-patch+json",
        Patch::Strategic => "application/strategic-merge-patch+json",
    };
    let answer: Answer = send(client, "PATCH", &object(kind, key, sub), media, encode(body)?).await?;
    Ok(answer.metadata)
}

impl Deletion<'_> {
    fn body(&self) -> Value {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if self.uid.is_some() || self.resource_version.is_some() {
            let mut conditions = json!({});
            if let Some(uid) = self.uid {
                conditions["uid"] = uid.into();
            }
            if let Some(version) = self.resource_version {
                conditions["resourceVersion"] = version.into();
            }
            body["preconditions"] = conditions;
        }
        if let Some(grace) = self.grace_s {
            body["gracePeriodSeconds"] = grace.into();
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            }
            .into();
        }
        body
    }
}

/// Deletes an object.
pub(crate) async fn delete(client: &Client, kind: &Kind, key: &Key, how: &Deletion<'_>) -> kube::Result<()> {
    let _: IgnoredAny = send(client, "DELETE", &object(kind, key, ""), JSON, encode(&how.body())?).await?;
    Ok(())
}

/// Deletes all objects of a kind in a namespace.
pub(crate) async fn delete_all(client: &Client, kind: &Kind, namespace: &str) -> kube::Result<()> {
    let how = Deletion { propagation: Some(Propagation::Background), ..Deletion::default() };
    let _: IgnoredAny = send(client, "DELETE", &collection(kind, namespace), JSON, encode(&how.body())?).await?;
    Ok(())
}

/// Reads the metadata of an object; `None` when there is none of this name.
pub(crate) async fn look(client: &Client, kind: &Kind, key: &Key) -> kube::Result<Option<ObjectMeta>> {
    match send::<Answer>(client, "GET", &object(kind, key, ""), JSON, Vec::new()).await {
        Ok(answer) => Ok(Some(answer.metadata)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// True when a namespace holds no object of a kind.
pub(crate) async fn is_empty(client: &Client, kind: &Kind, namespace: &str) -> kube::Result<bool> {
    let path = format!("{}?limit=1", collection(kind, namespace));
    let list: Items = send(client, "GET", &path, JSON, Vec::new()).await?;
    Ok(list.items.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_exists_and_paths_are_kubernetes() {
        for row in ROWS {
            assert!(!row().plural.is_empty());
        }
        let key = Key::new("d", "p");
        assert_eq!(object(pods(), &key, "binding"), "/api/v1/namespaces/d/pods/p/binding");
        assert_eq!(object(nodes(), &Key::new("", "n"), ""), "/api/v1/nodes/n");
        assert_eq!(collection(daemon_sets(), ""), "/apis/apps/v1/daemonsets");
    }

    #[test]
    fn bodies_say_what_they_are() {
        let expect = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let mut named = k8s_openapi::api::core::v1::Pod::default();
        named.metadata.name = Some("p".into());
        for body in [typed(pods(), &named), typed(pods(), &json!({"metadata": {"name": "p"}})), typed(pods(), &expect)]
        {
            assert_eq!(serde_json::from_slice::<Value>(&body.unwrap()).unwrap(), expect);
        }
        let bare: Value = serde_json::from_slice(&typed(pods(), &json!({})).unwrap()).unwrap();
        assert_eq!(bare, json!({"apiVersion": "v1", "kind": "Pod"}));
    }

    #[test]
    fn deletions_carry_their_preconditions() {
        let how = Deletion {
            uid: Some("u"),
            grace_s: Some(0),
            propagation: Some(Propagation::Orphan),
            ..Deletion::default()
        };
        let expect = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "u"},
            "gracePeriodSeconds": 0, "propagationPolicy": "Orphan"});
        assert_eq!(how.body(), expect);
    }
}
