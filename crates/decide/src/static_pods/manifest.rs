//! The pod that a file asks for.

use api::decode::{FieldValidation, normalize};
use api::{defaults, kinds, prepare, references, validate, yaml};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{FILE, FROM_FILE, HASH, MIRROR, SOURCE};

/// Bytes of the hash that make a UID: as long as the kubelet's, which appears in names of directories.
const UID_BYTES: usize = 16;

/// What a file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The pod, as the node runs it.
    pub pod: Pod,
    /// Fields of it that nobody knows, in Kubernetes' words.
    pub warnings: Vec<String>,
}

/// Why a file makes no pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It can't be read as YAML or JSON, or a field has the wrong type.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// There is not exactly one object in it.
    #[error("it holds {0} objects; write one pod into each file")]
    Count(usize),
    /// It is something else.
    #[error("it holds {0}, and only a Pod of v1 can be static")]
    Kind(String),
    /// The pod breaks rules of the API.
    #[error("{0}")]
    Invalid(String),
    /// It needs objects of the API server, which may be away.
    #[error(
        "a static pod can't refer to {0}: it has to run without an API server; write the value into the file, or mount it \
         from the node with hostPath"
    )]
    Refers(&'static str),
}

/// The pod of the file `name` in `directory`, on `node`.
///
/// # Errors
/// See [`ManifestError`].
pub fn read(node: &str, directory: &str, name: &str, text: &str) -> Result<Manifest, ManifestError> {
    let mut documents = yaml::read_documents(text).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
    let Some(mut value) = documents.pop().filter(|_| documents.is_empty()) else {
        return Err(ManifestError::Count(if documents.is_empty() { 0 } else { documents.len() + 1 }));
    };
    let word = |field: &str| value[field].as_str().unwrap_or("nothing").to_owned();
    if (value["apiVersion"].as_str(), value["kind"].as_str()) != (Some("v1"), Some("Pod")) {
        return Err(ManifestError::Kind(format!("a {} of {}", word("kind"), word("apiVersion"))));
    }
    // Of what is written, not of what becomes of it: the next version may know other fields and defaults.
    let uid = hash(node, directory, name, &value);
    let Some(kind) = kinds::by_kind("v1", "Pod") else { return Err(ManifestError::Count(0)) };
    let warnings = normalize(kind, &mut value, FieldValidation::Warn)
        .map_err(|error| ManifestError::Unreadable(error.to_string()))?;
    if let Some(what) = refers(&value) {
        return Err(ManifestError::Refers(what));
    }
    settle(&mut value, node, name, &uid);
    defaults::apply(kind, &mut value);
    prepare::create(kind, &mut value);
    let faults = validate::create(kind, &value);
    if !faults.is_empty() {
        return Err(ManifestError::Invalid(validate::aggregate(&faults)));
    }
    value["metadata"]["uid"] = json!(uid);
    let pod = serde_json::from_value(value).map_err(|error| ManifestError::Unreadable(error.to_string()))?;
    Ok(Manifest { pod, warnings })
}

fn hash(node: &str, directory: &str, name: &str, value: &Value) -> String {
    let mut digest = Sha256::new();
    for part in [node, directory, name, &value.to_string()] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().take(UID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// What a pod names that only an API server has.
fn refers(pod: &Value) -> Option<&'static str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let token =
        sources.any(|source| source["serviceAccountToken"].is_object()).then_some("tokens of a service account");
    references::first(pod).or(token)
}

/// What every static pod has: the node in its name, its origin, and that no taint ends it.
fn settle(pod: &mut Value, node: &str, file: &str, hash: &str) {
    let mut written = pod["metadata"].take();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&written["name"]), text(&written["namespace"]));
    let mut annotations = written["annotations"].take();
    if !annotations.is_object() {
        annotations = json!({});
    }
    if let Some(map) = annotations.as_object_mut() {
        map.remove(MIRROR);
        map.extend(
            [(SOURCE, FROM_FILE), (HASH, hash), (FILE, file)].map(|(key, value)| (key.to_owned(), json!(value))),
        );
    }
    // Without a name it stays without one, and is refused.
    let name = if name.is_empty() { name } else { format!("{name}-{}", node.to_lowercase()) };
    let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
    pod["metadata"] = json!({"name": name, "namespace": namespace, "annotations": annotations});
    if written["labels"].is_object() {
        pod["metadata"]["labels"] = written["labels"].take();
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.insert("nodeName".to_owned(), json!(node));
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        if let Some(list) = tolerations.as_array_mut() {
            list.push(json!({"operator": "Exists", "effect": "NoExecute"}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: nginx}\n";

    fn one(text: &str) -> Result<Manifest, ManifestError> {
        read("node-1", "/etc/static", "web.yaml", text)
    }

    #[test]
    fn a_file_makes_a_pod_of_its_node() {
        let text = PLAIN.replace(
            "{name: web}",
            r#"{name: web, labels: {a: b}, uid: "7", finalizers: [x.io/y], annotations: {kubernetes.io/config.mirror: x, c: d}}"#,
        );
        let Manifest { pod, warnings } = one(&text).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let meta = &pod.metadata;
        assert_eq!((meta.name.as_deref(), meta.namespace.as_deref()), (Some("web-node-1"), Some("default")));
        let uid = meta.uid.clone().unwrap();
        assert!(uid.len() == 32 && uid.bytes().all(|b| b.is_ascii_hexdigit()), "{uid}");
        let notes: Vec<(String, String)> = meta.annotations.clone().unwrap().into_iter().collect();
        let expect = [("c", "d"), (FILE, "web.yaml"), (HASH, &uid), (SOURCE, "file")];
        assert_eq!(notes, expect.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!((&meta.finalizers, &meta.owner_references), (&None, &None));
        assert_eq!(meta.labels.clone().unwrap()["a"], "b");
        let spec = pod.spec.clone().unwrap();
        assert_eq!(spec.node_name.as_deref(), Some("node-1"));
        let toleration = &spec.tolerations.unwrap()[0];
        assert_eq!((toleration.operator.as_deref(), toleration.effect.as_deref()), (Some("Exists"), Some("NoExecute")));
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"), "defaults are filled in");
        assert!(super::super::is_static(&pod));
    }

    #[test]
    fn only_what_is_written_counts_for_the_uid() {
        let uid = |node: &str, dir: &str, name: &str, text: &str| read(node, dir, name, text).unwrap().pod.metadata.uid;
        let plain = uid("n", "/d", "f", PLAIN);
        let same = "# A comment\nkind: Pod\nspec: {containers: [{image: nginx, name: c}]}\nmetadata: {name: web}\napiVersion: v1";
        assert_eq!(uid("n", "/d", "f", same), plain);
        let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
	"spec": {"containers": [{"name": "c", "image": "nginx"}]}}"#;
        assert_eq!(uid("n", "/d", "f", json), plain);
        for (node, dir, name, text) in [
            ("m", "/d", "f", PLAIN.to_owned()),
            ("n", "/e", "f", PLAIN.to_owned()),
            ("n", "/d", "g", PLAIN.to_owned()),
            ("n", "/d", "f", PLAIN.replace("nginx", "nginx:1")),
        ] {
            assert_ne!(uid(node, dir, name, &text), plain, "{node} {dir} {name} {text}");
        }
    }

    #[test]
    fn a_bad_file_says_what_to_do() {
        let spec = |more: &str| PLAIN.replace("spec:\n", &format!("spec:\n  {more}\n"));
        for (text, expect) in [
            ("a: [".to_owned(), "it can't be read: yaml: line"),
            (String::new(), "it holds 0 objects"),
            (format!("{PLAIN}---\n{PLAIN}"), "it holds 2 objects; write one pod into each file"),
            (
                "apiVersion: v1\nkind: Service".to_owned(),
                "it holds a Service of v1, and only a Pod of v1 can be static",
            ),
            ("just text".to_owned(), "it holds a nothing of nothing"),
            (spec("hostNetwork: 7"), "it can't be read: "),
            (
                spec("serviceAccountName: robot"),
                "can't refer to a service account: it has to run without an API server",
            ),
            (spec("imagePullSecrets: [{name: s}]"), "can't refer to secrets"),
            (spec("volumes: [{name: v, configMap: {name: m}}]"), "can't refer to configmaps"),
            (
                spec("volumes: [{name: v, persistentVolumeClaim: {claimName: m}}]"),
                "can't refer to persistentvolumeclaims",
            ),
            (
                spec("volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]"),
                "can't refer to tokens of a service account",
            ),
            (PLAIN.replace("name: web", "generateName: web-"), "metadata.name: Required value"),
            (PLAIN.replace("name: c", "name: C"), "spec.containers[0].name: Invalid value"),
        ] {
            let error = one(&text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn a_field_that_nobody_knows_is_told_and_passed_over() {
        let found = one(&PLAIN.replace("spec:\n", "spec:\n  hostNetwrk: true\n")).unwrap();
        assert_eq!(found.warnings, ["unknown field \"spec.hostNetwrk\""]);
    }
}
