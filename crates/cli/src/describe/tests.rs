//! Whole descriptions, line by line.

use serde_json::json;

use super::*;

#[test]
fn a_daemon_set_reads_as_kubectl_prints_it() {
    let set = json!({
        "metadata": {"name": "fluentd", "labels": {"app": "fluentd"}, "annotations": {
            "deprecated.daemonset.template.generation": "1",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        }},
        "spec": {
            "selector": {"matchLabels": {"app": "fluentd"}},
            "template": {
                "metadata": {"labels": {"app": "fluentd"}},
                "spec": {
                    "containers": [{
                        "name": "fluentd",
                        "image": "fluent/fluentd:v1.16",
                        "resources": {"limits": {"memory": "200Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}},
                        "volumeMounts": [
                            {"name": "varlog", "mountPath": "/var/log"},
                            {"name": "containers", "mountPath": "/var/lib/docker/containers", "readOnly": true},
                        ],
                    }],
                    "volumes": [{"name": "varlog", "hostPath": {"path": "/var/log", "type": ""}}],
                },
            },
        },
        "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 5, "updatedNumberScheduled": 5, "numberAvailable": 4},
    });
    let pods = [json!({"status": {"phase": "Running"}}), json!({"status": {"phase": "Pending"}})];
    let mut w = Writer::new();
    workload::daemon_set(&mut w, &set, &pods);
    events::events(&mut w, &[], Timestamp::UNIX_EPOCH);
    let want = "\
Name:           fluentd
Selector:       app=fluentd
Node-Selector:  <none>
Labels:         app=fluentd
Annotations:    deprecated.daemonset.template.generation: 1
Desired Number of Nodes Scheduled: 5
Current Number of Nodes Scheduled: 5
Number of Nodes Scheduled with Up-to-date Pods: 5
Number of Nodes Scheduled with Available Pods: 4
Number of Nodes Misscheduled: 0
Pods Status:  1 Running / 1 Waiting / 0 Succeeded / 0 Failed
Pod Template:
  Labels:  app=fluentd
  Containers:
   fluentd:
    Image:      fluent/fluentd:v1.16
    Port:       <none>
    Host Port:  <none>
    Limits:
      memory:  200Mi
    Requests:
      cpu:        100m
      memory:     200Mi
    Environment:  <none>
    Mounts:
      /var/lib/docker/containers from containers (ro)
      /var/log from varlog (rw)
  Volumes:
   varlog:
    Type:          HostPath (bare host directory volume)
    Path:          /var/log
    HostPathType:  
  Node-Selectors:  <none>
  Tolerations:     <none>
Events:            <none>
";
    assert_eq!(w.finish(), want);
}

#[test]
fn selectors_as_requests_write_them() {
    let selector = json!({
        "matchLabels": {"b": "2"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["z", "y"]},
            {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"},
            {"key": "e", "operator": "NotIn", "values": ["x"]},
        ],
    });
    assert_eq!(selector_text(&selector), "!d,a in (y,z),b=2,c,e notin (x)");
}

#[test]
fn events_are_told_oldest_first() {
    let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
    let event = |last: &str, count: i64| {
        json!({
            "type": "Normal", "reason": "R", "message": " m\n", "count": count, "source": {"component": "c"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": last,
        })
    };
    let mut w = Writer::new();
    events::events(&mut w, &[event("2026-01-01T00:09:30Z", 3), event("2026-01-01T00:00:00Z", 1)], now);
    let want = "\
Events:
  Type    Reason  Age                From  Message
  ----    ------  ----               ----  -------
  Normal  R       10m                c     m
  Normal  R       30s (x3 over 10m)  c     m
";
    assert_eq!(w.finish(), want);
}
