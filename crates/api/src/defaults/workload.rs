//! Defaults of the kinds that run pods from a template.

use serde_json::{Value, json};

use super::fill::{is_empty, items, object, set, set_absent, text};
use super::{pod, volume};

/// Revisions kept for going back.
const REVISION_HISTORY: i64 = 10;

pub(super) fn daemon_set(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    if let Some(strategy) = object(spec, "updateStrategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            set_absent(rolling, "maxUnavailable", 1);
            set_absent(rolling, "maxSurge", 0);
        }
    }
    set_absent(spec, "revisionHistoryLimit", REVISION_HISTORY);
    pod::template(spec.get_mut("template"));
}

pub(super) fn replica_set(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set_absent(spec, "replicas", 1);
    pod::template(spec.get_mut("template"));
}

pub(super) fn replication_controller(obj: &mut Value) {
    let labels = obj.pointer("/spec/template/metadata/labels").cloned().filter(|labels| !labels.is_null());
    if let Some(labels) = labels {
        if let Some(spec) = object(obj, "spec")
            && is_empty(spec, "selector")
        {
            spec["selector"] = labels.clone();
        }
        labels_from_template(obj, labels);
    }
    replica_set(obj);
}

pub(super) fn deployment(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set_absent(spec, "replicas", 1);
    if let Some(strategy) = object(spec, "strategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            set_absent(rolling, "maxUnavailable", "25%");
            set_absent(rolling, "maxSurge", "25%");
        }
    }
    set_absent(spec, "revisionHistoryLimit", REVISION_HISTORY);
    set_absent(spec, "progressDeadlineSeconds", 600);
    pod::template(spec.get_mut("template"));
}

pub(super) fn stateful_set(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = object(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            set(strategy, "type", "RollingUpdate");
            set_absent(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = strategy.get_mut("rollingUpdate")
        {
            set_absent(rolling, "partition", 0);
        }
    }
    if let Some(retention) = object(spec, "persistentVolumeClaimRetentionPolicy") {
        set(retention, "whenDeleted", "Retain");
        set(retention, "whenScaled", "Retain");
    }
    set_absent(spec, "replicas", 1);
    set_absent(spec, "revisionHistoryLimit", REVISION_HISTORY);
    pod::template(spec.get_mut("template"));
    for claim in items(spec, "volumeClaimTemplates") {
        if let Some(status) = object(claim, "status") {
            set(status, "phase", "Pending");
        }
        if let Some(spec) = claim.get_mut("spec") {
            volume::claim_spec(spec);
        }
    }
}

pub(super) fn job(obj: &mut Value) {
    if let Some(labels) = obj.pointer("/spec/template/metadata/labels").cloned().filter(|labels| !labels.is_null()) {
        labels_from_template(obj, labels);
    }
    if let Some(spec) = object(obj, "spec") {
        job_spec(spec);
        if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
            set_absent(spec, "completions", 1);
        }
        set_absent(spec, "parallelism", 1);
        let backoff = if spec.get("backoffLimitPerIndex").is_some() { i64::from(i32::MAX) } else { 6 };
        set_absent(spec, "backoffLimit", backoff);
        set_absent(spec, "completionMode", "NonIndexed");
        set_absent(spec, "suspend", false);
        let replacement = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
        set_absent(spec, "podReplacementPolicy", replacement);
        set_absent(spec, "manualSelector", false);
    }
}

pub(super) fn cron_job(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set(spec, "concurrencyPolicy", "Allow");
    set_absent(spec, "suspend", false);
    set_absent(spec, "successfulJobsHistoryLimit", 3);
    set_absent(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = spec.pointer_mut("/jobTemplate/spec") {
        job_spec(job);
    }
}

/// What a Job and the template of a CronJob share.
fn job_spec(spec: &mut Value) {
    pod::template(spec.get_mut("template"));
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items(policy, "rules") {
            items(rule, "onPodConditions").for_each(|pattern| set(pattern, "status", "True"));
        }
    }
}

fn labels_from_template(obj: &mut Value, labels: Value) {
    if let Some(metadata) = object(obj, "metadata")
        && is_empty(metadata, "labels")
    {
        metadata["labels"] = labels;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_sets() {
        fn check(spec: Value, expect: Value) {
            let mut obj = json!({"spec": spec});
            daemon_set(&mut obj);
            assert_eq!(obj["spec"], expect);
        }
        check(
            json!({}),
            json!({"revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}),
        );
        check(
            json!({"revisionHistoryLimit": 0, "updateStrategy": {"rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}}),
            json!({"revisionHistoryLimit": 0, "updateStrategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "10%"}}}),
        );
        check(
            json!({"updateStrategy": {"type": "OnDelete"}}),
            json!({"revisionHistoryLimit": 10, "updateStrategy": {"type": "OnDelete"}}),
        );
    }

    #[test]
    fn jobs_and_others() {
        let mut obj = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}});
        job(&mut obj);
        assert_eq!(obj["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(obj["spec"]["completions"], 1);
        assert_eq!(obj["spec"]["backoffLimit"], 6);
        let mut obj = json!({"spec": {"parallelism": 3, "template": {}}});
        job(&mut obj);
        assert_eq!(obj["spec"].get("completions"), None);
        let mut obj = json!({"spec": {}});
        deployment(&mut obj);
        assert_eq!(obj["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": "25%"}));
        let mut obj = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        stateful_set(&mut obj);
        assert_eq!(obj["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    }
}
