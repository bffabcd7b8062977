//! Volumes: what each is, and its source's fields.

use serde_json::Value;

use super::writer::{Writer, items, text};

/// A source's name in a volume, what it is, and the fields that are shown: title, field.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Sources that are shown field by field. `?` after a field's name: a boolean that is false when it is not set.
const SOURCES: &[Row] = &[
    ("secret", "Secret (a volume populated by a Secret)", &[("SecretName", "secretName"), ("Optional", "optional?")]),
    ("configMap", "ConfigMap (a volume populated by a ConfigMap)", &[("Name", "name"), ("Optional", "optional?")]),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly?")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "claimName"), ("ReadOnly", "readOnly?")],
    ),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[("Driver", "driver"), ("FSType", "fsType"), ("ReadOnly", "readOnly?")],
    ),
    ("image", "Image (a container image or OCI artifact)", &[("Reference", "reference"), ("PullPolicy", "pullPolicy")]),
];

/// `Volumes:` and all below.
pub(super) fn volumes(w: &mut Writer, list: &Value, space: &str) {
    if items(list).is_empty() {
        w.line(0, format!("{space}Volumes:\t<none>"));
        return;
    }
    w.line(0, format!("{space}Volumes:"));
    let indent = if space.is_empty() { "" } else { " " };
    for volume in items(list) {
        w.line(1, format!("{indent}{}:", text(&volume["name"])));
        source(w, volume);
    }
}

fn source(w: &mut Writer, volume: &Value) {
    if let Some((name, what, fields)) = SOURCES.iter().find(|(name, _, _)| volume[*name].is_object()) {
        w.line(2, format!("Type:\t{what}"));
        for (title, field) in *fields {
            let value = &volume[*name][field.trim_end_matches('?')];
            let shown = if field.ends_with('?') { (value == true).to_string() } else { text(value) };
            w.line(2, format!("{title}:\t{shown}"));
        }
    } else if volume["hostPath"].is_object() {
        let host = &volume["hostPath"];
        w.line(2, "Type:\tHostPath (bare host directory volume)");
        w.line(2, format!("Path:\t{}", text(&host["path"])));
        let kind = if host["type"].is_null() { "<none>".into() } else { text(&host["type"]) };
        w.line(2, format!("HostPathType:\t{kind}"));
    } else if volume["emptyDir"].is_object() {
        let limit = text(&volume["emptyDir"]["sizeLimit"]);
        w.line(2, "Type:\tEmptyDir (a temporary directory that shares a pod's lifetime)");
        w.line(2, format!("Medium:\t{}", text(&volume["emptyDir"]["medium"])));
        w.line(2, format!("SizeLimit:\t{}", if limit.is_empty() || limit == "0" { "<unset>" } else { &limit }));
    } else if volume["projected"].is_object() {
        projected(w, &volume["projected"]);
    } else if volume["downwardAPI"].is_object() {
        w.line(2, "Type:\tDownwardAPI (a volume populated by information about the pod)");
        w.line(2, "Items:");
        for item in items(&volume["downwardAPI"]["items"]) {
            let from = if item["fieldRef"].is_object() {
                text(&item["fieldRef"]["fieldPath"])
            } else {
                text(&item["resourceFieldRef"]["resource"])
            };
            w.line(3, format!("{from} -> {}", text(&item["path"])));
        }
    } else {
        w.line(1, "<unknown>");
    }
}

fn projected(w: &mut Writer, projected: &Value) {
    w.line(2, "Type:\tProjected (a volume that contains injected data from multiple sources)");
    for source in items(&projected["sources"]) {
        if source["secret"].is_object() {
            w.line(2, format!("SecretName:\t{}", text(&source["secret"]["name"])));
            w.line(2, format!("Optional:\t{}", source["secret"]["optional"] == true));
        } else if source["downwardAPI"].is_object() {
            w.line(2, "DownwardAPI:\ttrue");
        } else if source["configMap"].is_object() {
            w.line(2, format!("ConfigMapName:\t{}", text(&source["configMap"]["name"])));
            w.line(2, format!("Optional:\t{}", source["configMap"]["optional"] == true));
        } else if source["serviceAccountToken"].is_object() {
            let seconds = text(&source["serviceAccountToken"]["expirationSeconds"]);
            w.line(2, format!("TokenExpirationSeconds:\t{seconds}"));
        }
    }
}
