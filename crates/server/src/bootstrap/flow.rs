//! Flow schemas and priority levels that every cluster has. Nothing here shares out requests by them.

use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io/v1";

/// The objects.
pub(super) fn objects() -> Vec<Value> {
    let levels = [
        level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        limited("catch-all", 5, 0, json!({"type": "Reject"})),
        limited("system", 30, 33, queues(64, 6)),
        limited("node-high", 40, 25, queues(64, 6)),
        limited("leader-election", 10, 0, queues(16, 4)),
        limited("workload-high", 40, 50, queues(128, 6)),
        limited("workload-low", 100, 90, queues(128, 6)),
        limited("global-default", 20, 50, queues(128, 6)),
    ];
    let (user, namespace) = (Some("ByUser"), Some("ByNamespace"));
    let everyone = || groups(&["system:unauthenticated", "system:authenticated"]);
    let nodes = || groups(&["system:nodes"]);
    let manager = "system:kube-controller-manager";
    let leases = |verbs: Value| json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]});
    let of_nodes = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
        "namespaces": ["*"], "clusterScope": true});
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let mut leaders = users(&[manager, "system:kube-scheduler"]);
    leaders.extend(system_accounts());
    let schemas = [
        schema("exempt", "exempt", 1, None, rule(groups(&["system:masters"]))),
        schema("probes", "exempt", 2, None, json!({"subjects": everyone(), "nonResourceRules": probes})),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            user,
            json!({"subjects": leaders, "resourceRules": [leases(json!(["get", "create", "update"]))]}),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            user,
            json!({"subjects": nodes(), "resourceRules": [of_nodes, leases(json!(["*"]))]}),
        ),
        schema("system-nodes", "system", 500, user, rule(nodes())),
        schema("kube-controller-manager", "workload-high", 800, namespace, rule(users(&[manager]))),
        schema("kube-scheduler", "workload-high", 800, namespace, rule(users(&["system:kube-scheduler"]))),
        schema("kube-system-service-accounts", "workload-high", 900, namespace, rule(system_accounts())),
        schema("service-accounts", "workload-low", 9000, user, rule(groups(&["system:serviceaccounts"]))),
        schema("global-default", "global-default", 9900, user, rule(everyone())),
        schema("catch-all", "catch-all", 10_000, user, rule(everyone())),
    ];
    levels.into_iter().chain(schemas).collect()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}})
}

fn level(name: &str, spec: Value) -> Value {
    json!({"apiVersion": GROUP, "kind": "PriorityLevelConfiguration", "metadata": metadata(name), "spec": spec})
}

fn limited(name: &str, shares: i32, lendable: i32, response: Value) -> Value {
    let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
    level(name, json!({"type": "Limited", "limited": limited}))
}

fn queues(queues: i32, hand: i32) -> Value {
    json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
}

fn schema(name: &str, level: &str, precedence: i32, by: Option<&str>, rule: Value) -> Value {
    let mut spec =
        json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule]});
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    json!({"apiVersion": GROUP, "kind": "FlowSchema", "metadata": metadata(name), "spec": spec})
}

/// All that the subjects ask.
fn rule(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn system_accounts() -> Vec<Value> {
    vec![json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})]
}
