//! Kinds that came later: admission policies, ranges and addresses of Services, devices.

use serde_json::Value;

use super::cells::{self, UNSET, length, list, text};
use super::{AGE, Column, NAME, Printer};

/// Kinds of which there is no more to say than that they are there.
pub(super) const NAMED: Printer =
    Printer { columns: &[NAME, AGE], row: |obj, now| vec![cells::name(obj), cells::age(obj, now)] };

pub(super) const VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, Column::integer("Validations"), Column::text("ParamKind"), AGE],
    row: |policy, now| {
        vec![
            cells::name(policy),
            length(policy, "/spec/validations").into(),
            param_kind(policy),
            cells::age(policy, now),
        ]
    },
};

pub(super) const MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, Column::integer("Mutations"), Column::text("ParamKind"), AGE],
    row: |policy, now| {
        vec![cells::name(policy), length(policy, "/spec/mutations").into(), param_kind(policy), cells::age(policy, now)]
    },
};

fn param_kind(policy: &Value) -> Value {
    match policy.pointer("/spec/paramKind") {
        Some(kind) => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")).into(),
        None => UNSET.into(),
    }
}

pub(super) const POLICY_BINDING: Printer = Printer {
    columns: &[NAME, Column::text("PolicyName"), Column::text("ParamRef"), AGE],
    row: |binding, now| {
        let (namespace, name) = (text(binding, "/spec/paramRef/namespace"), text(binding, "/spec/paramRef/name"));
        let parameter = match (namespace, name) {
            (_, "") => UNSET.to_owned(),
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![cells::name(binding), cells::cell(binding, "/spec/policyName"), parameter.into(), cells::age(binding, now)]
    },
};

pub(super) const IP_ADDRESS: Printer = Printer {
    columns: &[NAME, Column::text("ParentRef"), AGE],
    row: |address, now| {
        let of = |field: &str| text(address, &format!("/spec/parentRef/{field}"));
        let mut parent = of("resource").to_lowercase();
        for (mark, part) in [(".", of("group")), ("/", of("namespace"))] {
            if !part.is_empty() {
                parent.push_str(mark);
                parent.push_str(part);
            }
        }
        let parent = if parent.is_empty() { cells::NONE.to_owned() } else { format!("{parent}/{}", of("name")) };
        vec![cells::name(address), parent.into(), cells::age(address, now)]
    },
};

pub(super) const SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, Column::text("CIDRs"), AGE],
    row: |range, now| {
        let all: Vec<&str> = list(range, "/spec/cidrs").iter().filter_map(Value::as_str).collect();
        vec![cells::name(range), all.join(",").into(), cells::age(range, now)]
    },
};

pub(super) const RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, Column::text("State"), AGE],
    row: |claim, now| {
        let deleted = !text(claim, "/metadata/deletionTimestamp").is_empty();
        let allocated = claim.pointer("/status/allocation").is_some_and(Value::is_object);
        let reserved = allocated && !list(claim, "/status/reservedFor").is_empty();
        let states = [
            ("deleted", deleted),
            ("pending", !allocated && !deleted),
            ("allocated", allocated),
            ("reserved", reserved),
        ];
        let states: Vec<&str> = states.into_iter().filter(|(_, is)| *is).map(|(state, _)| state).collect();
        vec![cells::name(claim), states.join(",").into(), cells::age(claim, now)]
    },
};

pub(super) const RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, Column::text("Node"), Column::text("Driver"), Column::text("Pool"), AGE],
    row: |slice, now| {
        let cell = |path| cells::cell(slice, path);
        let (node, driver, pool) = (cell("/spec/nodeName"), cell("/spec/driver"), cell("/spec/pool/name"));
        vec![cells::name(slice), node, driver, pool, cells::age(slice, now)]
    },
};

pub(super) const VOLUME_ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("DriverName"), AGE],
    row: |class, now| vec![cells::name(class), cells::cell(class, "/driverName"), cells::age(class, now)],
};

pub(super) const COMPONENT_STATUS: Printer = Printer {
    columns: &[NAME, Column::text("Status"), Column::text("Message"), Column::text("Error")],
    row: |status, _| {
        let cell = |path| cells::cell(status, path);
        vec![cells::name(status), "Unknown".into(), cell("/conditions/0/message"), cell("/conditions/0/error")]
    },
};

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::json;

    #[test]
    fn rows() {
        let policies = "admissionregistration.k8s.io/v1";
        for (api_version, kind, obj, expect) in [
            (policies, "ValidatingAdmissionPolicy", json!({"spec": {"validations": [1, 2]}}), "x|2|<unset>|5m"),
            (
                policies,
                "MutatingAdmissionPolicyBinding",
                json!({"spec": {"policyName": "p", "paramRef": {"name": "n"}}}),
                "x|p|*/n|5m",
            ),
            (
                "networking.k8s.io/v1",
                "IPAddress",
                json!({"spec": {"parentRef": {"resource": "services", "namespace": "a", "name": "b"}}}),
                "x|services/a/b|5m",
            ),
            ("networking.k8s.io/v1", "ServiceCIDR", json!({"spec": {"cidrs": ["a", "b"]}}), "x|a,b|5m"),
            ("resource.k8s.io/v1", "ResourceClaim", json!({"status": {"allocation": {}}}), "x|allocated|5m"),
            ("resource.k8s.io/v1", "DeviceClass", json!({}), "x|5m"),
        ] {
            assert_eq!(printed(api_version, kind, obj), expect, "{kind}");
        }
    }
}
