//! Pods: the STATUS column tells the most telling of a pod's many states.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, flag, is_deleting, is_true, list, number, text, text_or};
use super::duration::{human_duration, seconds_since};
use super::{AGE, Column, NAME, Printer};

pub(super) const POD: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready"),
        Column::text("Status"),
        Column::text("Restarts"),
        AGE,
        Column::wide("IP"),
        Column::wide("Node"),
        Column::wide("Nominated Node"),
        Column::wide("Readiness Gates"),
    ],
    row,
};

/// What the containers of a pod add up to.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += number(container, "/restartCount");
        let finished = cells::moment(container, "/lastState/terminated/finishedAt");
        self.last_restart = self.last_restart.max(finished);
    }

    fn restarts_text(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => {
                format!("{} ({} ago)", self.restarts, human_duration(seconds_since(last, now)))
            }
            _ => self.restarts.to_string(),
        }
    }
}

fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let address = list(pod, "/status/podIPs").first().map_or(NONE.into(), |ip| text_or(ip, "/ip", NONE));
    vec![
        cells::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        status(pod, &summary.reason).into(),
        summary.restarts_text(now).into(),
        cells::age(pod, now),
        address,
        text_or(pod, "/spec/nodeName", NONE),
        text_or(pod, "/status/nominatedNodeName", NONE),
        readiness_gates(pod).into(),
    ]
}

fn status(pod: &Value, reason: &str) -> String {
    let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if is_deleting(pod) && text(pod, "/status/reason") == "NodeLost" {
        "Unknown".to_owned()
    } else if is_deleting(pod) && !ended {
        "Terminating".to_owned()
    } else {
        reason.to_owned()
    }
}

fn summarize(pod: &Value) -> Summary {
    let restartable: Vec<&str> = list(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == "Always")
        .map(|container| text(container, "/name"))
        .collect();
    let mut reason = text(pod, "/status/reason");
    if reason.is_empty() {
        reason = text(pod, "/status/phase");
    }
    if cells::condition(pod, "PodScheduled").is_some_and(|c| text(c, "/reason") == "SchedulingGated") {
        reason = "SchedulingGated";
    }
    let mut summary = Summary {
        reason: reason.to_owned(),
        ready: 0,
        total: list(pod, "/spec/containers").len() + restartable.len(),
        restarts: 0,
        last_restart: None,
    };
    let mut sidecars = Summary { reason: String::new(), ready: 0, total: 0, restarts: 0, last_restart: None };
    let initializing = init_containers(pod, &restartable, &mut summary, &mut sidecars);
    if !initializing || is_true(pod, "Initialized") {
        summary.restarts = sidecars.restarts;
        summary.last_restart = sidecars.last_restart;
        containers(pod, &mut summary);
    }
    summary
}

/// Goes through the init containers up to the one that is not done; whether there is one.
fn init_containers(pod: &Value, restartable: &[&str], summary: &mut Summary, sidecars: &mut Summary) -> bool {
    for (i, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        summary.count_restarts(container);
        let keeps_running = restartable.contains(&text(container, "/name"));
        if keeps_running {
            sidecars.count_restarts(container);
        }
        let terminated = container.pointer("/state/terminated").filter(|state| !state.is_null());
        let waiting = text(container, "/state/waiting/reason");
        if terminated.is_some_and(|state| number(state, "/exitCode") == 0) {
            continue;
        }
        if keeps_running && flag(container, "/started") {
            summary.ready += usize::from(flag(container, "/ready"));
            continue;
        }
        summary.reason = match terminated {
            Some(state) => format!("Init:{}", termination(state)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{i}/{}", list(pod, "/spec/initContainers").len()),
        };
        return true;
    }
    false
}

fn containers(pod: &Value, summary: &mut Summary) {
    let (mut running, mut error) = (false, String::new());
    for container in list(pod, "/status/containerStatuses").iter().rev() {
        summary.count_restarts(container);
        let terminated = container.pointer("/state/terminated").filter(|state| !state.is_null());
        let waiting = text(container, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(state) = terminated {
            summary.reason = termination(state);
            if number(state, "/exitCode") != 0 {
                error.clone_from(&summary.reason);
            }
        } else if flag(container, "/ready") && container.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" {
        if running && is_true(pod, "Ready") {
            "Running".clone_into(&mut summary.reason);
        } else if !error.is_empty() {
            summary.reason = error;
        } else if running {
            "NotReady".clone_into(&mut summary.reason);
        }
    }
}

fn termination(state: &Value) -> String {
    let (reason, signal) = (text(state, "/reason"), number(state, "/signal"));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", number(state, "/exitCode"))
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(pod, text(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    fn check(pod: Value, expect: &str) {
        assert_eq!(printed("v1", "Pod", pod), expect);
    }

    #[test]
    fn running() {
        check(
            json!({"spec": {"containers": [{"name": "c"}], "nodeName": "n-0"},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}],
                    "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}}),
            "x|1/1|Running|0|5m|10.1.0.1|n-0|<none>|<none>",
        );
    }

    #[test]
    fn restarts_tell_when() {
        check(
            json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:04:30Z"}}}]}}),
            "x|0/1|CrashLoopBackOff|3 (30s ago)|5m|<none>|<none>|<none>|<none>",
        );
    }

    #[test]
    fn states() {
        fn status(spec: Value, status: Value, deleting: bool, expect: &str) {
            let mut pod = json!({"metadata": {}, "spec": spec, "status": status});
            if deleting {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:04:00Z");
            }
            let row = printed("v1", "Pod", pod);
            assert_eq!(row.split('|').nth(2), Some(expect), "{row}");
        }
        let one = json!({"containers": [{"name": "c"}]});
        let with = |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]});
        status(one.clone(), json!({"phase": "Pending"}), false, "Pending");
        status(one.clone(), json!({"phase": "Failed", "reason": "Evicted"}), false, "Evicted");
        status(one.clone(), json!({"phase": "Running"}), true, "Terminating");
        status(one.clone(), json!({"phase": "Running", "reason": "NodeLost"}), true, "Unknown");
        status(one.clone(), json!({"phase": "Succeeded"}), true, "Succeeded");
        status(one.clone(), with(json!({"terminated": {"exitCode": 2}})), false, "ExitCode:2");
        status(one.clone(), with(json!({"terminated": {"exitCode": 137, "signal": 9}})), false, "Signal:9");
        status(one.clone(), with(json!({"terminated": {"exitCode": 1, "reason": "Error"}})), false, "Error");
        status(one.clone(), with(json!({"waiting": {"reason": "ImagePullBackOff"}})), false, "ImagePullBackOff");
        let gated = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
        status(one, gated, false, "SchedulingGated");
        let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]});
        let at = |state: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": state}]})
        };
        status(init.clone(), at(json!({"running": {}})), false, "Init:1/2");
        status(init.clone(), at(json!({"terminated": {"exitCode": 1}})), false, "Init:ExitCode:1");
        status(init, at(json!({"waiting": {"reason": "CrashLoopBackOff"}})), false, "Init:CrashLoopBackOff");
        let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
        let half = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
            {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            {"name": "d", "ready": true, "state": {"running": {}}}]});
        status(two, half, false, "NotReady");
    }

    #[test]
    fn sidecars_count_as_containers() {
        check(
            json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}],
                    "readinessGates": [{"conditionType": "g"}]},
                "status": {"phase": "Running", "conditions": [{"type": "g", "status": "True"}],
                    "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
                    "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}}),
            "x|2/2|Running|0|5m|<none>|<none>|<none>|1/1",
        );
    }
}
