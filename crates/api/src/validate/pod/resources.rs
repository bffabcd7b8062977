//! Resources of containers and of pods: names, amounts, requests against limits.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::resources::container_totals;

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{dns1123_label, label_key};

const HUGE: &str = "hugepages-";
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && label_key(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be below limits.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE)
}

fn is_whole_number(name: &str) -> bool {
    WHOLE.contains(&name) || is_extended(name)
}

/// An amount of a resource: not negative, whole where the resource is counted.
pub(in super::super) fn resource_amount(name: &str, amount: &At<'_>, errors: &mut Errors) {
    let Some(quantity) = amount.quantity() else { return };
    if quantity.is_negative() {
        errors.push(amount.invalid_value(quantity.to_string(), "must be greater than or equal to 0"));
    }
    if is_whole_number(name) && quantity.milli() % 1000 != 0 {
        errors.push(amount.invalid_value(quantity.to_string(), "must be an integer"));
    }
}

pub(in super::super) fn container_name(name: &str, at: &At<'_>, errors: &mut Errors) {
    let sentences = label_key(name);
    let sound = sentences.is_empty();
    errors.extend(sentences.into_iter().map(|detail| at.invalid_value(name, detail)));
    if !name.contains('/') {
        if sound && !STANDARD.contains(&name) && !name.starts_with(HUGE) && !name.starts_with("requests.hugepages-") {
            errors.push(at.invalid_value(name, "must be a standard resource type or fully qualified"));
        }
        if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !name.starts_with(HUGE) {
            errors.push(at.invalid_value(name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(at.invalid_value(name, "doesn't follow extended resource name standard"));
    }
}

fn pod_name(name: &str, at: &At<'_>, errors: &mut Errors) {
    if !["cpu", "memory"].contains(&name) && !name.starts_with(HUGE) {
        errors.push(FieldError::not_supported(&at.path, name, &["cpu", HUGE, "memory"]));
    }
}

/// The resources of a container; `claims` are those of the pod.
pub(super) fn of_container(resources: &At<'_>, claims: &[&str], errors: &mut Errors) {
    requirements(resources, container_name, errors);
    let list = resources.child("claims");
    let mut seen = Vec::new();
    for claim in list.items() {
        let (name, request) = (claim.child("name").text(), claim.child("request"));
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        if !request.text().is_empty() {
            request.content(dns1123_label, errors);
        }
        if seen.contains(&(name, request.text())) || seen.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&claim.path, name));
        }
        seen.push((name, request.text()));
        if !claims.contains(&name) {
            let mut error = FieldError::not_found(&claim.path, name);
            let known =
                if claims.is_empty() { " which is empty".to_owned() } else { format!(": {}", claims.join(", ")) };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(error);
        }
    }
}

fn requirements(resources: &At<'_>, name_rule: fn(&str, &At<'_>, &mut Errors), errors: &mut Errors) {
    let (limits, requests) = (resources.child("limits"), resources.child("requests"));
    let (mut basic, mut huge) = (false, false);
    let mut one = |name: &str, amount: &At<'_>, errors: &mut Errors| {
        name_rule(name, amount, errors);
        resource_amount(name, amount, errors);
        basic |= matches!(name, "cpu" | "memory");
        if name.starts_with(HUGE) {
            huge = true;
            whole_pages(name, amount, errors);
        }
    };
    limits.entries().for_each(|(name, amount)| one(name, &amount, errors));
    for (name, amount) in requests.entries() {
        one(name, &amount, errors);
        let limit = limits.value().get(name).and_then(|limit| Quantity::from_json(limit).ok());
        match (amount.quantity(), limit) {
            (Some(asked), Some(limit)) => {
                let (free, shown) = (may_overcommit(name), asked.to_string());
                if !free && asked != limit {
                    errors.push(requests.invalid_value(shown, format!("must be equal to {name} limit of {limit}")));
                } else if asked > limit {
                    let detail = format!("must be less than or equal to {name} limit of {limit}");
                    errors.push(requests.invalid_value(shown, detail));
                }
            }
            (Some(_), None) if !may_overcommit(name) => {
                errors.push(limits.required("Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
    if huge && !basic {
        errors.push(resources.forbidden("HugePages require cpu or memory"));
    }
}

fn whole_pages(name: &str, amount: &At<'_>, errors: &mut Errors) {
    let page = name.strip_prefix(HUGE).and_then(|size| Quantity::parse(size).ok()).map_or(0, |size| size.units());
    if let Some(quantity) = amount.quantity()
        && (page <= 0 || quantity.units() % page != 0)
    {
        let detail = format!("{quantity} is not positive integer multiple of {name}");
        errors.push(amount.invalid_value(quantity.to_string(), detail));
    }
}

/// The resources of a pod as a whole: its containers fit in.
pub(super) fn of_pod(spec: &At<'_>, errors: &mut Errors) {
    let resources = spec.child("resources");
    if !resources.is_set() {
        return;
    }
    let claims = resources.child("claims");
    if claims.is_set() {
        errors.push(claims.forbidden("claims may not be set for Resources at pod-level"));
    }
    requirements(&resources, pod_name, errors);
    let requests = resources.child("requests");
    for (name, sum) in container_totals(spec.value(), "requests") {
        let own = At::new(requests.value().get(&name), requests.path.key(&name));
        if let Some(amount) = own.quantity().filter(|amount| sum > *amount) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(own.invalid_value(amount.to_string(), detail));
        }
    }
    let limits = resources.child("limits");
    for (i, container) in spec.child("containers").items().enumerate() {
        for (name, limit) in container.child("resources").child("limits").entries() {
            let whole = limits.value().get(name).map_or(&Value::Null, |whole| whole);
            let (Some(limit), Ok(whole)) = (limit.quantity(), Quantity::from_json(whole)) else { continue };
            if limit > whole {
                let path = resources.path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {whole}");
                errors.push(FieldError::invalid(&path, limit.to_string(), detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check as check_pod, check_container};
    use serde_json::{Value, json};

    fn check(resources: Value, expect: &[&str]) {
        let expect: Vec<String> = expect.iter().map(|text| format!("spec.containers[0].resources{text}")).collect();
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        check_container(json!({"resources": resources}), &expect);
    }

    #[test]
    fn containers() {
        check(json!({"limits": {"cpu": "1", "example.com/gpu": "1"}}), &[]);
        check(
            json!({"limits": {"memory": "100Mi"}, "requests": {"memory": "200Mi"}}),
            &[".requests: Invalid value: \"200Mi\": must be less than or equal to memory limit of 100Mi"],
        );
        check(
            json!({"limits": {"cpu": "-1"}}),
            &[
                ".limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                ".requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        );
        check(
            json!({"limits": {"disk": "1"}, "requests": {"disk": "1"}}),
            &[
                ".limits[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                ".limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
                ".requests[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                ".requests[disk]: Invalid value: \"disk\": must be a standard resource for containers",
            ],
        );
        check(
            json!({"limits": {"example.com/gpu": "500m"}}),
            &[
                ".limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
                ".requests[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            ],
        );
        check(
            json!({"requests": {"example.com/gpu": "1"}}),
            &[".limits: Required value: Limit must be set for non overcommitable resources"],
        );
        check(json!({"limits": {"hugepages-2Mi": "2Mi"}}), &[": Forbidden: HugePages require cpu or memory"]);
        check(
            json!({"claims": [{"name": "x"}]}),
            &[".claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty"],
        );
    }

    #[test]
    fn pods() {
        check_pod(
            json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}},
                "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}}]}),
            &[
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container \
               requests of 2",
                "spec.resources.containers[0][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of \
                 1",
            ],
        );
    }
}
