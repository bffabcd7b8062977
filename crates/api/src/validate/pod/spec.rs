//! The spec of a pod or of a template, field by field.

use super::super::at::{At, Errors};
use super::super::content::{Rule, dns1123_label, dns1123_subdomain, label_key, range_error};
use super::super::{FieldError, metadata};
use super::container::{self, Pod};
use super::{affinity, mounts, resources, scheduling, security, volume};

/// Limits of the resolver of the C library.
const NAME_SERVERS_MAX: usize = 3;
const SEARCH_PATHS_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;
/// Longest host name that Linux takes.
const HOST_NAME_MAX: usize = 64;

/// Rules of a spec; `is_pod` tells a pod from a template.
pub(super) fn rules(spec: &At<'_>, is_pod: bool, errors: &mut Errors) {
    let grace = spec.child("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.push(grace.required(""));
    }
    let volumes = volume::all(&spec.child("volumes"), errors);
    let pod = Pod::of(spec, volumes);
    container::regular(&pod, spec, errors);
    container::init(&pod, spec, errors);
    container::ephemeral(&pod, spec, errors);
    resources::of_pod(spec, errors);
    host_network_ports(spec, is_pod, errors);
    spec.child("restartPolicy").one_of(&["Always", "OnFailure", "Never"], errors);
    spec.child("dnsPolicy").one_of(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], errors);
    metadata::labels(&spec.child("nodeSelector"), errors);
    security::of_pod(spec, errors);
    affinity::rules(&spec.child("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.child("readinessGates").items() {
        gate.child("conditionType").content(label_key, errors);
    }
    scheduling::gates(&spec.child("schedulingGates"), errors);
    affinity::spread(&spec.child("topologySpreadConstraints"), errors);
    security::host_users(spec, errors);
    names(spec, errors);
    scheduling::tolerations(&spec.child("tolerations"), errors);
    for alias in spec.child("hostAliases").items() {
        alias.child("ip").ip(errors);
        alias.child("hostnames").items().for_each(|name| name.content(dns1123_subdomain, errors));
    }
    scheduling::preemption_policy(&spec.child("preemptionPolicy"), errors);
    for (name, amount) in spec.child("overhead").entries() {
        resources::resource_amount(name, &amount, errors);
    }
    os(spec, errors);
    mounts::file_keys(&pod, spec, errors);
}

fn names(spec: &At<'_>, errors: &mut Errors) {
    let fields: [(&str, Rule); 6] = [
        ("serviceAccountName", dns1123_subdomain),
        ("nodeName", dns1123_subdomain),
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
        ("priorityClassName", dns1123_subdomain),
        ("runtimeClassName", dns1123_subdomain),
    ];
    for (field, rule) in fields {
        let field = spec.child(field);
        if !field.text().is_empty() {
            field.content(rule, errors);
        }
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.int().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        errors.push(deadline.invalid(range_error(1, i32::MAX)));
    }
    let host = spec.child("hostnameOverride");
    if !host.is_set() {
        return;
    }
    if spec.child("setHostnameAsFQDN").is_true() {
        errors.push(host.forbidden("may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.child("hostNetwork").is_true() {
        errors.push(host.forbidden("may not be specified when hostNetwork is true"));
    }
    if host.text().len() > HOST_NAME_MAX {
        errors.push(FieldError::too_long(&host.path, HOST_NAME_MAX));
    }
    host.content(dns1123_subdomain, errors);
}

/// In the host's network a port is the host's port.
fn host_network_ports(spec: &At<'_>, is_pod: bool, errors: &mut Errors) {
    if !spec.child("hostNetwork").is_true() {
        return;
    }
    for container in spec.child("containers").items() {
        for port in container.child("ports").items() {
            let (host, own) = (port.child("hostPort"), port.child("containerPort"));
            if (is_pod || host.number() != 0) && host.number() != own.number() {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(host.invalid_value(host.number(), detail));
            }
        }
    }
}

fn dns_config(spec: &At<'_>, errors: &mut Errors) {
    let config = spec.child("dnsConfig");
    let (servers, searches) = (config.child("nameservers"), config.child("searches"));
    if spec.child("dnsPolicy").text() == "None" {
        if !config.is_set() {
            errors.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(servers.required(detail));
            return;
        }
    }
    if servers.len() > NAME_SERVERS_MAX {
        errors.push(servers.invalid(format!("must not have more than {NAME_SERVERS_MAX} nameservers")));
    }
    servers.items().for_each(|server| server.ip(errors));
    if searches.len() > SEARCH_PATHS_MAX {
        errors.push(searches.invalid(format!("must not have more than {SEARCH_PATHS_MAX} search paths")));
    }
    let length: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if length > SEARCH_CHARACTERS_MAX + 1 {
        errors.push(searches.invalid(format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        )));
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let bare = search.text().strip_suffix('.').unwrap_or(search.text()).replace('_', "a");
        errors.extend(dns1123_subdomain(&bare).into_iter().map(|detail| search.invalid(detail)));
    }
    for option in config.child("options").items() {
        if option.child("name").text().is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

fn os(spec: &At<'_>, errors: &mut Errors) {
    let os = spec.child("os");
    if !os.is_set() {
        return;
    }
    let name = os.child("name");
    if name.text().is_empty() {
        errors.push(name.required("cannot be empty"));
    } else {
        name.optional_one_of(&["linux", "windows"], errors);
    }
    if name.text() == "linux" {
        let options = spec.child("securityContext").child("windowsOptions");
        if options.is_set() {
            errors.push(options.forbidden("windows options cannot be set for a linux pod"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use serde_json::json;

    #[test]
    fn fields() {
        check(json!({"containers": []}), &["spec.containers: Required value"]);
        check(
            json!({"restartPolicy": "Odd"}),
            &["spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnFailure\", \"Never\""],
        );
        check(
            json!({"dnsPolicy": "None"}),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        );
        check(
            json!({"dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "x"]}}),
            &[
                "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"x\"]: must not have more \
               than 3 nameservers",
                "spec.dnsConfig.nameservers[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
            ],
        );
        check(
            json!({"activeDeadlineSeconds": 0}),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        );
        check(
            json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i:1",
                "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is \
               true",
            ],
        );
        check(json!({"hostname": "a.b"}), &["spec.hostname: Invalid value: \"a.b\": must not contain dots"]);
    }
}
