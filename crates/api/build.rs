//! Gathers the descriptions of Kubernetes' types and fields for `openapi`, from the source of the crate `k8s-openapi`.
//!
//! The texts stand in that crate's schemas, behind a feature that we leave off (docs/adr says why). They become one
//! compressed table: entries end in a NUL, each is `NAME SOH TEXT`, and a name that begins with a dot is a field of the
//! type before it.
//!
//! Invariants: only types of `src/schema/types.txt` are in it, in order; the output is a function of the sources.
//! Absent: anything at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The version of Kubernetes whose texts are taken, as the crate's directories name it.
const VERSION: &str = "v1_36";
/// What each generated file begins with.
const NAME: &str = "// Generated from definition ";

type Failure = Box<dyn std::error::Error>;
/// Texts of a type by field; its own is under the empty name.
type Texts = BTreeMap<String, String>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the descriptions of Kubernetes' types can't be gathered: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    for file in ["build.rs", "src/schema/types.txt", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let source = source()?.join("src").join(VERSION);
    let wanted = wanted(&std::fs::read_to_string("src/schema/types.txt")?);
    let mut found: BTreeMap<String, Texts> = BTreeMap::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            let name = text.lines().next().and_then(|line| line.strip_prefix(NAME));
            if let Some(name) = name.filter(|name| wanted.contains(*name)) {
                found.insert(name.to_owned(), texts(&text));
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{} has no types: was the crate laid out anew?", source.display()).into());
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("texts.zlib");
    let mut encoder = flate2::write::ZlibEncoder::new(std::fs::File::create(out)?, flate2::Compression::best());
    for (name, texts) in found {
        for (field, text) in texts {
            let name = if field.is_empty() { name.clone() } else { format!(".{field}") };
            write!(encoder, "{name}\u{1}{text}\0")?;
        }
    }
    encoder.finish()?;
    Ok(())
}

/// Where cargo keeps the crate's source: in the registry's cache, or where `cargo metadata` says.
fn source() -> Result<PathBuf, Failure> {
    let lock = std::fs::read_to_string("../../Cargo.lock")?;
    let version = lock
        .split_once("name = \"k8s-openapi\"\nversion = \"")
        .and_then(|(_, rest)| rest.split('"').next())
        .ok_or("Cargo.lock does not name k8s-openapi")?;
    let folder = format!("k8s-openapi-{version}");
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let registries = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    for registry in registries.into_iter().flatten() {
        let path = registry?.path().join(&folder);
        if path.join("src").join(VERSION).is_dir() {
            return Ok(path);
        }
    }
    let cargo = std::env::var_os("CARGO").ok_or("CARGO is not set")?;
    let output = Command::new(cargo).args(["metadata", "--format-version=1", "--locked", "--offline"]).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let metadata = String::from_utf8(output.stdout)?;
    metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|manifest| Path::new(manifest).parent().map(Path::to_path_buf))
        .find(|path| path.ends_with("k8s-openapi") || path.ends_with(&folder))
        .ok_or_else(|| format!("no source of {folder} is on this machine: run `cargo fetch`").into())
}

/// Full names of the types of the table.
fn wanted(table: &str) -> BTreeSet<String> {
    let mut packages = Vec::new();
    let mut names: BTreeSet<String> = [
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    for line in table.lines() {
        let mut words = line.split(' ');
        match words.next() {
            Some("P") => packages.extend(words.nth(1)),
            Some("S") => {
                let name = words.next().and_then(|word| word.split_once('.'));
                let package = name.and_then(|(number, _)| packages.get(number.parse::<usize>().ok()?));
                if let (Some((_, name)), Some(package)) = (name, package) {
                    names.insert(format!("{package}.{name}"));
                }
            }
            _ => {}
        }
    }
    names
}

/// The texts in a generated file's schema. Its layout is rustfmt-like: members of the schema are indented by 12 spaces,
/// properties by 16.
fn texts(file: &str) -> Texts {
    let mut texts = Texts::new();
    let schema = file.split_once("fn json_schema(").map(|(_, schema)| schema).unwrap_or_default();
    let mut field = String::new();
    for line in schema.lines() {
        let code = line.trim_start();
        match line.len() - code.len() {
            12 => field.clear(),
            16 if code.starts_with('"') => field = literal(code).unwrap_or_default(),
            _ => {}
        }
        let text = code
            .strip_prefix("\"description\": ")
            .or_else(|| code.strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), "))
            .and_then(literal);
        if let Some(text) = text {
            texts.entry(field.clone()).or_insert(text);
        }
    }
    texts
}

/// The string literal that `code` begins with.
fn literal(code: &str) -> Option<String> {
    let mut letters = code.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'u' => {
                    let digits: String = letters.by_ref().skip(1).take_while(|letter| *letter != '}').collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            }),
            other => text.push(other),
        }
    }
}
