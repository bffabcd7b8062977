//! Objects of any kind, of which only the metadata is read, and leases, of which little more is.

use std::borrow::Cow;

use api::kinds::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};
use serde::Deserialize;

/// An object of which only the metadata is read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    #[serde(default, deserialize_with = "api::unmanaged::metadata")]
    pub(super) metadata: ObjectMeta,
}

/// A lease of which only the last renewal is read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Renewed {
    #[serde(default, deserialize_with = "api::unmanaged::metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: RenewedSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenewedSpec {
    /// As it is written: it is only asked whether it is another one.
    #[serde(default)]
    pub(super) renew_time: Option<String>,
}

/// What the API server tells of an object of which only the metadata is asked for.
pub(super) type Partial = kube::core::PartialObjectMeta<Metadata>;

/// The objects of a kind, of which only part is read.
pub(super) fn api<K: Resource<DynamicType = &'static Kind>>(client: &Client, kind: &'static Kind) -> Api<K> {
    Api::all_with(client.clone(), &kind)
}

/// Both are of the kind that their watch is about.
macro_rules! of_any_kind {
    ($($name:ident),*) => {$(
        impl Resource for $name {
            type DynamicType = &'static Kind;
            type Scope = DynamicResourceScope;

            fn kind(kind: &&'static Kind) -> Cow<'static, str> {
                kind.kind.into()
            }

            fn group(kind: &&'static Kind) -> Cow<'static, str> {
                kind.group.into()
            }

            fn version(kind: &&'static Kind) -> Cow<'static, str> {
                kind.version.into()
            }

            fn plural(kind: &&'static Kind) -> Cow<'static, str> {
                kind.plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}
of_any_kind!(Metadata, Renewed);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_looked_at_is_read() {
        let metadata = json!({"name": "n", "managedFields": [{"manager": "m"}]});
        let object = json!({"metadata": metadata, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
        let read: Renewed = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(read.spec.renew_time.as_deref(), Some("2026-01-01T00:00:00.000000Z"));
        let bare: Metadata = serde_json::from_value(object).unwrap();
        assert_eq!(bare.metadata, ObjectMeta { name: Some("n".into()), ..ObjectMeta::default() });
        assert_eq!(bare.metadata, read.metadata);
    }
}
