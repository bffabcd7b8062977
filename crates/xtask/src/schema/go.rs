//! Reads the type declarations of a Go package, as gofmt lays them out: one line a field.
//!
//! Invariants: a declaration that is not understood is an error, never skipped.
//! Absent: functions, constants that are no strings of a declared type.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A Go type expression with packages resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoType {
    /// A predeclared type, such as `string`.
    Basic(String),
    /// A declared type: package path and name.
    Named(String, String),
    /// `*T`
    Pointer(Box<GoType>),
    /// `[]T`
    List(Box<GoType>),
    /// `map[K]T`; every key is a string in JSON.
    Map(Box<GoType>),
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Go name; of an embedded field its type's name.
    pub(crate) go_name: String,
    /// First part of the json tag, empty when there is none.
    pub(crate) json_name: String,
    pub(crate) ty: GoType,
    pub(crate) embedded: bool,
    pub(crate) omitempty: bool,
    pub(crate) omitzero: bool,
    /// Number in protobuf; 0 when there is none.
    pub(crate) number: u32,
    pub(crate) patch_strategy: String,
    pub(crate) patch_merge_key: String,
    pub(crate) markers: Vec<String>,
}

/// What a declaration declares.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Struct(Vec<Field>),
    Other(GoType),
}

/// `type NAME BODY`, with the markers of its comment.
#[derive(Clone, Debug)]
pub(crate) struct TypeDecl {
    pub(crate) body: Body,
    pub(crate) markers: Vec<String>,
    /// Values of the constants of this type, in order.
    pub(crate) values: BTreeSet<String>,
}

impl TypeDecl {
    /// Declared types that this one mentions.
    pub(crate) fn references(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        match &self.body {
            Body::Struct(fields) => fields.iter().for_each(|field| field.ty.collect(&mut found)),
            Body::Other(ty) => ty.collect(&mut found),
        }
        found
    }
}

impl GoType {
    fn collect(&self, found: &mut Vec<(String, String)>) {
        match self {
            GoType::Basic(_) => {}
            GoType::Named(package, name) => found.push((package.clone(), name.clone())),
            GoType::Pointer(inner) | GoType::List(inner) | GoType::Map(inner) => inner.collect(found),
        }
    }
}

/// Types with an encoding of their own, and what the table calls them.
pub(crate) fn special(package: &str, name: &str) -> Option<&'static str> {
    Some(match (package, name) {
        ("k8s.io/apimachinery/pkg/api/resource", "Quantity") => "Quantity",
        ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString") => "IntOrString",
        ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time") => "Time",
        ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime") => "MicroTime",
        ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration") => "Duration",
        ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1") => "FieldsV1",
        ("k8s.io/apimachinery/pkg/apis/meta/v1", "Patch") => "Patch",
        ("k8s.io/apimachinery/pkg/runtime", "RawExtension") => "RawExtension",
        ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSON") => "JSON",
        ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrArray") => "SchemaOrArray",
        ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrBool") => "SchemaOrBool",
        ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrStringArray") => {
            "SchemaOrStrings"
        }
        _ => return None,
    })
}

/// `io.k8s.api.apps.v1` as a Go import path.
pub(crate) fn path_of_openapi_package(package: &str) -> String {
    let rest = package.strip_prefix("io.k8s.").unwrap_or(package);
    format!("k8s.io/{}", rest.replace('.', "/"))
}

/// A Go import path as OpenAPI names it.
pub(crate) fn openapi_package_of_path(path: &str) -> String {
    let rest = path.strip_prefix("k8s.io/").unwrap_or(path);
    format!("io.k8s.{}", rest.replace('/', "."))
}

/// Parses the package in `dir`.
pub(crate) fn parse_package(path: &str, dir: &Path) -> Result<BTreeMap<String, TypeDecl>> {
    let mut decls: BTreeMap<String, TypeDecl> = BTreeMap::new();
    let mut constants = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let generated = name.contains("generated.") || name.starts_with("zz_");
        if !name.ends_with(".go") || name.ends_with("_test.go") || generated {
            continue;
        }
        let text = std::fs::read_to_string(file.path())?;
        FileParser::new(path, &text).parse(&mut decls, &mut constants).with_context(|| format!("in {name}"))?;
    }
    add_values(&mut decls, constants);
    Ok(decls)
}

/// Gives each type the values of its constants.
fn add_values(decls: &mut BTreeMap<String, TypeDecl>, constants: Vec<Constant>) {
    let unknown: BTreeSet<String> =
        constants.iter().filter(|(_, value)| value.is_none()).map(|(ty, _)| ty.clone()).collect();
    for (ty, value) in constants {
        if let (Some(decl), Some(value), false) = (decls.get_mut(&ty), value, unknown.contains(&ty)) {
            decl.values.insert(value);
        }
    }
}

/// Type and value of a constant; no value where it is written as another constant.
type Constant = (String, Option<String>);

/// The constant of `NAME TYPE = "VALUE"` or `NAME = TYPE("VALUE")`.
fn constant(line: &str) -> Option<Constant> {
    if line.trim_start().starts_with("//") {
        return None;
    }
    let (left, right) = line.split_once(" = ")?;
    let literal = |text: &str| Some(text.trim().strip_prefix('"')?.split('"').next()?.to_owned());
    let mut words = left.split_whitespace();
    match (words.next(), words.next(), right.split_once('(')) {
        (Some(_), Some(ty), _) => Some((ty.to_owned(), literal(right))),
        (Some(_), None, Some((ty, value))) => Some((ty.trim().to_owned(), literal(value))),
        _ => None,
    }
}

struct FileParser<'a> {
    package: &'a str,
    imports: BTreeMap<String, String>,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    markers: Vec<String>,
}

impl<'a> FileParser<'a> {
    fn new(package: &'a str, text: &'a str) -> Self {
        FileParser { package, imports: BTreeMap::new(), lines: text.lines().enumerate(), markers: Vec::new() }
    }

    fn parse(mut self, decls: &mut BTreeMap<String, TypeDecl>, constants: &mut Vec<Constant>) -> Result<()> {
        while let Some((number, line)) = self.lines.next() {
            if self.takes_comment(line) {
                continue;
            }
            if line == "import (" {
                self.parse_imports();
            } else if let Some(import) = line.strip_prefix("import ") {
                self.add_import(import);
            } else if line == "const (" {
                constants.extend(
                    self.lines.by_ref().map(|(_, line)| line).take_while(|line| *line != ")").filter_map(constant),
                );
            } else if let Some(declaration) = line.strip_prefix("const ") {
                constants.extend(constant(declaration));
            } else if let Some(decl) = line.strip_prefix("type ") {
                let (name, decl) = self.parse_decl(decl).with_context(|| format!("line {}: {line}", number + 1))?;
                if let Some(decl) = decl {
                    decls.insert(name, decl);
                }
            }
            self.markers.clear();
        }
        Ok(())
    }

    /// Takes a comment or an empty line; both keep the markers above them.
    fn takes_comment(&mut self, line: &str) -> bool {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("//") {
            if let Some(marker) = comment.trim().strip_prefix('+') {
                self.markers.push(marker.to_owned());
            }
            return true;
        }
        if line.starts_with("/*") {
            if !line.contains("*/") {
                self.lines.find(|(_, line)| line.contains("*/"));
            }
            return true;
        }
        line.is_empty()
    }

    fn parse_imports(&mut self) {
        while let Some((_, line)) = self.lines.next() {
            if line == ")" {
                break;
            }
            self.add_import(line.trim());
        }
    }

    fn add_import(&mut self, import: &str) {
        let mut parts = import.splitn(2, '"');
        let alias = parts.next().unwrap_or_default().trim().to_owned();
        let path = parts.next().unwrap_or_default().split('"').next().unwrap_or_default().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.imports.insert(if alias.is_empty() { last } else { alias }, path);
    }

    fn parse_decl(&mut self, decl: &str) -> Result<(String, Option<TypeDecl>)> {
        let (name, rest) = decl.split_once(' ').context("no type")?;
        let markers = std::mem::take(&mut self.markers);
        let rest = rest.trim_start_matches("= ").split(" //").next().unwrap_or_default().trim();
        if rest.starts_with("interface") || rest.starts_with("func") || name.contains('[') {
            return Ok((name.to_owned(), None));
        }
        let body = if rest == "struct {" {
            Body::Struct(self.parse_fields()?)
        } else if rest == "struct{}" {
            Body::Struct(Vec::new())
        } else {
            Body::Other(self.parse_type(rest)?)
        };
        Ok((name.to_owned(), Some(TypeDecl { body, markers, values: BTreeSet::new() })))
    }

    fn parse_fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        while let Some((number, line)) = self.lines.next() {
            if line == "}" {
                self.markers.clear();
                return Ok(fields);
            }
            if self.takes_comment(line) {
                continue;
            }
            let field = self.parse_field(line.trim()).with_context(|| format!("line {}: {line}", number + 1))?;
            fields.extend(field);
        }
        bail!("a struct does not end")
    }

    fn parse_field(&mut self, line: &str) -> Result<Option<Field>> {
        let markers = std::mem::take(&mut self.markers);
        let (declaration, tags) = match line.split_once('`') {
            Some((declaration, rest)) => (declaration.trim(), rest.split('`').next().unwrap_or_default()),
            None => (line.split("//").next().unwrap_or_default().trim(), ""),
        };
        let (name, ty, embedded) = match declaration.split_once(char::is_whitespace) {
            Some((name, ty)) => (name.to_owned(), ty.trim(), false),
            None => {
                let name = declaration.trim_start_matches('*').rsplit('.').next().unwrap_or_default();
                (name.to_owned(), declaration, true)
            }
        };
        if !name.starts_with(char::is_uppercase) {
            return Ok(None);
        }
        let json = tag(tags, "json").unwrap_or_default();
        let mut parts = json.split(',');
        let json_name = parts.next().unwrap_or_default().to_owned();
        if json_name == "-" {
            return Ok(None);
        }
        let options: Vec<&str> = parts.collect();
        Ok(Some(Field {
            go_name: name,
            json_name,
            ty: self.parse_type(ty)?,
            embedded,
            omitempty: options.contains(&"omitempty"),
            omitzero: options.contains(&"omitzero"),
            number: tag(tags, "protobuf").and_then(|t| t.split(',').nth(1)?.parse().ok()).unwrap_or(0),
            patch_strategy: tag(tags, "patchStrategy").unwrap_or_default().to_owned(),
            patch_merge_key: tag(tags, "patchMergeKey").unwrap_or_default().to_owned(),
            markers,
        }))
    }

    fn parse_type(&self, text: &str) -> Result<GoType> {
        if let Some(inner) = text.strip_prefix('*') {
            return Ok(GoType::Pointer(Box::new(self.parse_type(inner)?)));
        }
        if let Some(inner) = text.strip_prefix("[]") {
            return Ok(GoType::List(Box::new(self.parse_type(inner)?)));
        }
        if let Some(rest) = text.strip_prefix("map[") {
            let (_, inner) = rest.split_once(']').context("a map without a value type")?;
            return Ok(GoType::Map(Box::new(self.parse_type(inner)?)));
        }
        if let Some((alias, name)) = text.split_once('.') {
            let package = self.imports.get(alias).with_context(|| format!("{alias} is not imported"))?;
            return Ok(GoType::Named(package.clone(), name.to_owned()));
        }
        if text.starts_with(char::is_lowercase) {
            return Ok(GoType::Basic(text.to_owned()));
        }
        Ok(GoType::Named(self.package.to_owned(), text.to_owned()))
    }
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{name}:\""))? + name.len() + 2;
    tags[start..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// +enum
type Phase string

const (
	// Ready = "no"
	Ready Phase = "Ready"
	Other Phase = "Other" // so
	Number int = 1
)

const Third = Phase("")

// +enum
type Family string

const (
	Four = Family(other.Four)
	Six = Family("6")
)

// Thing is.
//
// +structType=atomic
type Thing struct {
	metav1.TypeMeta `json:",inline"`
	// what it is
	// +optional
	Parts []*Part `json:"parts,omitempty" patchStrategy:"merge" patchMergeKey:"name" protobuf:"bytes,1"`
	Limits map[Phase]resource.Quantity `json:"limits"`
	hidden int
	Skipped string `json:"-"`
}
"#;

    #[test]
    fn reads_types_fields_tags_and_markers() {
        let mut decls = BTreeMap::new();
        let mut constants = Vec::new();
        FileParser::new("k8s.io/api/x/v1", SOURCE).parse(&mut decls, &mut constants).expect("parses");
        add_values(&mut decls, constants);
        assert_eq!(decls["Phase"].markers, ["enum"]);
        assert_eq!(decls["Phase"].values.iter().map(String::as_str).collect::<Vec<_>>(), ["", "Other", "Ready"]);
        assert!(decls["Family"].values.is_empty(), "one value of it is not known");
        assert_eq!(decls["Thing"].markers, ["structType=atomic"]);
        let Body::Struct(fields) = &decls["Thing"].body else { panic!("not a struct") };
        assert_eq!(fields.len(), 3);
        assert!(fields[0].embedded && fields[0].go_name == "TypeMeta" && fields[0].json_name.is_empty());
        assert_eq!((fields[1].json_name.as_str(), fields[1].omitempty), ("parts", true));
        assert_eq!((fields[0].number, fields[1].number), (0, 1));
        assert_eq!((fields[1].patch_strategy.as_str(), fields[1].patch_merge_key.as_str()), ("merge", "name"));
        assert_eq!(fields[1].markers, ["optional"]);
        let quantity = GoType::Named("k8s.io/apimachinery/pkg/api/resource".into(), "Quantity".into());
        assert_eq!(fields[2].ty, GoType::Map(Box::new(quantity)));
        assert!(!fields[2].omitempty);
    }

    #[test]
    fn package_names_map_both_ways() {
        for (path, package) in [
            ("k8s.io/api/apps/v1", "io.k8s.api.apps.v1"),
            (
                "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
            ),
        ] {
            assert_eq!(openapi_package_of_path(path), package);
            assert_eq!(path_of_openapi_package(package), path);
        }
    }
}
