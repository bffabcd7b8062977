//! Containers: what they run and, for a pod, how they are.

use serde_json::Value;

use super::writer::{Writer, bool_word, items, text};
use crate::duration::long;

/// A pod's part in its containers' descriptions.
#[derive(Clone, Copy)]
pub(super) struct OfPod<'a> {
    pub(super) pod: &'a Value,
    pub(super) statuses: &'a Value,
}

/// `Containers:` and all below.
pub(super) fn containers(w: &mut Writer, title: &str, list: &Value, of_pod: Option<OfPod<'_>>, space: &str) {
    let none = if items(list).is_empty() { " <none>" } else { "" };
    w.line(0, format!("{space}{title}:{none}"));
    for container in items(list) {
        let status = of_pod.and_then(|of| items(of.statuses).iter().find(|status| status["name"] == container["name"]));
        let indent = if space.is_empty() { "" } else { " " };
        w.line(1, format!("{indent}{}:", text(&container["name"])));
        basics(w, container, status);
        command(w, container);
        if let Some(status) = status {
            state(w, "State", &status["state"]);
            if status["lastState"]["terminated"].is_object() {
                state(w, "Last State", &status["lastState"]);
            }
            w.line(2, format!("Ready:\t{}", bool_word(&status["ready"])));
            w.line(2, format!("Restart Count:\t{}", status["restartCount"].as_i64().unwrap_or_default()));
        }
        resources(w, &container["resources"]);
        for (title, name) in
            [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
        {
            if container[name].is_object() {
                w.line(2, format!("{title}:\t{}", probe(&container[name])));
            }
        }
        environment_from(w, container);
        environment(w, container, of_pod.map(|of| of.pod));
        mounts(w, container);
    }
}

fn basics(w: &mut Writer, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        w.line(2, format!("Container ID:\t{}", text(&status["containerID"])));
    }
    w.line(2, format!("Image:\t{}", text(&container["image"])));
    if let Some(status) = status {
        w.line(2, format!("Image ID:\t{}", text(&status["imageID"])));
    }
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports = ports(container, field);
        match ports.len() {
            0 => w.line(2, format!("{title}:\t<none>")),
            1 => w.line(2, format!("{title}:\t{}", ports[0])),
            _ => w.line(2, format!("{title}s:\t{}", ports.join(", "))),
        }
    }
    let profile = &container["securityContext"]["seccompProfile"];
    if profile.is_object() {
        w.line(2, format!("SeccompProfile:\t{}", text(&profile["type"])));
        if profile["type"] == "Localhost" {
            w.line(3, format!("LocalhostProfile:\t{}", text(&profile["localhostProfile"])));
        }
    }
}

fn ports(container: &Value, field: &str) -> Vec<String> {
    let one = |port: &Value| {
        let number = port[field].as_i64().unwrap_or_default();
        let name = text(&port["name"]);
        let name = if name.is_empty() { name } else { format!(" ({name})") };
        format!("{number}/{}{name}", text(&port["protocol"]))
    };
    items(&container["ports"]).iter().map(one).collect()
}

fn command(w: &mut Writer, container: &Value) {
    for (title, field) in [("Command", "command"), ("Args", "args")] {
        let words = items(&container[field]);
        if !words.is_empty() {
            w.line(2, format!("{title}:"));
        }
        for word in words {
            for line in text(word).split('\n') {
                w.line(3, line);
            }
        }
    }
}

fn state(w: &mut Writer, title: &str, state: &Value) {
    if state["running"].is_object() {
        w.line(2, format!("{title}:\tRunning"));
        w.line(3, format!("Started:\t{}", long(&state["running"]["startedAt"])));
        return;
    }
    let ended = &state["terminated"];
    if !ended.is_object() {
        w.line(2, format!("{title}:\tWaiting"));
        let reason = text(&state["waiting"]["reason"]);
        if !reason.is_empty() {
            w.line(3, format!("Reason:\t{reason}"));
        }
        return;
    }
    w.line(2, format!("{title}:\tTerminated"));
    for (title, field) in [("Reason", "reason"), ("Message", "message")] {
        if !text(&ended[field]).is_empty() {
            w.line(3, format!("{title}:\t{}", text(&ended[field])));
        }
    }
    w.line(3, format!("Exit Code:\t{}", ended["exitCode"].as_i64().unwrap_or_default()));
    if ended["signal"].as_i64().is_some_and(|signal| signal > 0) {
        w.line(3, format!("Signal:\t{}", text(&ended["signal"])));
    }
    w.line(3, format!("Started:\t{}", long(&ended["startedAt"])));
    w.line(3, format!("Finished:\t{}", long(&ended["finishedAt"])));
}

fn resources(w: &mut Writer, resources: &Value) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let amounts = resources[field].as_object();
        if amounts.is_some_and(|amounts| !amounts.is_empty()) {
            w.line(2, format!("{title}:"));
        }
        for (name, amount) in amounts.into_iter().flatten() {
            w.line(3, format!("{name}:\t{}", text(amount)));
        }
    }
}

/// A probe on one line.
fn probe(probe: &Value) -> String {
    let number = |name: &str| probe[name].as_i64().unwrap_or_default();
    let numbers = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    if probe["exec"].is_object() {
        let words: Vec<String> = items(&probe["exec"]["command"]).iter().map(text).collect();
        return format!("exec [{}] {numbers}", words.join(" "));
    }
    let http = &probe["httpGet"];
    if http.is_object() {
        let scheme = text(&http["scheme"]).to_lowercase();
        return format!(
            "http-get {scheme}://{}:{}{} {numbers}",
            text(&http["host"]),
            text(&http["port"]),
            text(&http["path"])
        );
    }
    let tcp = &probe["tcpSocket"];
    if tcp.is_object() {
        return format!("tcp-socket {}:{} {numbers}", text(&tcp["host"]), text(&tcp["port"]));
    }
    let grpc = &probe["grpc"];
    if grpc.is_object() {
        return format!("grpc <pod>:{} {} {numbers}", text(&grpc["port"]), text(&grpc["service"]));
    }
    format!("unknown {numbers}")
}

fn environment_from(w: &mut Writer, container: &Value) {
    let sources = items(&container["envFrom"]);
    if sources.is_empty() {
        return;
    }
    w.line(2, "Environment Variables from:");
    for source in sources {
        let (kind, reference) = if source["configMapRef"].is_object() {
            ("ConfigMap", &source["configMapRef"])
        } else {
            ("Secret", &source["secretRef"])
        };
        let prefix = text(&source["prefix"]);
        let with = if prefix.is_empty() { String::new() } else { format!(" with prefix '{prefix}'") };
        let optional = reference["optional"] == true;
        w.line(3, format!("{}\t{kind}{with}\tOptional: {optional}", text(&reference["name"])));
    }
}

fn environment(w: &mut Writer, container: &Value, pod: Option<&Value>) {
    let variables = items(&container["env"]);
    w.line(2, if variables.is_empty() { "Environment:\t<none>" } else { "Environment:" });
    for variable in variables {
        let name = text(&variable["name"]);
        let from = &variable["valueFrom"];
        if !from.is_object() {
            for (place, line) in text(&variable["value"]).split('\n').enumerate() {
                let name = if place == 0 { format!("{name}:") } else { String::new() };
                w.line(3, format!("{name}\t{line}"));
            }
            continue;
        }
        let field = &from["fieldRef"];
        if field.is_object() {
            let value = pod.map(|pod| pod_field(pod, &text(&field["fieldPath"]))).unwrap_or_default();
            let path = format!("{}:{}", text(&field["apiVersion"]), text(&field["fieldPath"]));
            w.line(3, format!("{name}:\t{value} ({path})"));
        } else if from["resourceFieldRef"].is_object() {
            let resource = text(&from["resourceFieldRef"]["resource"]);
            w.line(3, format!("{name}:\t{} ({resource})", amount(container, &resource)));
        } else if from["secretKeyRef"].is_object() {
            let (key, secret, optional) = reference(&from["secretKeyRef"]);
            w.line(3, format!("{name}:\t<set to the key '{key}' in secret '{secret}'>\tOptional: {optional}"));
        } else if from["configMapKeyRef"].is_object() {
            let (key, map, optional) = reference(&from["configMapKeyRef"]);
            w.line(3, format!("{name}:\t<set to the key '{key}' of config map '{map}'>\tOptional: {optional}"));
        }
    }
}

fn reference(of: &Value) -> (String, String, bool) {
    (text(&of["key"]), text(&of["name"]), of["optional"] == true)
}

/// What a `fieldRef` stands for.
fn pod_field(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.split_once("['") {
        let key = key.trim_end_matches("']");
        return text(&pod["metadata"][map.trim_start_matches("metadata.")][key]);
    }
    path.split('.').try_fold(pod, |value, part| value.get(part)).map(text).unwrap_or_default()
}

/// What a `resourceFieldRef` stands for; a limit that is not set is the node's.
fn amount(container: &Value, resource: &str) -> String {
    let found =
        resource.split_once('.').map(|(list, name)| text(&container["resources"][list][name])).unwrap_or_default();
    match found.as_str() {
        "" if resource.starts_with("limits.") => "node allocatable".into(),
        "" => "0".into(),
        _ => found,
    }
}

fn mounts(w: &mut Writer, container: &Value) {
    let mut mounts: Vec<&Value> = items(&container["volumeMounts"]).iter().collect();
    w.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    mounts.sort_by_key(|mount| text(&mount["mountPath"]));
    for mount in mounts {
        let mut flags = if mount["readOnly"] == true { "ro" } else { "rw" }.to_owned();
        let below = text(&mount["subPath"]);
        if !below.is_empty() {
            flags = format!("{flags},path={below:?}");
        }
        w.line(3, format!("{} from {} ({flags})", text(&mount["mountPath"]), text(&mount["name"])));
    }
    let devices = items(&container["volumeDevices"]);
    if !devices.is_empty() {
        w.line(2, "Devices:");
    }
    for device in devices {
        w.line(3, format!("{} from {}", text(&device["devicePath"]), text(&device["name"])));
    }
}
