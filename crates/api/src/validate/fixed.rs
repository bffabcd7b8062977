//! Fields that stay as they were made, of kinds that have few other rules here.

use serde_json::Value;

use super::at::{At, Errors};

/// Fields by group and kind.
const FIXED: [(&str, &str, &[&str]); 9] = [
    ("networking.k8s.io", "IPAddress", &["spec.parentRef"]),
    ("networking.k8s.io", "IngressClass", &["spec.controller"]),
    ("node.k8s.io", "RuntimeClass", &["handler"]),
    ("resource.k8s.io", "ResourceClaim", &["spec"]),
    ("resource.k8s.io", "ResourceClaimTemplate", &["spec"]),
    ("storage.k8s.io", "VolumeAttachment", &["spec"]),
    ("storage.k8s.io", "CSIStorageCapacity", &["nodeTopology", "storageClassName"]),
    ("storage.k8s.io", "CSIDriver", &["spec.attachRequired", "spec.volumeLifecycleModes"]),
    ("discovery.k8s.io", "EndpointSlice", &["addressType"]),
];

/// What may not change.
pub(super) fn update(group: &str, kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    for (_, _, fields) in FIXED.iter().filter(|(of, name, _)| (*of, *name) == (group, kind)) {
        for field in *fields {
            at(new, field).immutable(&at(old, field), errors);
        }
    }
    match (group, kind) {
        ("networking.k8s.io", "ServiceCIDR") => cidrs(new, old, errors),
        ("storage.k8s.io", "VolumeAttributesClass") => {
            for field in ["driverName", "parameters"] {
                let now = At::root(new, field);
                if !now.same(&At::root(old, field)) {
                    errors.push(now.forbidden(format!("updates to {field} are forbidden.")));
                }
            }
        }
        _ => {}
    }
}

fn at<'a>(obj: &'a Value, field: &str) -> At<'a> {
    match field.split_once('.') {
        Some((first, rest)) => At::root(obj, first).child(rest),
        None => At::root(obj, field),
    }
}

/// A range of Services may get a second family.
fn cidrs(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, then) = (at(new, "spec.cidrs"), at(old, "spec.cidrs"));
    if now.len() != then.len() && (then.len(), now.len()) != (1, 2) {
        errors.push(now.invalid("field is immutable"));
        return;
    }
    for (now, _) in now.items().zip(then.items()).filter(|(now, then)| !now.same(then)) {
        errors.push(now.invalid("field is immutable"));
    }
}

pub(super) fn ip_address(obj: &Value, errors: &mut Errors) {
    let name = At::root(obj, "metadata").child("name");
    let canonical = name.text().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_string() == name.text());
    if !canonical {
        errors.push(name.invalid("must be a valid IP address in canonical form"));
    }
    let parent = at(obj, "spec.parentRef");
    if !parent.is_set() {
        errors.push(parent.required(""));
        return;
    }
    for field in ["resource", "name"].map(|field| parent.child(field)) {
        if field.text().is_empty() {
            errors.push(field.required(""));
        }
    }
}

pub(super) fn service_cidr(obj: &Value, errors: &mut Errors) {
    let cidrs = at(obj, "spec.cidrs");
    if cidrs.is_empty() {
        errors.push(cidrs.required("at least one CIDR required"));
    } else if cidrs.len() > 2 {
        errors.push(cidrs.invalid("may only hold up to 2 values"));
    }
    cidrs.items().for_each(|cidr| cidr.cidr(errors));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use serde_json::{Value, json};

    #[test]
    fn what_stays() {
        fn check(api_version: &str, kind: &str, new: Value, old: Value, expect: &[&str]) {
            let named = |mut obj: Value| {
                obj["metadata"] = json!({"name": "x"});
                obj
            };
            assert_eq!(update_errors(api_version, kind, named(new), named(old)), expect, "{kind}");
        }
        check(
            "node.k8s.io/v1",
            "RuntimeClass",
            json!({"handler": "a"}),
            json!({"handler": "b"}),
            &["handler: Invalid value: \"a\": field is immutable"],
        );
        let range = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
        check(
            "networking.k8s.io/v1",
            "ServiceCIDR",
            range(&["10.0.0.0/24", "fd00::/112"]),
            range(&["10.0.0.0/24"]),
            &[],
        );
        check(
            "networking.k8s.io/v1",
            "ServiceCIDR",
            range(&["10.0.1.0/24"]),
            range(&["10.0.0.0/24"]),
            &["spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable"],
        );
        check(
            "storage.k8s.io/v1",
            "VolumeAttributesClass",
            json!({"driverName": "a", "parameters": {"b": "c"}}),
            json!({"driverName": "a", "parameters": {"b": "d"}}),
            &["parameters: Forbidden: updates to parameters are forbidden."],
        );
    }

    #[test]
    fn addresses_and_ranges() {
        let address = json!({"metadata": {"name": "10.0.0.01"}, "spec": {"parentRef": {"resource": "services"}}});
        assert_eq!(
            create_errors("networking.k8s.io/v1", "IPAddress", address),
            [
                "metadata.name: Invalid value: \"10.0.0.01\": must be a valid IP address in canonical form",
                "spec.parentRef.name: Required value",
            ]
        );
        let range = json!({"metadata": {"name": "x"}, "spec": {"cidrs": []}});
        assert_eq!(
            create_errors("networking.k8s.io/v1", "ServiceCIDR", range),
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
    }
}
