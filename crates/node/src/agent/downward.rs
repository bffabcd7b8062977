//! What a pod may learn about itself: fieldRef and resourceFieldRef.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

/// What a reference asks for that nobody can answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownwardError {
    /// Not a field a pod may ask for.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// Not a resource a pod may ask for.
    #[error("unsupported container resource: {0}")]
    Resource(String),
    /// The named container is not in the pod.
    #[error("container {0} not found")]
    Container(String),
}

/// Addresses that only the node knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ips {
    pub(crate) host: Vec<String>,
    pub(crate) pod: Vec<String>,
}

/// The value of a fieldRef.
pub(crate) fn field(pod: &Pod, path: &str, ips: &Ips) -> Result<String, DownwardError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        return match map {
            "metadata.labels" => Ok(text(meta.labels.as_ref().and_then(|m| m.get(key)))),
            "metadata.annotations" => Ok(text(meta.annotations.as_ref().and_then(|m| m.get(key)))),
            _ => Err(DownwardError::Field(path.to_owned())),
        };
    }
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => text(ips.host.first()),
        "status.hostIPs" => ips.host.join(","),
        "status.podIP" => text(ips.pod.first()),
        "status.podIPs" => ips.pod.join(","),
        other => return Err(DownwardError::Field(other.to_owned())),
    })
}

/// `metadata.labels['KEY']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// key="value" lines, as Kubernetes writes a whole map into a file.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in map.into_iter().flatten() {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String can't fail.
        let _ = write!(text, "{key}={value:?}");
    }
    text
}

/// The value of a resourceFieldRef. A limit that is not set is what the node has.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node_memory_bytes: i64,
) -> Result<String, DownwardError> {
    let spec = pod.spec.as_ref();
    let container = match &selector.container_name {
        Some(name) if !name.is_empty() => spec
            .and_then(|s| s.containers.iter().chain(s.init_containers.iter().flatten()).find(|c| c.name == *name))
            .ok_or_else(|| DownwardError::Container(name.clone()))?,
        _ => own.ok_or_else(|| DownwardError::Container(String::new()))?,
    };
    let unknown = || DownwardError::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let list = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let set = list.and_then(|l| l.get(name)).and_then(|q| Quantity::parse(&q.0).ok());
    let divisor = selector.divisor.as_ref().and_then(|d| Quantity::parse(&d.0).ok()).filter(|d| !d.is_zero());
    let cpus = || std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
    Ok(match name {
        "cpu" => {
            let milli = set.map_or_else(|| if kind == "limits" { cpus() * 1000 } else { 0 }, |q| q.milli());
            divided(milli, divisor.map_or(1000, |d| d.milli()))
        }
        "memory" => {
            let bytes = set.map_or(if kind == "limits" { node_memory_bytes } else { 0 }, |q| q.units());
            divided(bytes, divisor.map_or(1, |d| d.units()))
        }
        _ => divided(set.map_or(0, |q| q.units()), divisor.map_or(1, |d| d.units())),
    }
    .to_string())
}

/// Rounded up, as Kubernetes does.
fn divided(value: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    value / divisor + i64::from(value % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::api::resource;

    fn pod() -> Pod {
        let quantity = |q: &str| resource::Quantity(q.to_owned());
        let container = Container {
            name: "c".to_owned(),
            resources: Some(ResourceRequirements {
                limits: Some([("cpu".to_owned(), quantity("1500m")), ("memory".to_owned(), quantity("200Mi"))].into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut pod =
            Pod { spec: Some(PodSpec { containers: vec![container], ..Default::default() }), ..Default::default() };
        pod.metadata.name = Some("p".to_owned());
        pod.metadata.labels = Some([("a".to_owned(), "x\"y".to_owned()), ("b/c".to_owned(), "z".to_owned())].into());
        pod
    }

    #[test]
    fn fields() {
        let ips = Ips { host: vec!["1.1.1.1".to_owned()], pod: vec!["2.2.2.2".to_owned(), "::1".to_owned()] };
        for (path, expect) in [
            ("metadata.name", Some("p")),
            ("metadata.labels['b/c']", Some("z")),
            ("metadata.labels['none']", Some("")),
            ("metadata.labels", Some("a=\"x\\\"y\"\nb/c=\"z\"")),
            ("status.podIPs", Some("2.2.2.2,::1")),
            ("status.hostIP", Some("1.1.1.1")),
            ("spec.priority", None),
        ] {
            assert_eq!(field(&pod(), path, &ips).ok().as_deref(), expect, "{path}");
        }
    }

    #[test]
    fn resources() {
        let pod = pod();
        let own = &pod.spec.as_ref().unwrap().containers[0];
        for (name, divisor, expect) in [
            ("limits.cpu", None, Some("2")),
            ("limits.cpu", Some("1m"), Some("1500")),
            ("limits.memory", None, Some("209715200")),
            ("limits.memory", Some("1Mi"), Some("200")),
            ("requests.memory", None, Some("0")),
            ("limits", None, None),
        ] {
            let selector = ResourceFieldSelector {
                resource: name.to_owned(),
                divisor: divisor.map(|d| resource::Quantity(d.to_owned())),
                container_name: None,
            };
            assert_eq!(super::resource(&pod, Some(own), &selector, 1).ok().as_deref(), expect, "{name} {divisor:?}");
        }
    }
}
