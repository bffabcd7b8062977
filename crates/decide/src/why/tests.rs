//! What is said of each pair of DaemonSet and node.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn node(name: &str, labels: &Value, taints: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn plain(name: &str) -> Value {
    node(name, &json!({}), &json!([]))
}

fn set(spec: &Value) -> Value {
    json!({"metadata": {"name": "d", "namespace": "default", "uid": "uid-d", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": spec}}})
}

/// A pod of the set on a node, of the revision with this hash.
fn pod(name: &str, node: &str, hash: &str, more: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name,
            "labels": {"app": "d", "controller-revision-hash": hash},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "uid-d",
                "controller": true}]},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x:1"}]},
        "status": {"phase": "Running"},
    });
    for part in ["spec", "status"] {
        for (key, value) in more[part].as_object().into_iter().flatten() {
            pod[part][key] = value.clone();
        }
    }
    pod
}

fn ready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn snapshot(set: Value, nodes: Vec<Value>, pods: Vec<Value>) -> Snapshot {
    let read = |list: Vec<Value>| serde_json::from_value(Value::Array(list)).unwrap();
    let pods = serde_json::from_value(Value::Array(pods)).unwrap();
    Snapshot { set: serde_json::from_value(set).unwrap(), nodes: read(nodes), pods, ..Snapshot::default() }
}

fn report(snapshot: &Snapshot, found: &Found) -> Report {
    Case::new(snapshot, &Asked::default(), now()).report(found)
}

/// The hash that the set's template has.
fn hash(spec: &Value) -> String {
    report(&snapshot(set(spec), vec![], vec![]), &Found::default()).revision
}

fn simple() -> Value {
    json!({"containers": [{"name": "c", "image": "x:1"}]})
}

/// One node and one pod of the newest revision, and what is said of them.
fn one(spec: &Value, node: Value, pod_more: &Value, found: &Found) -> (State, Cause, String) {
    let name = node["metadata"]["name"].as_str().unwrap().to_owned();
    let pods = if pod_more.is_null() { vec![] } else { vec![pod("d-1", &name, &hash(spec), pod_more)] };
    let report = report(&snapshot(set(spec), vec![node], pods), found);
    let answer = report.nodes[0].clone();
    (answer.state, answer.cause, answer.message)
}

#[test]
fn exclusions_name_the_rule_and_what_the_node_has() {
    let with = |key: &str, value: Value| {
        let mut spec = simple();
        spec[key] = value;
        spec
    };
    let affinity = |terms: Value| {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        with("affinity", json!({"nodeAffinity": required}))
    };
    let expression =
        |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let labels = json!({"zone": "c"});
    let cases = [
        (
            with("nodeSelector", json!({"disk": "ssd"})),
            json!([]),
            Cause::NodeSelector,
            "the node selector asks for disk=ssd, and the node has no label disk",
        ),
        (
            with("nodeSelector", json!({"zone": "a"})),
            json!([]),
            Cause::NodeSelector,
            "the node selector asks for zone=a, and the node has zone=c",
        ),
        (
            affinity(json!([{"matchExpressions": [expression("zone", "In", &["a", "b"])]}])),
            json!([]),
            Cause::NodeAffinity,
            "the required node affinity does not match: it asks for zone in (a, b), and the node has zone=c",
        ),
        (
            affinity(json!([
                {"matchExpressions": [expression("zone", "Exists", &[]), expression("gpu", "Exists", &[])]},
                {"matchFields": [expression("metadata.name", "In", &["n-9"])]},
            ])),
            json!([]),
            Cause::NodeAffinity,
            "the required node affinity does not match: term 1: it asks for a label gpu, and the node has no label gpu; \
             term 2: it asks for metadata.name in (n-9), and the node is n-0",
        ),
        (
            simple(),
            json!([{"key": "dedicated", "value": "edge", "effect": "NoSchedule"}]),
            Cause::NodeTaint,
            "the taint dedicated=edge:NoSchedule is not tolerated",
        ),
        (with("nodeName", json!("n-7")), json!([]), Cause::NodeName, "the template names node n-7"),
    ];
    for (spec, taints, cause, message) in cases {
        let got = one(&spec, node("n-0", &labels, &taints), &Value::Null, &Found::default());
        assert_eq!(got, (State::Excluded, cause, message.to_owned()));
    }
}

#[test]
fn the_agents_words_are_told() {
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let status = |state: Value, more: Value| {
        let mut status =
            json!({"name": "c", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        for (key, value) in more.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        json!({"status": {"containerStatuses": [status]}})
    };
    let crashed = json!({"restartCount": 7, "lastState": {"terminated": {"exitCode": 3, "reason": "Error",
        "startedAt": "2026-11-24T11:00:00Z", "finishedAt": "2026-11-24T11:00:05Z"}}});
    let running = json!({"running": {"startedAt": "2026-11-24T11:00:00Z"}});
    let cases = [
        (
            status(waiting("ImagePullBackOff", "Back-off pulling image"), json!({})),
            Cause::ImagePull,
            "container c: image x:1 can't be had: ImagePullBackOff: Back-off pulling image",
        ),
        (
            status(waiting("CrashLoopBackOff", "back-off 5m0s"), crashed),
            Cause::CrashLoop,
            "container c ended with exit code 3 (Error) after 5 s, 7 restarts: CrashLoopBackOff",
        ),
        (
            status(waiting("CreateContainerConfigError", "configmap \"conf\" not found"), json!({})),
            Cause::Config,
            "container c: CreateContainerConfigError: configmap \"conf\" not found",
        ),
        (
            status(waiting("RunContainerError", "no such file"), json!({})),
            Cause::StartFailed,
            "container c can't be started: RunContainerError: no such file",
        ),
        (
            status(json!({"terminated": {"exitCode": 2, "reason": "Error"}}), json!({})),
            Cause::Ended,
            "container c ended with exit code 2 (Error)",
        ),
        (status(running, json!({"started": true})), Cause::Starting, "container c runs and is not ready"),
        (status(waiting("ContainerCreating", ""), json!({})), Cause::Starting, "containers are being made (node n-0)"),
        (json!({}), Cause::Starting, "the node has not said anything of the pod yet (node n-0)"),
    ];
    for (more, cause, message) in cases {
        let got = one(&simple(), plain("n-0"), &more, &Found::default());
        assert_eq!(got, (State::Waits, cause, message.to_owned()));
    }
    let available = one(&simple(), plain("n-0"), &ready(), &Found::default());
    assert_eq!(available, (State::Runs, Cause::Available, "the pod is available".to_owned()));
}

#[test]
fn a_failing_probe_is_told_with_what_it_found() {
    let probe = json!({"httpGet": {"port": 8080, "path": "/ready"}});
    let more = json!({
        "spec": {"containers": [{"name": "c", "image": "x:1", "readinessProbe": probe}]},
        "status": {"containerStatuses": [{"name": "c", "image": "x:1", "imageID": "", "ready": false, "started": true,
            "restartCount": 1, "state": {"running": {}}}]},
    });
    let warning = json!({"metadata": {}, "involvedObject": {}, "reason": "Unhealthy",
        "message": "Readiness probe failed: HTTP probe failed with statuscode: 503"});
    let warnings = [("d-1".to_owned(), serde_json::from_value(warning).unwrap())].into();
    let found = Found { warnings, ..Found::default() };
    let (state, cause, message) = one(&simple(), plain("n-0"), &more, &found);
    let want = "the readiness probe of container c has not succeeded (GET :8080/ready), 1 restart: Readiness probe \
                failed: HTTP probe failed with statuscode: 503";
    assert_eq!((state, cause, message.as_str()), (State::Waits, Cause::Probe, want));
}

#[test]
fn a_lost_node_is_told_of_before_its_last_words() {
    let mut lost = plain("n-0");
    lost["status"]["conditions"] = json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "lastTransitionTime": "2026-11-24T11:00:00Z"}]);
    let got = one(&simple(), lost, &json!({}), &Found::default());
    let want = "the node does not answer since 2026-11-24T11:00:00Z (NodeStatusUnknown)";
    assert_eq!(got, (State::Waits, Cause::NodeNotReady, want.to_owned()));
}

#[test]
fn an_unbound_pod_says_what_its_node_lacks() {
    let for_node = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-0"]}]}]}}});
    let containers = |requests: Value, port: u16| {
        json!([{"name": "c", "image": "x:1", "resources": {"requests": requests}, "ports": [
            {"containerPort": 80, "hostPort": port}]}])
    };
    let unbound = |requests: Value, said: &str| {
        json!({"spec": {"nodeName": "", "affinity": for_node, "containers": containers(requests, 80)},
            "status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}]}})
    };
    let other = |namespace: &str, port: u16| {
        let value = json!({"metadata": {"name": "o", "namespace": namespace, "uid": "o"},
            "spec": {"nodeName": "n-0", "containers": containers(json!({"cpu": "1500m"}), port)}});
        let neighbours = [("n-0".to_owned(), vec![serde_json::from_value(value).unwrap()])].into();
        Found { neighbours, ..Found::default() }
    };
    let said = "0/5 nodes are available: 1 Insufficient cpu, 4 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new \
                claims to deallocate, preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.";
    let cases = [
        (
            unbound(json!({"cpu": "600m"}), ""),
            other("a", 81),
            Cause::Insufficient,
            "it asks for 600m cpu, and 500m of 2 are free",
        ),
        (
            unbound(json!({"memory": "1536Mi"}), ""),
            other("a", 81),
            Cause::Insufficient,
            "it asks for 1.5Gi memory, and the node has 1Gi",
        ),
        (unbound(json!({}), ""), other("default", 80), Cause::Port, "port 80/TCP is taken by pod o"),
        (unbound(json!({}), ""), other("a", 80), Cause::Port, "port 80/TCP is taken by a pod of another namespace"),
    ];
    for (more, found, cause, message) in cases {
        let got = one(&simple(), plain("n-0"), &more, &found);
        assert_eq!(got, (State::Waits, cause, message.to_owned()));
    }
    let spec = simple();
    let pods = vec![pod("d-1", "", &hash(&spec), &unbound(json!({}), said))];
    let seen = snapshot(set(&spec), vec![plain("n-0")], pods);
    let answer = report(&seen, &Found::default()).nodes[0].clone();
    assert_eq!((answer.cause, answer.about.as_str()), (Cause::Unscheduled, "Insufficient cpu"));
    let asked = Asked::default();
    let looks = Case::new(&seen, &asked, now()).looks();
    assert_eq!(looks, [Look { pod: "d-1".into(), uid: "d-1".into(), node: "n-0".into(), unbound: true }]);
}

#[test]
fn an_update_that_waits_says_for_which_nodes_and_why_those_are_not_done() {
    let (old, new) = ("old".to_owned(), hash(&simple()));
    let broken = json!({"status": {"containerStatuses": [{"name": "c", "image": "x:9", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}]}});
    let pods = vec![
        pod("d-0", "n-0", &new, &ready()),
        pod("d-1", "n-1", &new, &broken),
        pod("d-2", "n-2", &old, &ready()),
        pod("d-3", "n-3", &old, &ready()),
    ];
    let seen = snapshot(set(&simple()), ["n-0", "n-1", "n-2", "n-3"].map(plain).into(), pods);
    let found = Found::default();
    let whole = report(&seen, &found);
    let updates: Vec<_> = whole.nodes.iter().map(|n| (n.updated, n.update.as_deref())).collect();
    let waits = "maxUnavailable 1 is used up by n-1; n-1: container c: image x:9 can't be had";
    assert_eq!(
        updates,
        [(Some(true), None), (Some(true), None), (Some(false), Some(waits)), (Some(false), Some(waits))]
    );
    assert_eq!(whole.held, [Held { about: waits.to_owned(), nodes: 2 }]);
    let counts = Counts { nodes: 4, runs: 3, waits: 1, excluded: 0, updated: 2, outdated: 2 };
    assert_eq!(whole.counts, counts);
    let causes: Vec<_> = whole.causes.iter().map(|g| (g.cause, g.nodes, g.examples.join(","))).collect();
    assert_eq!(causes, [(Cause::Available, 3, "n-0,n-2,n-3".into()), (Cause::ImagePull, 1, "n-1".into())]);

    let asked = Asked { node: Some("n-3".into()), ..Asked::default() };
    let looks = Case::new(&seen, &asked, now()).looks();
    assert_eq!(looks.iter().map(|l| l.pod.as_str()).collect::<Vec<_>>(), ["d-1"], "it is what n-3 waits for");
    let one = Case::new(&seen, &asked, now()).report(&found);
    assert_eq!((one.nodes.len(), one.nodes[0].update.as_deref()), (1, Some(waits)), "others are counted, not told");
    assert_eq!(one.document(false)["nodes"], Value::Null);
    assert_eq!(one.document(true)["nodes"][0]["state"], "Runs");
    assert_eq!(report(&seen, &found).document(true).to_string(), whole.document(true).to_string());
}

#[test]
fn every_node_has_an_answer_even_without_a_plan() {
    let mut going = set(&simple());
    going["metadata"]["deletionTimestamp"] = json!("2026-11-24T11:00:00Z");
    let mut blind = set(&simple());
    blind["spec"]["selector"] = json!({});
    for (set, word) in [(going, "is being deleted"), (blind, "no selector")] {
        let report = report(&snapshot(set, vec![plain("n-0"), plain("n-1")], vec![]), &Found::default());
        assert_eq!(report.nodes.len(), 2);
        assert!(report.nodes.iter().all(|n| n.cause == Cause::DaemonSet && n.message.contains(word)), "{report:?}");
    }
    let new = report(&snapshot(set(&simple()), vec![plain("n-0")], vec![]), &Found::default());
    assert_eq!((new.nodes[0].state, new.nodes[0].cause), (State::Waits, Cause::Creating));
}
