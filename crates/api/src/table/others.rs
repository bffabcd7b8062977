//! Kinds outside of core, apps and the network.

use serde_json::Value;

use super::cells::{self, NONE, UNSET, cell, flag, integer, length, list, number, shown, text, text_or};
use super::duration::human_duration;
use super::{AGE, Column, NAME, Printer};

pub(super) const POD_DISRUPTION_BUDGET: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Min Available"),
        Column::text("Max Unavailable"),
        Column::integer("Allowed Disruptions"),
        AGE,
    ],
    row: |budget, now| {
        let bound = |path: &str| shown(budget, path).unwrap_or_else(|| "N/A".to_owned()).into();
        vec![
            cells::name(budget),
            bound("/spec/minAvailable"),
            bound("/spec/maxUnavailable"),
            integer(budget, "/status/disruptionsAllowed"),
            cells::age(budget, now),
        ]
    },
};

pub(super) const ROLE_BINDING: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Role"),
        AGE,
        Column::wide("Users"),
        Column::wide("Groups"),
        Column::wide("ServiceAccounts"),
    ],
    row: |binding, now| {
        let subjects = |kind: &str| -> Value {
            let named = list(binding, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
            let name = |subject: &Value| match kind {
                "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
                _ => text(subject, "/name").to_owned(),
            };
            named.map(name).collect::<Vec<_>>().join(", ").into()
        };
        vec![
            cells::name(binding),
            format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name")).into(),
            cells::age(binding, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};

pub(super) const CERTIFICATE_SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName"),
        Column::text("Requestor"),
        Column::text("RequestedDuration"),
        Column::text("Condition"),
    ],
    row: |request, now| {
        let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        let has = |kind: &str| cells::condition(request, kind).is_some();
        let decided = if has("Denied") {
            "Denied"
        } else if has("Approved") {
            "Approved"
        } else {
            "Pending"
        };
        let failed = if has("Failed") { ",Failed" } else { "" };
        let issued = if text(request, "/status/certificate").is_empty() { "" } else { ",Issued" };
        vec![
            cells::name(request),
            cells::age(request, now),
            text_or(request, "/spec/signerName", NONE),
            cell(request, "/spec/username"),
            seconds.map_or_else(|| NONE.to_owned(), human_duration).into(),
            format!("{decided}{failed}{issued}").into(),
        ]
    },
};

pub(super) const LEASE: Printer = Printer {
    columns: &[NAME, Column::text("Holder"), AGE],
    row: |lease, now| vec![cells::name(lease), cell(lease, "/spec/holderIdentity"), cells::age(lease, now)],
};

pub(super) const STORAGE_CLASS: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Provisioner"),
        Column::text("ReclaimPolicy"),
        Column::text("VolumeBindingMode"),
        Column::text("AllowVolumeExpansion"),
        AGE,
    ],
    row: |class, now| {
        let marked = |key: &str| text(class, &format!("/metadata/annotations/{key}")) == "true";
        let default = marked("storageclass.kubernetes.io~1is-default-class")
            || marked("storageclass.beta.kubernetes.io~1is-default-class");
        let name = format!("{}{}", text(class, "/metadata/name"), if default { " (default)" } else { "" });
        vec![
            name.into(),
            cell(class, "/provisioner"),
            text_or(class, "/reclaimPolicy", "Delete"),
            text_or(class, "/volumeBindingMode", "Immediate"),
            flag(class, "/allowVolumeExpansion").into(),
            cells::age(class, now),
        ]
    },
};

pub(super) const CSI_DRIVER: Printer = Printer {
    columns: &[
        NAME,
        Column::boolean("AttachRequired"),
        Column::boolean("PodInfoOnMount"),
        Column::boolean("StorageCapacity"),
        Column::text("TokenRequests"),
        Column::boolean("RequiresRepublish"),
        Column::text("Modes"),
        AGE,
    ],
    row: |driver, now| {
        let attach = driver.pointer("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true);
        let audiences: Vec<&str> = list(driver, "/spec/tokenRequests").iter().map(|t| text(t, "/audience")).collect();
        let tokens = if audiences.is_empty() { UNSET.to_owned() } else { audiences.join(",") };
        let modes: Vec<&str> = list(driver, "/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
        vec![
            cells::name(driver),
            attach.into(),
            flag(driver, "/spec/podInfoOnMount").into(),
            flag(driver, "/spec/storageCapacity").into(),
            tokens.into(),
            flag(driver, "/spec/requiresRepublish").into(),
            if modes.is_empty() { NONE.to_owned() } else { modes.join(",") }.into(),
            cells::age(driver, now),
        ]
    },
};

pub(super) const CSI_NODE: Printer = Printer {
    columns: &[NAME, Column::integer("Drivers"), AGE],
    row: |node, now| vec![cells::name(node), length(node, "/spec/drivers").into(), cells::age(node, now)],
};

pub(super) const VOLUME_ATTACHMENT: Printer = Printer {
    columns: &[
        NAME,
        Column { format: "name", ..Column::text("Attacher") },
        Column::text("PV"),
        Column::text("Node"),
        Column::boolean("Attached"),
        AGE,
    ],
    row: |attachment, now| {
        vec![
            cells::name(attachment),
            cell(attachment, "/spec/attacher"),
            cell(attachment, "/spec/source/persistentVolumeName"),
            cell(attachment, "/spec/nodeName"),
            flag(attachment, "/status/attached").into(),
            cells::age(attachment, now),
        ]
    },
};

pub(super) const PRIORITY_CLASS: Printer = Printer {
    columns: &[
        NAME,
        Column::integer("Value"),
        Column::boolean("Global-Default"),
        AGE,
        Column::text("PreemptionPolicy"),
    ],
    row: |class, now| {
        vec![
            cells::name(class),
            integer(class, "/value"),
            flag(class, "/globalDefault").into(),
            cells::age(class, now),
            cell(class, "/preemptionPolicy"),
        ]
    },
};

pub(super) const RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("Handler"), AGE],
    row: |class, now| vec![cells::name(class), cell(class, "/handler"), cells::age(class, now)],
};

pub(super) const WEBHOOKS: Printer = Printer {
    columns: &[NAME, Column::integer("Webhooks"), AGE],
    row: |config, now| vec![cells::name(config), length(config, "/webhooks").into(), cells::age(config, now)],
};

pub(super) const FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        Column::text("PriorityLevel"),
        Column::text("MatchingPrecedence"),
        Column::text("DistinguisherMethod"),
        AGE,
        Column::text("MissingPL"),
    ],
    row: |schema, now| {
        let dangling = cells::condition(schema, "Dangling").map_or("?", |condition| text(condition, "/status"));
        vec![
            cells::name(schema),
            cell(schema, "/spec/priorityLevelConfiguration/name"),
            number(schema, "/spec/matchingPrecedence").into(),
            text_or(schema, "/spec/distinguisherMethod/type", NONE),
            cells::age(schema, now),
            dangling.into(),
        ]
    },
};

pub(super) const PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type"),
        Column::text("NominalConcurrencyShares"),
        Column::text("Queues"),
        Column::text("HandSize"),
        Column::text("QueueLengthLimit"),
        AGE,
    ],
    row: |level, now| {
        let limit = |path: &str| {
            let number = level.pointer("/spec/limited").and_then(|limited| limited.pointer(path));
            number.cloned().unwrap_or_else(|| NONE.into())
        };
        vec![
            cells::name(level),
            cell(level, "/spec/type"),
            limit("/nominalConcurrencyShares"),
            limit("/limitResponse/queuing/queues"),
            limit("/limitResponse/queuing/handSize"),
            limit("/limitResponse/queuing/queueLengthLimit"),
            cells::age(level, now),
        ]
    },
};

pub(super) const API_SERVICE: Printer = Printer {
    columns: &[NAME, Column::text("Service"), Column::text("Available"), AGE],
    row: |service, now| {
        let behind = match service.pointer("/spec/service") {
            Some(of) if of.is_object() => format!("{}/{}", text(of, "/namespace"), text(of, "/name")),
            _ => "Local".to_owned(),
        };
        let available = match cells::condition(service, "Available") {
            Some(condition) if text(condition, "/status") == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", text(condition, "/status"), text(condition, "/reason")),
            None => "Unknown".to_owned(),
        };
        vec![cells::name(service), behind.into(), available.into(), cells::age(service, now)]
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
        check(
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"maxUnavailable": "10%"}, "status": {"disruptionsAllowed": 1}}),
            "x|N/A|10%|1|5m",
        );
        check(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "u"},
                {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            "x|ClusterRole/r|5m|u, v||n/s",
        );
        check(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            json!({"spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
                "status": {"certificate": "c", "conditions": [{"type": "Approved", "status": "True"}]}}),
            "x|5m|s|u|60m|Approved,Issued",
        );
        check("coordination.k8s.io/v1", "Lease", json!({"spec": {"holderIdentity": "h"}}), "x|h|5m");
        check(
            "storage.k8s.io/v1",
            "StorageClass",
            json!({"provisioner": "p", "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
            "x (default)|p|Delete|Immediate|false|5m",
        );
        check(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({"value": 5, "preemptionPolicy": "Never"}),
            "x|5|false|5m|Never",
        );
        check(
            "apiregistration.k8s.io/v1",
            "APIService",
            json!({"status": {"conditions": [{"type": "Available", "status": "False", "reason": "R"}]}}),
            "x|Local|False (R)|5m",
        );
        check(
            "flowcontrol.apiserver.k8s.io/v1",
            "PriorityLevelConfiguration",
            json!({"spec": {"type": "Exempt"}}),
            "x|Exempt|<none>|<none>|<none>|<none>|5m",
        );
    }
}
