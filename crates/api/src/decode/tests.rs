use super::*;
use crate::kinds::{DELETE_OPTIONS, KINDS, by_any_name};
use serde_json::json;

fn kind(name: &str) -> &'static Kind {
    by_any_name(name).unwrap_or_else(|| panic!("no kind {name}"))
}

fn read(name: &str, body: &Value, validation: FieldValidation) -> Result<Decoded, String> {
    decode(kind(name), body.to_string().as_bytes(), Media::Json, validation).map_err(|error| error.to_string())
}

fn refused(name: &str, body: &str) -> String {
    let result = decode(kind(name), body.as_bytes(), Media::Json, FieldValidation::Strict);
    result.expect_err(body).to_string()
}

#[test]
fn a_daemon_set_comes_out_as_go_writes_it() {
    let body = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "d", "creationTimestamp": null, "labels": {}},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "minReadySeconds": 0,
            "template": {
                "metadata": {"creationTimestamp": null, "labels": {"a": "b"}},
                "spec": {
                    "containers": [{
                        "name": "c", "image": "i", "stdin": false, "command": [], "args": null,
                        "resources": {"limits": {"cpu": "0.5", "memory": 1024}},
                        "ports": [{"containerPort": 80}]
                    }],
                    "hostNetwork": false, "terminationGracePeriodSeconds": 0
                }
            }
        }
    });
    let decoded = read("ds", &body, FieldValidation::Strict).expect("decodes");
    assert_eq!(
        decoded.value,
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {
                        "containers": [{
                            "name": "c", "image": "i",
                            "resources": {"limits": {"cpu": "500m", "memory": "1024"}},
                            "ports": [{"containerPort": 80}]
                        }],
                        "terminationGracePeriodSeconds": 0
                    }
                },
                "updateStrategy": {}
            },
            "status": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}
        })
    );
}

#[test]
fn what_was_decoded_is_its_own_normal_form() {
    for row in KINDS {
        let body = json!({"apiVersion": row.api_version(), "kind": row.kind, "metadata": {"name": "x"}});
        let decoded = decode(row, body.to_string().as_bytes(), Media::Json, FieldValidation::Strict);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", row.plural)).value;
        let mut again = decoded.clone();
        normalize(row, &mut again, FieldValidation::Strict).unwrap_or_else(|error| panic!("{}: {error}", row.plural));
        assert_eq!(again, decoded, "{}", row.plural);
    }
}

/// A value of `ty` in which every field is set; types that contain themselves are filled once.
fn filled(ty: Ty, within: &mut Vec<&'static str>) -> Value {
    match schema().resolve(ty) {
        Ty::String | Ty::SchemaOrArray => json!("x"),
        Ty::Bool | Ty::SchemaOrBool => json!(true),
        Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::IntOrString => json!(1),
        Ty::Float64 => json!(1.5),
        Ty::Bytes => json!("YWJj"),
        Ty::Quantity => json!("1"),
        Ty::Time => json!("2024-01-01T00:00:00Z"),
        Ty::MicroTime => json!("2024-01-01T00:00:00.000001Z"),
        Ty::Duration => json!("1s"),
        Ty::RawExtension | Ty::FieldsV1 | Ty::Json | Ty::Patch => json!({"f:a": [null, 1.0]}),
        Ty::SchemaOrStrings => json!(["x"]),
        Ty::List(item) => json!([filled(*item, within)]),
        Ty::Map(item) => json!({"k": filled(*item, within)}),
        Ty::Ref(id) => {
            let ty = schema().get(id);
            within.push(ty.name);
            let mut object = Map::new();
            for field in ty.fields() {
                let inner = match schema().resolve(field.ty) {
                    Ty::List(item) | Ty::Map(item) => *item,
                    other => other,
                };
                let is_nested = schema().struct_of(inner).is_some_and(|ty| within.contains(&ty.name));
                if !is_nested && field.ty != Ty::SchemaOrArray {
                    object.insert(field.name.to_owned(), filled(field.ty, within));
                }
            }
            within.pop();
            Value::Object(object)
        }
    }
}

#[test]
fn no_field_of_any_kind_is_lost() {
    for row in KINDS {
        let mut body = filled(root_type(row), &mut Vec::new());
        body["apiVersion"] = json!(row.api_version());
        body["kind"] = json!(row.kind);
        let decoded = decode(row, body.to_string().as_bytes(), Media::Json, FieldValidation::Strict);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", row.plural)).value;
        assert_eq!(decoded, body, "{}", row.plural);
        let yaml = crate::yaml::to_yaml(&decoded);
        let decoded = decode(row, yaml.as_bytes(), Media::Yaml, FieldValidation::Strict);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", row.plural)).value;
        // On its way through YAML a whole float becomes an integer.
        assert_eq!(decoded.to_string(), body.to_string().replace("1.0", "1"), "{}", row.plural);
    }
}

/// The rules and the controllers read objects as k8s-openapi's structs: what Go writes for what is not set, nulls
/// among it, must be readable there.
#[test]
fn normal_forms_can_be_read_as_structs() {
    use k8s_openapi::api::{apps::v1 as apps, coordination::v1 as coordination, core::v1 as core, rbac::v1 as rbac};
    fn check<T: serde::de::DeserializeOwned + k8s_openapi::Resource>() {
        let row = crate::kinds::by_kind(T::API_VERSION, T::KIND).expect("a row");
        let full = filled(root_type(row), &mut Vec::new());
        for mut body in [json!({}), full] {
            body["apiVersion"] = json!(row.api_version());
            body["kind"] = json!(row.kind);
            normalize(row, &mut body, FieldValidation::Strict)
                .unwrap_or_else(|error| panic!("{}: {error}", row.plural));
            let read: Result<T, _> = serde_json::from_value(body);
            assert!(read.is_ok(), "{}: {:?}", row.plural, read.err());
        }
    }
    check::<apps::DaemonSet>();
    check::<apps::ControllerRevision>();
    check::<apps::ReplicaSet>();
    check::<coordination::Lease>();
    check::<core::ConfigMap>();
    check::<core::Event>();
    check::<core::Namespace>();
    check::<core::Node>();
    check::<core::Pod>();
    check::<core::Secret>();
    check::<core::Service>();
    check::<core::ServiceAccount>();
    check::<rbac::ClusterRole>();
    check::<rbac::ClusterRoleBinding>();
}

#[test]
fn nulls_are_zero_values_where_something_must_stand() {
    let body = json!({"metadata": {"name": "c", "annotations": {"a": null}}, "data": {"k": null}, "immutable": null});
    let decoded = read("cm", &body, FieldValidation::Strict).expect("decodes");
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {"a": ""}}, "data": {"k": ""}})
    );
    let pod = json!({"spec": {"containers": [null], "nodeSelector": null}});
    let decoded = read("po", &pod, FieldValidation::Strict).expect("decodes");
    assert_eq!(decoded.value["spec"], json!({"containers": [{"name": "", "resources": {}}]}));
    let role = read("role", &json!({"rules": []}), FieldValidation::Strict).expect("decodes");
    assert_eq!(role.value["rules"], Value::Null);
}

#[test]
fn unknown_and_repeated_fields() {
    let body = r#"{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"d","Labels":{}},"spec":{"foo":{"x":1},
        "minReadySeconds":1,"minReadySeconds":2,"template":{"spec":{"containers":[{"name":"a","imag":"x"},{"name":"b","imag":"y"}],
        "nodeSelector":{"k":"1","k":"2"}}}}}"#;
    let message = refused("ds", body);
    assert_eq!(
        message,
        "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strict decoding error: unknown field \
         \"metadata.Labels\", unknown field \"spec.foo\", duplicate field \"spec.minReadySeconds\", unknown field \
         \"spec.template.spec.containers[0].imag\", unknown field \"spec.template.spec.containers[1].imag\", duplicate \
         field \"spec.template.spec.nodeSelector.k\""
    );
    let warned = decode(kind("ds"), body.as_bytes(), Media::Json, FieldValidation::Warn).expect("warns");
    assert_eq!(warned.warnings.len(), 6);
    assert_eq!(warned.warnings[1], "unknown field \"spec.foo\"");
    assert_eq!(warned.value["spec"]["minReadySeconds"], 2);
    assert_eq!(warned.value["spec"].get("foo"), None);
    let ignored = decode(kind("ds"), body.as_bytes(), Media::Json, FieldValidation::Ignore).expect("ignores");
    assert_eq!((ignored.value, ignored.warnings), (warned.value, vec![]));
}

#[test]
fn strict_errors_are_bounded() {
    let fields: Vec<String> = (0..500).map(|number| format!("\"x{number}\":1")).collect();
    let body = format!("{{{}}}", fields.join(","));
    let warned = decode(kind("cm"), body.as_bytes(), Media::Json, FieldValidation::Warn).expect("warns");
    assert_eq!(warned.warnings.len(), 100);
}

#[test]
fn wrong_types() {
    let prefix = "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: ";
    for (spec, message) in [
        (
            r#"{"minReadySeconds":"x"}"#,
            "json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            r#"{"minReadySeconds":3000000000}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            r#"{"template":{"spec":{"containers":{}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"template":{"spec":{"containers":[{"name":1}]}}}"#,
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string",
        ),
        (
            r#"{"template":{"spec":{"nodeSelector":{"a":true}}}}"#,
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.template.spec.nodeSelector of type string",
        ),
        (
            r#"{"template":{"spec":{"restartPolicy":true}}}"#,
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            r#"{"template":{"spec":{"volumes":[{"emptyDir":[]}]}}}"#,
            "json: cannot unmarshal array into Go struct field Volume.spec.template.spec.volumes.VolumeSource.emptyDir of \
             type v1.EmptyDirVolumeSource",
        ),
        (
            r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":true}}}"#,
            "json: cannot unmarshal bool into Go struct field \
             RollingUpdateDaemonSet.spec.updateStrategy.rollingUpdate.maxUnavailable of type int32",
        ),
        (
            r#"{"minReadySeconds":"x","template":{"spec":{"overhead":{"cpu":"lots"}}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            r#"{"template":{"metadata":{"creationTimestamp":"soon"}}}"#,
            "parsing time \"soon\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"soon\" as \"2006\"",
        ),
    ] {
        assert_eq!(refused("ds", &format!(r#"{{"spec":{spec}}}"#)), format!("{prefix}{message}"));
    }
}

#[test]
fn bodies_of_another_kind() {
    for (name, body, message) in [
        (
            "ds",
            r#"{"kind":"Deployment","apiVersion":"apps/v1"}"#,
            "Deployment in version \"v1\" cannot be handled as a DaemonSet: converting (v1.Deployment) to (apps.DaemonSet): \
             unknown conversion",
        ),
        (
            "po",
            r#"{"kind":"Foo","apiVersion":"v1"}"#,
            "Foo in version \"v1\" cannot be handled as a Pod: no kind \"Foo\" is registered for version \"v1\" in scheme \
             \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            "ds",
            r#"{"kind":"DaemonSet","apiVersion":"apps/v1beta2"}"#,
            "the API version in the data (apps/v1beta2) does not match the expected API version (apps/v1)",
        ),
        (
            "ds",
            r#"{"kind":5}"#,
            "the object provided is unrecognized (must be of type DaemonSet): couldn't get version/kind; json parse error: \
             json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":5})",
        ),
        (
            "ds",
            r#"{"apiVersion":"a/b/c"}"#,
            "the object provided is unrecognized (must be of type DaemonSet): unexpected GroupVersion string: a/b/c \
             ({\"apiVersion\":\"a/b/c\"})",
        ),
        (
            "ds",
            "hello",
            "the object provided is unrecognized (must be of type DaemonSet): couldn't get version/kind; json parse error: \
             invalid character 'h' looking for beginning of value (68656c6c6f)",
        ),
        (
            "ds",
            "",
            "the object provided is unrecognized (must be of type DaemonSet): couldn't get version/kind; json parse error: \
             unexpected end of JSON input (<empty>)",
        ),
    ] {
        assert_eq!(refused(name, body), message);
    }
    let options = br#"{"kind":"DeleteOptions","apiVersion":"apps/v1","propagationPolicy":"Background"}"#;
    let options = decode(&DELETE_OPTIONS, options, Media::Json, FieldValidation::Strict).expect("any group");
    assert_eq!(options.value["propagationPolicy"], "Background");
}

#[test]
fn yaml_bodies() {
    let body = "kind: ConfigMap\ndata:\n  a: \"1\"\n  a: \"2\"\nfoo: 1\n";
    let strict = decode(kind("cm"), body.as_bytes(), Media::Yaml, FieldValidation::Strict).expect_err("refused");
    assert_eq!(
        strict.to_string(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  \
         line 4: key \"a\" already set in map, unknown field \"foo\""
    );
    let warned = decode(kind("cm"), body.as_bytes(), Media::Yaml, FieldValidation::Warn).expect("warns");
    assert_eq!(warned.value["data"], json!({"a": "2"}));
    assert_eq!(warned.warnings.len(), 2);
    let broken = decode(kind("cm"), b"a: [", Media::Yaml, FieldValidation::Warn).expect_err("refused").to_string();
    assert!(
        broken.starts_with("the object provided is unrecognized (must be of type ConfigMap): yaml: line"),
        "{broken}"
    );
}

#[test]
fn schemas_of_custom_resources() {
    let body = json!({"spec": {"group": "g", "names": {"kind": "K", "plural": "ks"}, "scope": "Namespaced", "versions": [{
    "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string", "default": null}},
            "b": {"additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true},
            "c": {"additionalProperties": {"type": "integer", "minimum": 1.0}}, "d": {"enum": [1, "two", null]}}
    }}}]}});
    let decoded = read("crd", &body, FieldValidation::Strict).expect("decodes");
    let properties = &decoded.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    assert_eq!(
        *properties,
        json!({"a": {"type": "array", "items": {"type": "string"}},
            "b": {"additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true},
            "c": {"additionalProperties": {"type": "integer", "minimum": 1}}, "d": {"enum": [1, "two", null]}})
    );
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    assert!(refused("controllerrevisions", &deep).contains("exceeded max depth"));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in "[\\[\\]{}\",:a-z0-9.\\\\\n-]{0,80}") {
            let _ = decode(kind("po"), body.as_bytes(), Media::Json, FieldValidation::Strict);
        }
    }
}
