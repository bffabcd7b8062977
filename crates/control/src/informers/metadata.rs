//! Objects of any kind, of which only the metadata is read.

use std::borrow::Cow;

use api::kinds::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};
use serde::Deserialize;

/// An object of which only the metadata is read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
}

/// What the API server tells of an object of which only the metadata is asked for.
pub(super) type Partial = kube::core::PartialObjectMeta<Metadata>;

/// The objects of a kind, of which only the metadata is read.
pub(super) fn api(client: &Client, kind: &'static Kind) -> Api<Metadata> {
    Api::all_with(client.clone(), &kind)
}

impl Resource for Metadata {
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
