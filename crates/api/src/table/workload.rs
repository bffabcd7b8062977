//! The kinds that run pods.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, UNSET, integer, is_deleting, is_true, length, number, text, text_or};
use super::duration::{human_duration, seconds_since};
use super::{AGE, CONTAINERS, Column, IMAGES, NAME, Printer, SELECTOR};

const TEMPLATE_CONTAINERS: &str = "/spec/template/spec/containers";

fn with_template(mut row: Vec<Value>, obj: &Value) -> Vec<Value> {
    row.extend(cells::containers(obj, TEMPLATE_CONTAINERS));
    row.push(cells::selector(obj, "/spec/selector"));
    row
}

pub(super) const DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        Column::integer("Desired"),
        Column::integer("Current"),
        Column::integer("Ready"),
        Column::integer("Up-to-date"),
        Column::integer("Available"),
        Column::text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: |set, now| {
        let row = vec![
            cells::name(set),
            integer(set, "/status/desiredNumberScheduled"),
            integer(set, "/status/currentNumberScheduled"),
            integer(set, "/status/numberReady"),
            integer(set, "/status/updatedNumberScheduled"),
            integer(set, "/status/numberAvailable"),
            cells::labels(set, "/spec/template/spec/nodeSelector"),
            cells::age(set, now),
        ];
        with_template(row, set)
    },
};

const REPLICAS: &[Column] = &[
    NAME,
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn replicas(obj: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        cells::name(obj),
        integer(obj, "/spec/replicas"),
        integer(obj, "/status/replicas"),
        integer(obj, "/status/readyReplicas"),
        cells::age(obj, now),
    ]
}

pub(super) const REPLICA_SET: Printer =
    Printer { columns: REPLICAS, row: |set, now| with_template(replicas(set, now), set) };

pub(super) const REPLICATION_CONTROLLER: Printer = Printer {
    columns: REPLICAS,
    row: |controller, now| {
        let mut row = replicas(controller, now);
        row.extend(cells::containers(controller, TEMPLATE_CONTAINERS));
        row.push(cells::labels(controller, "/spec/selector"));
        row
    },
};

fn ready_of_desired(obj: &Value) -> Value {
    format!("{}/{}", number(obj, "/status/readyReplicas"), number(obj, "/spec/replicas")).into()
}

pub(super) const DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready"),
        Column::text("Up-to-date"),
        Column::text("Available"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: |deployment, now| {
        let row = vec![
            cells::name(deployment),
            ready_of_desired(deployment),
            integer(deployment, "/status/updatedReplicas"),
            integer(deployment, "/status/availableReplicas"),
            cells::age(deployment, now),
        ];
        with_template(row, deployment)
    },
};

pub(super) const STATEFUL_SET: Printer = Printer {
    columns: &[NAME, Column::text("Ready"), AGE, CONTAINERS, IMAGES],
    row: |set, now| {
        let mut row = vec![cells::name(set), ready_of_desired(set), cells::age(set, now)];
        row.extend(cells::containers(set, TEMPLATE_CONTAINERS));
        row
    },
};

pub(super) const CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, Column::text("Controller"), Column::text("Revision"), AGE],
    row: |revision, now| {
        let owners = cells::list(revision, "/metadata/ownerReferences");
        let owner = owners.iter().find(|owner| cells::flag(owner, "/controller"));
        let controller = owner.map_or_else(
            || NONE.to_owned(),
            |owner| {
                let group = text(owner, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
                let kind = crate::status::qualified(group, text(owner, "/kind")).to_lowercase();
                format!("{kind}/{}", text(owner, "/name"))
            },
        );
        vec![cells::name(revision), controller.into(), integer(revision, "/revision"), cells::age(revision, now)]
    },
};

pub(super) const POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, Column::text("Containers"), Column::text("Images"), Column::text("Pod Labels")],
    row: |template, _| {
        let [names, images] = cells::containers(template, "/template/spec/containers");
        vec![cells::name(template), names, images, cells::labels(template, "/template/metadata/labels")]
    },
};

pub(super) const JOB: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status"),
        Column::text("Completions"),
        Column::text("Duration"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: |job, now| {
        let row = vec![
            cells::name(job),
            job_status(job).into(),
            job_completions(job).into(),
            job_duration(job, now).into(),
            cells::age(job, now),
        ];
        with_template(row, job)
    },
};

fn job_status(job: &Value) -> &'static str {
    if is_true(job, "Complete") {
        "Complete"
    } else if is_true(job, "Failed") {
        "Failed"
    } else if is_deleting(job) {
        "Terminating"
    } else {
        let later = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        later.into_iter().find(|kind| is_true(job, kind)).unwrap_or("Running")
    }
}

fn job_completions(job: &Value) -> String {
    let succeeded = number(job, "/status/succeeded");
    let parallelism = number(job, "/spec/parallelism");
    match job.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let Some(start) = cells::moment(job, "/status/startTime") else { return String::new() };
    let end = cells::moment(job, "/status/completionTime").unwrap_or(now);
    human_duration(seconds_since(start, end))
}

pub(super) const CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Schedule"),
        Column::text("Timezone"),
        Column::boolean("Suspend"),
        Column::integer("Active"),
        Column::text("Last Schedule"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: |job, now| {
        let suspend = match job.pointer("/spec/suspend").and_then(Value::as_bool) {
            Some(true) => "True",
            Some(false) => "False",
            None => UNSET,
        };
        let last = match text(job, "/status/lastScheduleTime") {
            "" => NONE.to_owned(),
            _ => cells::since(job, "/status/lastScheduleTime", now),
        };
        let mut row = vec![
            cells::name(job),
            cells::cell(job, "/spec/schedule"),
            text_or(job, "/spec/timeZone", NONE),
            suspend.into(),
            length(job, "/status/active").into(),
            last.into(),
            cells::age(job, now),
        ];
        row.extend(cells::containers(job, "/spec/jobTemplate/spec/template/spec/containers"));
        row.push(cells::selector(job, "/spec/jobTemplate/spec/selector"));
        row
    },
};

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        fn check(api_version: &str, kind: &str, obj: Value, expect: &str) {
            assert_eq!(printed(api_version, kind, obj), expect);
        }
        let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}],
            "nodeSelector": {"ssd": "true"}}});
        let selector = json!({"matchLabels": {"app": "x"}});
        check(
            "apps/v1",
            "DaemonSet",
            json!({"spec": {"template": template, "selector": selector}, "status": {"desiredNumberScheduled": 5,
                "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2, "numberAvailable": 1}}),
            "x|5|4|3|2|1|ssd=true|5m|a,b|i:1,j:2|app=x",
        );
        check("apps/v1", "DaemonSet", json!({}), "x|0|0|0|0|0|<none>|5m||<none>".replace("||", "|||").as_str());
        check(
            "apps/v1",
            "ReplicaSet",
            json!({"spec": {"replicas": 3, "template": template, "selector": selector},
                "status": {"replicas": 2, "readyReplicas": 1}}),
            "x|3|2|1|5m|a,b|i:1,j:2|app=x",
        );
        check(
            "apps/v1",
            "ControllerRevision",
            json!({"revision": 2, "metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}}),
            "x|daemonset.apps/d|2|5m",
        );
        check(
            "apps/v1",
            "Deployment",
            json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
            "x|1/3|2|0|5m|||<none>",
        );
        check(
            "batch/v1",
            "Job",
            json!({"spec": {"completions": 2}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:04:00Z"}}),
            "x|Running|1/2|60s|5m|||<none>",
        );
        check(
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "* * * * *", "suspend": false}}),
            "x|* * * * *|<none>|False|0|<none>|5m|||<none>",
        );
    }
}
