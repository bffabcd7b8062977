//! What is accepted but likely not meant: sentences for `Warning` headers.
//!
//! Invariants: an update warns only when what is warned about has changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kinds::Kind;
use crate::quote::quoted;

use super::at::At;
use super::content::dns1123_label;
use super::{Path, formats};

/// Ports of one number that the next one is held against: a pod with more has more warnings than a client is shown.
const ALIKE_MAX: usize = 16;
/// Warnings about ports and what comes before them; a response has room for about as many.
const PORT_WARNINGS_MAX: usize = 1000;
const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The warnings about an object that is written; `old` is the stored one, if there is one.
#[must_use]
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    if kind.custom.is_some() {
        return crate::crd::warnings(new, old);
    }
    let mut out = Vec::new();
    if kind.served_only && old.is_none() {
        let resource = kind.group_resource();
        out.push(format!("resource {resource} is stored, and no controller here acts on it: run one that does"));
    }
    let template = match (kind.group, kind.kind) {
        ("", "Pod") if old.is_none() => {
            let name = At::root(new, "metadata").child("name").text();
            let sentences = dns1123_label(name);
            if !sentences.is_empty() {
                out.push(format!(
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS \
                     label is recommended: [{}]",
                    sentences.join(" ")
                ));
            }
            let at = Pod { metadata: At::root(new, "metadata"), spec: At::root(new, "spec"), is_template: false };
            at.warn(&mut out);
            return out;
        }
        ("", "Service") => {
            let kind = new.pointer("/spec/type").and_then(Value::as_str).unwrap_or_default();
            let headless = new.pointer("/spec/clusterIP").is_some_and(|ip| ip == "None");
            if old.is_none() && !headless && kind != "ExternalName" {
                out.push(
                    "resource services has its addresses, and nothing here forwards to them: run a proxy".to_owned(),
                );
            }
            service(new, &mut out);
            return out;
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let known = old.map(formats::unrecognized).unwrap_or_default();
            let formats = formats::unrecognized(new).into_iter().filter(|format| !known.contains(format));
            return formats.map(|format| format!("unrecognized format {}", quoted(&format))).collect();
        }
        ("apps", "DaemonSet" | "ReplicaSet" | "Deployment" | "StatefulSet") | ("batch", "Job") => "/spec/template",
        ("", "ReplicationController") => "/spec/template",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
        ("", "PodTemplate") => "/template",
        _ => return out,
    };
    if old.is_some_and(|old| old.pointer(template) == new.pointer(template)) {
        return out;
    }
    let path =
        template.split('/').skip(2).fold(Path::root(template.split('/').nth(1).unwrap_or("")), |p, s| p.child(s));
    let at = At::new(new.pointer(template), path);
    Pod { metadata: at.child("metadata"), spec: at.child("spec"), is_template: true }.warn(&mut out);
    out
}

struct Pod<'a> {
    metadata: At<'a>,
    spec: At<'a>,
    is_template: bool,
}

fn deprecated_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, message)| *message)
}

impl<'a> Pod<'a> {
    fn warn(&self, out: &mut Vec<String>) {
        self.node_labels(out);
        self.spreading(out);
        let annotations = self.metadata.child("annotations");
        for (key, message) in ANNOTATIONS {
            if annotations.value().get(key).is_some() {
                out.push(format!("{}: {message}", annotations.path.key(key)));
            }
        }
        for volume in self.spec.child("volumes").items() {
            for (source, message) in VOLUMES {
                let source = volume.child(source);
                if source.is_set() {
                    out.push(format!("{}: {message}", source.path));
                }
            }
        }
        repeated(&self.spec.child("hostAliases"), "ip", out);
        repeated(&self.spec.child("imagePullSecrets"), "name", out);
        fractional(&self.spec.child("overhead"), out);
        self.profiles(&annotations, out);
        for container in self.containers() {
            let resources = container.child("resources");
            fractional(&resources.child("limits"), out);
            fractional(&resources.child("requests"), out);
            hidden_variables(&container.child("env"), out);
        }
        self.ports(out);
        self.port_names(out);
        self.pod_affinity(out);
    }

    fn containers(&self) -> Vec<At<'a>> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(|list| self.spec.child(list).items().collect::<Vec<_>>()).collect()
    }

    fn node_labels(&self, out: &mut Vec<String>) {
        for (key, entry) in self.spec.child("nodeSelector").entries() {
            if let Some(message) = deprecated_label(key) {
                out.push(format!("{}: {message}", entry.path));
            }
        }
        let node = self.spec.child("affinity").child("nodeAffinity");
        let required = node.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        let preferred = node.child("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred: Vec<At<'_>> = preferred.items().map(|term| term.child("preference")).collect();
        for term in required.items().chain(preferred) {
            for key in term.child("matchExpressions").items().map(|expression| expression.child("key")) {
                if let Some(message) = deprecated_label(key.text()) {
                    out.push(format!("{}: {} is {message}", key.path, key.text()));
                }
            }
        }
    }

    fn spreading(&self, out: &mut Vec<String>) {
        for constraint in self.spec.child("topologySpreadConstraints").items() {
            let key = constraint.child("topologyKey");
            if let Some(message) = deprecated_label(key.text()) {
                out.push(format!("{}: {} is {message}", key.path, key.text()));
            }
            null_selector(&constraint, out);
        }
    }

    fn pod_affinity(&self, out: &mut Vec<String>) {
        for kind in ["podAffinity", "podAntiAffinity"] {
            let affinity = self.spec.child("affinity").child(kind);
            let required = affinity.child("requiredDuringSchedulingIgnoredDuringExecution");
            required.items().for_each(|term| null_selector(&term, out));
            let preferred = affinity.child("preferredDuringSchedulingIgnoredDuringExecution");
            preferred.items().for_each(|term| null_selector(&term.child("podAffinityTerm"), out));
        }
    }

    /// Profiles that annotations used to name.
    fn profiles(&self, annotations: &At<'_>, out: &mut Vec<String>) {
        let named = |key: &str| annotations.value().get(key).is_some();
        let context = self.spec.child("securityContext");
        if !context.child("seccompProfile").is_set() && named(SECCOMP_POD) {
            let path = annotations.path.key(SECCOMP_POD);
            out.push(format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
        }
        for container in self.containers() {
            let (name, own) = (container.child("name").text(), container.child("securityContext"));
            let key = format!("{SECCOMP_CONTAINER}{name}");
            if !own.child("seccompProfile").is_set() && named(&key) {
                let path = annotations.path.key(&key);
                out.push(format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
            }
            let key = format!("{APP_ARMOR}{name}");
            let has_field = own.child("appArmorProfile").is_set() || context.child("appArmorProfile").is_set();
            if self.is_template && !has_field && named(&key) {
                let path = annotations.path.key(&key);
                out.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
            }
        }
    }

    fn ports(&self, out: &mut Vec<String>) {
        struct Port<'a> {
            at: At<'a>,
            host: (String, i64),
        }
        let mut seen: BTreeMap<(i64, String), Vec<Port<'_>>> = BTreeMap::new();
        for container in self.containers() {
            for at in container.child("ports").items() {
                let key = (at.child("containerPort").number(), at.child("protocol").text().to_owned());
                let port = Port { host: (at.child("hostIP").text().to_owned(), at.child("hostPort").number()), at };
                let alike = seen.entry(key).or_default();
                if out.len() >= PORT_WARNINGS_MAX {
                    return;
                }
                for other in alike.iter() {
                    let ((ip, number), (other_ip, other_number)) = (&port.host, &other.host);
                    let how = if port.host == other.host {
                        "duplicate"
                    } else if *number == 0 || *other_number == 0 {
                        "overlapping"
                    } else if number == other_number && ip.is_empty() != other_ip.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    out.push(format!("{}: {how} port definition with {}", port.at.path, other.at.path));
                }
                if alike.len() < ALIKE_MAX {
                    alike.push(port);
                }
            }
        }
    }

    fn port_names(&self, out: &mut Vec<String>) {
        let mut seen: BTreeMap<&str, Path> = BTreeMap::new();
        for container in self.containers() {
            for port in container.child("ports").items() {
                let name = port.child("name").text();
                if name.is_empty() {
                    continue;
                }
                match seen.get(name) {
                    None => {
                        seen.insert(name, port.path.clone());
                    }
                    Some(other) => out.push(format!(
                        "{}: duplicate port name {} with {other}, services and probes that select ports by name will use \
                         {other}",
                        port.path,
                        quoted(name)
                    )),
                }
            }
        }
    }
}

fn null_selector(term: &At<'_>, out: &mut Vec<String>) {
    let selector = term.child("labelSelector");
    if !selector.is_set() {
        out.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
    }
}

fn repeated(list: &At<'_>, field: &str, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for at in list.items().map(|item| item.child(field)) {
        if !seen.insert(at.text()) {
            out.push(format!("{}: duplicate {field} {}", at.path, quoted(at.text())));
        }
        if at.text().is_empty() && field == "name" {
            out.push(format!("{}: invalid empty name \"\"", at.path));
        }
    }
}

fn fractional(list: &At<'_>, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let at = At::new(list.value().get(name), list.path.key(name));
        if let Some(amount) = at.quantity().filter(|amount| !amount.is_whole()) {
            let amount = quoted(&amount.to_string());
            out.push(format!("{}: fractional byte value {amount} is invalid, must be an integer", at.path));
        }
    }
}

fn hidden_variables(list: &At<'_>, out: &mut Vec<String>) {
    let mut seen = Vec::new();
    for variable in list.items() {
        let (name, value) = (variable.child("name").text(), variable.child("value").text());
        let reference = format!("$({name})");
        let extends = !variable.child("valueFrom").is_set() && value != reference && value.contains(&reference);
        if seen.contains(&name) && !extends {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                variable.path,
                quoted(name)
            ));
        }
        seen.push(name);
    }
}

fn service(obj: &Value, out: &mut Vec<String>) {
    let spec = At::root(obj, "spec");
    let kind = spec.child("type").text();
    let headless = kind == "ClusterIP" && spec.child("clusterIP").text() == "None";
    let outside = !spec.child("externalIPs").is_empty();
    if headless {
        let ignored = [
            (!spec.child("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (outside, "externalIPs"),
            (spec.child("sessionAffinity").text() != "None", "SessionAffinity"),
        ];
        for (_, field) in ignored.into_iter().filter(|(given, _)| *given) {
            out.push(format!("spec.{field} is ignored for headless services"));
        }
    } else if outside && kind != "ExternalName" {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if kind == "ExternalName" && outside {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !spec.child("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn a_kind_that_no_controller_acts_on_is_said_once() {
        let job = crate::kinds::find("batch", "v1", "jobs").unwrap();
        let object = json!({"metadata": {"name": "j"}, "spec": {}});
        let said = warnings(job, &object, None);
        assert_eq!(said, ["resource jobs.batch is stored, and no controller here acts on it: run one that does"]);
        assert!(warnings(job, &object, Some(&object)).is_empty(), "not at each update");
    }

    fn check(spec: Value, expect: &[&str]) {
        let mut obj = json!({"spec": {"template": {"spec": spec}}});
        obj["spec"]["template"]["metadata"] = json!({"annotations": {format!("{APP_ARMOR}old"): "unconfined"}});
        let kind = kinds::by_kind("apps/v1", "DaemonSet").expect("DaemonSet");
        assert_eq!(warnings(kind, &obj, None), expect);
        assert_eq!(warnings(kind, &obj, Some(&obj)), Vec::<String>::new());
    }

    #[test]
    fn templates() {
        check(json!({}), &[]);
        check(
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            &[
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" \
               instead",
            ],
        );
        let term = json!({"matchExpressions": [{"key": "node-role.kubernetes.io/master", "operator": "Exists"}]});
        check(
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [term]}}}}),
            &["spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
               nodeSelectorTerms[0].matchExpressions[0].key: node-role.kubernetes.io/master is use \
               \"node-role.kubernetes.io/control-plane\" instead"],
        );
        check(
            json!({"containers": [{"name": "old"}]}),
            &[
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/old]: deprecated since \
               v1.30; use the \"appArmorProfile\" field instead",
            ],
        );
    }

    #[test]
    fn containers() {
        let ports = |port: i64| json!([{"containerPort": port, "name": "healthz", "protocol": "TCP"}]);
        check(
            json!({"containers": [{"ports": ports(1)}, {"ports": ports(2)}]}),
            &["spec.template.spec.containers[1].ports[0]: duplicate port name \"healthz\" with \
               spec.template.spec.containers[0].ports[0], services and probes that select ports by name will use \
               spec.template.spec.containers[0].ports[0]"],
        );
        check(
            json!({"containers": [{"ports": [{"containerPort": 1}]}, {"ports": [{"containerPort": 1}]}]}),
            &["spec.template.spec.containers[1].ports[0]: duplicate port definition with \
               spec.template.spec.containers[0].ports[0]"],
        );
        check(
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"},
                {"name": "A", "value": "$(A)x"}], "resources": {"limits": {"memory": "100m"}}}]}),
            &[
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must \
               be an integer",
                "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when \
                 using apply",
            ],
        );
    }

    /// Found by a pod of 20,000 ports, which took half a minute.
    #[test]
    fn many_ports_have_few_warnings() {
        let ports: Vec<Value> = (0..20_000).map(|_| json!({"containerPort": 80})).collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}});
        let found = super::super::warnings(crate::kinds::find("", "v1", "pods").unwrap(), &pod, None);
        assert!(found.len() > 10 && found.len() <= PORT_WARNINGS_MAX + ALIKE_MAX, "{}", found.len());
    }
}
