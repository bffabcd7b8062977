//! Defaults of pods and of the pod templates in workloads.
//!
//! Invariants: a template gets no default that depends on what else the pod will be told (requests
//! from limits, host ports, service links): those come with the pod itself.

use serde_json::{Map, Value, json};

use super::core::first_of;
use super::fill::{items, object, resource_list, resources, set, set_absent, set_number, text};
use super::volume;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a pod.
pub(super) fn pod(obj: &mut Value) {
    if let Some(spec) = object(obj, "spec") {
        for list in ["initContainers", "containers"] {
            for container in items(spec, list) {
                requests_from_limits(container);
            }
        }
        pod_requests(spec);
        set_absent(spec, "enableServiceLinks", true);
        if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
            for list in ["initContainers", "containers"] {
                items(spec, list).for_each(host_ports);
            }
        }
        pod_spec(spec);
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
            spec["terminationGracePeriodSeconds"] = Value::from(1);
        }
    }
    if let Some(status) = obj.get_mut("status") {
        first_of(status, "podIP", "podIPs", Some("ip"));
        for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
            for container in items(status, list) {
                resource_list(container, "allocatedResources");
                resources(container, "resources");
            }
        }
        resource_list(status, "allocatedResources");
        resources(status, "resources");
    }
}

/// Defaults of a pod template, when there is one.
pub(super) fn template(template: Option<&mut Value>) {
    if let Some(spec) = template.and_then(|template| object(template, "spec")) {
        pod_spec(spec);
    }
}

/// Defaults of a pod spec, be it of a pod or of a template.
fn pod_spec(spec: &mut Value) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set_absent(spec, "securityContext", Map::new());
    set_absent(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "schedulerName", "default-scheduler");
    let account = text(spec, "serviceAccount").to_owned();
    if !account.is_empty() {
        set(spec, "serviceAccountName", account);
    }
    let account = text(spec, "serviceAccountName").to_owned();
    if !account.is_empty() {
        spec["serviceAccount"] = Value::from(account); // the old name of the same field
    }
    items(spec, "volumes").for_each(volume::volume);
    for list in CONTAINER_LISTS {
        items(spec, list).for_each(container);
    }
    resource_list(spec, "overhead");
    resources(spec, "resources");
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set_absent(container, "resources", Map::new());
    resources(container, "resources");
    for port in items(container, "ports") {
        set(port, "protocol", "TCP");
    }
    for env in items(container, "env") {
        let Some(from) = env.get_mut("valueFrom") else { continue };
        if let Some(field) = from.get_mut("fieldRef") {
            set(field, "apiVersion", "v1");
        }
        if let Some(file) = from.get_mut("fileKeyRef") {
            set_absent(file, "optional", false);
        }
        if let Some(resource) = from.get_mut("resourceFieldRef") {
            set(resource, "divisor", "0");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = container.get_mut(name) {
            probe(one);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = lifecycle.get_mut(hook).and_then(|hook| hook.get_mut("httpGet")) {
                http_get(get);
            }
        }
    }
}

fn probe(probe: &mut Value) {
    set_number(probe, "timeoutSeconds", 1);
    set_number(probe, "periodSeconds", 10);
    set_number(probe, "successThreshold", 1);
    set_number(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set_absent(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    set(get, "path", "/");
    set(get, "scheme", "HTTP");
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    if let Some(Value::Object(requests)) = object(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// Requests of the pod as a whole, where it has limits of its own.
fn pod_requests(spec: &mut Value) {
    let limits = spec.get("resources").and_then(|resources| resources.get("limits")).cloned();
    let Some(Value::Object(limits)) = limits.filter(|limits| limits.as_object().is_some_and(|map| !map.is_empty()))
    else {
        return;
    };
    let sums = container_requests(spec);
    let Some(requests) = spec.get_mut("resources").and_then(|resources| object(resources, "requests")) else { return };
    let Some(requests) = requests.as_object_mut() else { return };
    let supported = |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    for (name, sum) in sums {
        if supported(&name) && !name.starts_with("hugepages-") {
            requests.entry(name).or_insert(Value::from(sum));
        }
    }
    for (name, limit) in limits.into_iter().filter(|(name, _)| supported(name)) {
        requests.entry(name).or_insert(limit);
    }
}

fn container_requests(spec: &Value) -> Vec<(String, String)> {
    crate::resources::container_totals(spec, "requests")
        .into_iter()
        .map(|(name, amount)| (name, amount.to_string()))
        .collect()
}

fn host_ports(container: &mut Value) {
    for port in items(container, "ports") {
        if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
            set_number(port, "hostPort", number);
        }
    }
}

/// `Always` for an image whose tag is `latest` or left out, unless a digest pins it.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let (name, pinned) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let slash = name.rfind('/').map_or(0, |i| i + 1);
    let (repository, tag) = match name[slash..].rfind(':') {
        Some(colon) => (&name[..slash + colon], &name[slash + colon + 1..]),
        None => (name, if pinned { "" } else { "latest" }),
    };
    // what cannot be a repository has no tag to speak of
    let path = repository.split_once('/').filter(|(host, _)| host.contains(['.', ':'])).map_or(repository, |p| p.1);
    let named = !path.is_empty() && !path.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace());
    if named && tag == "latest" { "Always" } else { "IfNotPresent" }
}

/// The empty volume source, for volumes that name none.
pub(super) fn empty_dir() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        fn check(image: &str, expect: &str) {
            assert_eq!(pull_policy(image), expect, "{image}");
        }
        check("busybox", "Always");
        check("busybox:latest", "Always");
        check("busybox:1.36", "IfNotPresent");
        check("localhost:5000/a/b", "Always");
        check("localhost:5000/a/b:1", "IfNotPresent");
        check("busybox@sha256:00", "IfNotPresent");
        check("busybox:latest@sha256:00", "Always");
        check("Example.com/a", "Always");
        check("Upper", "IfNotPresent");
        check("", "IfNotPresent");
    }

    #[test]
    fn templates_and_pods() {
        let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "busybox:1.36",
            "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1000m"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 20}}],
            "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}]});
        let mut in_template = json!({"spec": spec});
        template(Some(&mut in_template));
        let expect = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "busybox:1.36",
            "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}],
            "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 20,
                "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30});
        assert_eq!(in_template["spec"], expect);

        let mut as_pod = json!({"spec": spec});
        pod(&mut as_pod);
        let container = &as_pod["spec"]["containers"][0];
        assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}));
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(as_pod["spec"]["enableServiceLinks"], true);
    }

    #[test]
    fn fields_with_two_names() {
        let mut obj = json!({"spec": {"serviceAccount": "a", "terminationGracePeriodSeconds": -1},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}]}});
        pod(&mut obj);
        assert_eq!(obj["spec"]["serviceAccountName"], "a");
        assert_eq!(obj["spec"]["terminationGracePeriodSeconds"], 1);
        assert_eq!(obj["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
        let mut obj = json!({"spec": {"serviceAccountName": "a"}, "status": {"podIPs": [{"ip": "10.0.0.2"}]}});
        pod(&mut obj);
        assert_eq!(obj["spec"]["serviceAccount"], "a");
        assert_eq!(obj["status"]["podIP"], "10.0.0.2");
    }

    #[test]
    fn pod_level_requests() {
        let mut obj = json!({"spec": {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "200m"}}}]}});
        pod(&mut obj);
        assert_eq!(obj["spec"]["resources"]["requests"], json!({"cpu": "300m", "memory": "1Gi"}));
    }
}
