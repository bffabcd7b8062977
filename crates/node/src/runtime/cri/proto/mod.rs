//! The messages of the Container Runtime Interface (runtime.v1) that this runtime uses, with the fields that it uses, by
//! hand: their numbers never change, and a generator would need `protoc` at build time.
//!
//! # Absent
//! Windows, user namespaces, checkpoints, metrics; unknown fields of answers are skipped.

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod sandbox;
pub(crate) mod stats;

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

pub(crate) const VERSION: &str = "/runtime.v1.RuntimeService/Version";
pub(crate) const STATUS: &str = "/runtime.v1.RuntimeService/Status";
pub(crate) const RUNTIME_CONFIG: &str = "/runtime.v1.RuntimeService/RuntimeConfig";
pub(crate) const EVENTS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";

/// Names and values.
pub(crate) type Pairs = BTreeMap<String, String>;

/// A question or an answer that says nothing beside itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionRequest {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionResponse {
    #[prost(string, tag = "2")]
    pub(crate) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(crate) runtime_version: String,
    #[prost(string, tag = "4")]
    pub(crate) runtime_api_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusRequest {
    #[prost(bool, tag = "1")]
    pub(crate) verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<RuntimeStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) info: Pairs,
    #[prost(message, repeated, tag = "3")]
    pub(crate) handlers: Vec<RuntimeHandler>,
    #[prost(message, optional, tag = "4")]
    pub(crate) features: Option<RuntimeFeatures>,
}

/// A way to run containers; the default one has no name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeHandler {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) features: Option<HandlerFeatures>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HandlerFeatures {
    #[prost(bool, tag = "1")]
    pub(crate) recursive_read_only_mounts: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeFeatures {
    #[prost(bool, tag = "1")]
    pub(crate) supplemental_groups_policy: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    pub(crate) conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeCondition {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(bool, tag = "2")]
    pub(crate) status: bool,
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
    #[prost(string, tag = "4")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeConfigResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) linux: Option<LinuxRuntimeConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxRuntimeConfiguration {
    #[prost(enumeration = "CgroupDriver", tag = "1")]
    pub(crate) cgroup_driver: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum CgroupDriver {
    Systemd = 0,
    Cgroupfs = 1,
}

/// A number that may be missing.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Int64Value {
    #[prost(int64, tag = "1")]
    pub(crate) value: i64,
}

/// A number that may be missing.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct UInt64Value {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

/// What a stream of events tells.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerEvent {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) sandbox: Option<sandbox::PodSandboxStatus>,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::container::{ContainerConfig, LinuxContainerConfig, SecurityContext};
    use super::sandbox::{NamespaceMode, NamespaceOption};
    use super::{Int64Value, StatusResponse};

    /// Bytes as another implementation of protocol buffers writes these messages.
    #[test]
    fn numbers_are_those_of_the_interface() {
        let config = ContainerConfig {
            log_path: "c/0.log".to_owned(),
            tty: true,
            linux: Some(LinuxContainerConfig {
                security_context: Some(SecurityContext {
                    run_as_user: Some(Int64Value { value: 7 }),
                    run_as_group: Some(Int64Value { value: 8 }),
                    no_new_privs: true,
                    namespaces: Some(NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        // 11: "c/0.log"; 14: 1; 15: { 2: { 3: {2: 1}, 5: {1: 7}, 11: 1, 12: {1: 8} } }
        let want = b"\x5a\x07c/0.log\x70\x01\x7a\x10\x12\x0e\x1a\x02\x10\x01\x2a\x02\x08\x07\x58\x01\x62\x02\x08\x08";
        assert_eq!(config.encode_to_vec(), want);
        // 1: { 1: { 1: "NetworkReady", 2: 0, 3: "r", 4: "m" } }, 2: map, and 4, the features.
        let bytes = b"\x0a\x16\x0a\x14\x0a\x0cNetworkReady\x1a\x01r\x22\x01m\x12\x06\x0a\x01k\x12\x01v\x22\x02\x08\x01";
        let status = StatusResponse::decode(&bytes[..]).unwrap();
        let condition = &status.status.unwrap().conditions[0];
        assert_eq!(
            (condition.kind.as_str(), condition.status, condition.message.as_str()),
            ("NetworkReady", false, "m")
        );
        assert_eq!(status.info["k"], "v");
        assert!(status.features.unwrap().supplemental_groups_policy);
    }
}
