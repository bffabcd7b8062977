//! `docs/pod-spec.md` names every field of the pod spec, and what it says of them is what the agent does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use api::schema::{Schema, Ty, Type, schema};
use k8s_openapi::api::core::v1::{Pod, Volume};
use serde_json::{Value, json};

use super::ignored;
use crate::agent::refused;

const CORE: &str = "io.k8s.api.core.v1";
/// Depth of the made-up pod: what is asked about lies less deep.
const DEPTH_MAX: usize = 8;

/// One row for one field.
#[derive(Debug)]
struct Row {
    embedded: String,
    containerd: String,
    /// The row stands for all that is in the field.
    whole: bool,
    tests: Vec<String>,
}

fn codes(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The tables: by type, then by field.
fn tables() -> BTreeMap<String, BTreeMap<String, Row>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/pod-spec.md")).unwrap();
    let mut tables: BTreeMap<String, BTreeMap<String, Row>> = BTreeMap::new();
    let mut of = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            name.clone_into(&mut of);
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [fields, embedded, containerd, _, tests] = cells[..] else { continue };
        for field in codes(fields) {
            let name = field.strip_suffix(".*").unwrap_or(&field).to_owned();
            let row = Row {
                embedded: embedded.to_owned(),
                containerd: containerd.to_owned(),
                whole: field.ends_with(".*"),
                tests: codes(tests),
            };
            let twice = tables.entry(of.clone()).or_default().insert(name, row);
            assert!(twice.is_none(), "{of}.{field} has two rows");
        }
    }
    tables
}

/// The struct that a field holds, in a list or a map too.
fn inner(schema: &'static Schema, ty: Ty) -> Option<&'static Type> {
    match schema.resolve(ty) {
        Ty::List(of) | Ty::Map(of) => inner(schema, *of),
        other => schema.struct_of(other),
    }
}

fn core(schema: &'static Schema, name: &str) -> &'static Type {
    schema.find(&format!("{CORE}.{name}")).unwrap_or_else(|| panic!("there is no type {name}"))
}

#[test]
fn every_field_has_its_row() {
    let (schema, tables) = (schema(), tables());
    let mut seen = BTreeSet::new();
    let mut left = vec!["PodSpec".to_owned()];
    while let Some(name) = left.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let rows = tables.get(&name).unwrap_or_else(|| panic!("docs/pod-spec.md has no table {name}"));
        let ty = core(schema, &name);
        let fields: BTreeSet<&str> = ty.fields().iter().map(|field| field.name).collect();
        let named: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
        assert_eq!(named, fields, "fields of {name} in docs/pod-spec.md and in the API");
        for field in ty.fields() {
            if let Some(of) = inner(schema, field.ty).filter(|_| !rows[field.name].whole) {
                left.push(of.full_name().rsplit('.').next().unwrap().to_owned());
            }
        }
    }
    let tables: BTreeSet<String> = tables.into_keys().collect();
    assert_eq!(tables, seen, "tables of docs/pod-spec.md and types that a pod spec has");
}

#[test]
fn rows_say_what_is_known_and_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut functions = BTreeSet::new();
    for part in ["node/src", "node/tests", "decide/src"] {
        collect(&root.join(part), &mut functions);
    }
    for (of, rows) in tables() {
        for (field, row) in rows {
            for word in [&row.embedded, &row.containerd] {
                let known = ["works", "part", "server", "waits", "fails", "event"].contains(&word.as_str());
                assert!(known, "{of}.{field}: {word:?}");
            }
            let proven = [&row.embedded, &row.containerd].iter().all(|word| *word == "part") || !row.tests.is_empty();
            assert!(proven, "{of}.{field} names no test");
            for test in row.tests {
                let name = test.split_once("::").map_or(test.as_str(), |(_, name)| name);
                assert!(functions.contains(name), "{of}.{field}: there is no test {test}");
            }
        }
    }
}

/// Names of the functions in Rust files below a folder.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            names.extend(text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
}

/// A value of the type with all fields set.
fn full(schema: &'static Schema, ty: Ty, depth: usize) -> Value {
    match schema.resolve(ty) {
        Ty::Bool => json!(true),
        Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::IntOrString => json!(1),
        Ty::Float64 => json!(1.0),
        Ty::Quantity => json!("1"),
        Ty::Time | Ty::MicroTime => json!("2026-01-01T00:00:00Z"),
        Ty::List(_) | Ty::Map(_) if depth == 0 => Value::Null,
        Ty::List(of) => match full(schema, *of, depth - 1) {
            Value::Null => Value::Null,
            one => json!([one]),
        },
        Ty::Map(of) => json!({"a": full(schema, *of, depth - 1)}),
        other => match schema.struct_of(other) {
            Some(of) if depth > 0 => {
                let values = of.fields().iter().map(|f| (f.name.to_owned(), full(schema, f.ty, depth - 1)));
                Value::Object(values.filter(|(_, value)| !value.is_null()).collect())
            }
            Some(_) => Value::Null,
            None => json!("x"),
        },
    }
}

/// `spec.containers[0].securityContext.seLinuxOptions` as SecurityContext.seLinuxOptions.
fn typed(schema: &'static Schema, path: &str) -> String {
    let mut at = core(schema, "PodSpec");
    let mut steps = path.strip_prefix("spec.").unwrap().split('.').peekable();
    loop {
        let step = steps.next().unwrap();
        let name = step.split('[').next().unwrap();
        if steps.peek().is_none() {
            return format!("{}.{name}", at.full_name().rsplit('.').next().unwrap());
        }
        at = inner(schema, at.field(name).unwrap_or_else(|| panic!("{path}: {name}")).ty).unwrap();
    }
}

/// Rows with a word, as TYPE.FIELD.
fn marked(tables: &BTreeMap<String, BTreeMap<String, Row>>, of: &[&str], word: &str) -> BTreeSet<String> {
    let rows = tables.iter().filter(|(name, _)| of.is_empty() || of.contains(&name.as_str()));
    rows.flat_map(|(name, rows)| rows.iter().map(move |(field, row)| (name, field, row)))
        .filter(|(.., row)| row.embedded == word)
        .map(|(name, field, _)| format!("{name}.{field}"))
        .collect()
}

#[test]
fn the_agent_keeps_to_the_table() {
    let (schema, tables) = (schema(), tables());
    let mut spec = full(schema, Ty::Ref(schema.find_id(&format!("{CORE}.PodSpec")).unwrap()), DEPTH_MAX);
    spec["hostUsers"] = json!(false);
    let pod = Pod { spec: Some(serde_json::from_value(spec).unwrap()), ..Default::default() };
    let told: BTreeSet<String> = ignored(&pod).iter().map(|path| typed(schema, path)).collect();
    assert_eq!(told, marked(&tables, &[], "event"), "what events name, and rows that say so");
    let text = refused::waits(&pod).unwrap();
    let fields = text.strip_prefix("not supported by this node: ").unwrap().split(", ");
    let waits: BTreeSet<String> = fields.map(|path| typed(schema, path)).collect();
    let types = ["PodSpec", "Container", "ResourceRequirements"];
    assert_eq!(waits, marked(&tables, &types, "waits"), "what a sandbox waits for, and rows that say so");
    for (field, row) in &tables["Volume"] {
        let ty = core(schema, "Volume").field(field).unwrap().ty;
        let volume: Volume = serde_json::from_value(json!({"name": "v", field: full(schema, ty, DEPTH_MAX)})).unwrap();
        let known = crate::volumes::unsupported(&volume).is_none_or(|named| {
            assert_eq!(named, *field);
            false
        });
        let made = known || ["configMap", "secret", "downwardAPI", "hostPath", "projected"].contains(&field.as_str());
        assert_eq!(made, row.embedded == "works", "volumes[].{field}");
    }
}
