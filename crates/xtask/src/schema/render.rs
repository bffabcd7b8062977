//! Writes the table: packages, their types, their fields. `api::schema` documents the format.
//!
//! Invariants: packages, types and fields in a fixed order; every package letter is declared before its first use.
//! Absent: reading Go.

use super::Packages;
use super::go::{self, Body, Field, GoType, TypeDecl};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The table as text.
pub(crate) fn table(packages: &Packages, reached: &BTreeSet<(String, String)>, version: &str) -> Result<String> {
    let mut paths: Vec<&str> = reached.iter().map(|(package, _)| package.as_str()).collect();
    paths.dedup();
    let numbers: BTreeMap<&str, usize> = paths.iter().enumerate().map(|(number, &path)| (path, number)).collect();
    let mut out = format!("# Kubernetes {version} types, written by `cargo xtask schema`\n");
    for (path, number) in &numbers {
        writeln!(out, "P {number} {}", go::openapi_package_of_path(path))?;
    }
    let renderer = Renderer { packages, numbers };
    for (package, name) in reached {
        renderer.write_type(&mut out, package, name)?;
    }
    Ok(out)
}

/// Where a struct's fields are listed: itself, or one that embeds it.
struct Embedding {
    /// Go names on the way.
    via: String,
    /// Numbers in protobuf on the way; None below a struct that protobuf leaves out.
    wire: Option<String>,
}

impl Embedding {
    /// The way to a field with this number.
    fn number(&self, number: u32) -> Option<String> {
        (number != 0).then(|| self.wire.as_ref().map(|wire| joined(wire, &number.to_string())))?
    }
}

fn joined(path: &str, last: &str) -> String {
    if path.is_empty() { last.to_owned() } else { format!("{path}.{last}") }
}

struct Renderer<'a> {
    packages: &'a Packages,
    numbers: BTreeMap<&'a str, usize>,
}

impl Renderer<'_> {
    fn decl(&self, package: &str, name: &str) -> Result<&TypeDecl> {
        let found = self.packages.get(package).and_then(|decls| decls.get(name));
        found.with_context(|| format!("{package}.{name} was not read"))
    }

    fn write_type(&self, out: &mut String, package: &str, name: &str) -> Result<()> {
        let decl = self.decl(package, name)?;
        let number = self.numbers[package];
        match &decl.body {
            Body::Other(ty) => {
                write!(out, "A {number}.{name} {}", self.type_text(ty)?)?;
                if !decl.values.is_empty() && decl.markers.iter().any(|marker| marker == "enum") {
                    if let Some(value) = decl.values.iter().find(|value| value.contains(',')) {
                        bail!("{package}.{name}: the table has no way to write the value {value:?}");
                    }
                    write!(out, " e={}", decl.values.iter().map(String::as_str).collect::<Vec<_>>().join(","))?;
                }
                out.push('\n');
            }
            Body::Struct(fields) => {
                write!(out, "S {number}.{name}")?;
                if marker(&decl.markers, "structType") == Some("atomic")
                    || marker(&decl.markers, "mapType") == Some("atomic")
                {
                    out.push_str(" st=atomic");
                }
                out.push('\n');
                self.write_fields(out, fields, &Embedding { via: String::new(), wire: Some(String::new()) })?;
            }
        }
        Ok(())
    }

    fn write_fields(&self, out: &mut String, fields: &[Field], within: &Embedding) -> Result<()> {
        for field in fields {
            if field.embedded && field.json_name.is_empty() {
                let GoType::Named(package, name) = &field.ty else {
                    bail!("{} is embedded, but not by value", field.go_name)
                };
                let Body::Struct(inner) = &self.decl(package, name)?.body else {
                    bail!("{package}.{name} is embedded, but not a struct")
                };
                let within = Embedding { via: joined(&within.via, &field.go_name), wire: within.number(field.number) };
                self.write_fields(out, inner, &within)?;
            } else {
                self.write_field(out, field, within)?;
            }
        }
        Ok(())
    }

    fn write_field(&self, out: &mut String, field: &Field, within: &Embedding) -> Result<()> {
        let json_name = if field.json_name.is_empty() { &field.go_name } else { &field.json_name };
        write!(out, " {json_name} {}", self.type_text(&field.ty)?)?;
        let is_marked = |name: &str| field.markers.iter().any(|marker| marker == name);
        let required = if is_marked("optional") { false } else { is_marked("required") || !field.omitempty };
        for (set, flag) in [(field.omitempty, " o"), (field.omitzero, " z"), (required, " r")] {
            if set {
                out.push_str(flag);
            }
        }
        let map_keys: Vec<&str> =
            field.markers.iter().filter_map(|marker| marker.strip_prefix("listMapKey=")).collect();
        for (key, value) in [
            ("ps", field.patch_strategy.as_str()),
            ("pk", field.patch_merge_key.as_str()),
            ("lt", marker(&field.markers, "listType").unwrap_or_default()),
            ("lk", &map_keys.join(",")),
            ("mt", marker(&field.markers, "mapType").unwrap_or_default()),
            ("st", marker(&field.markers, "structType").unwrap_or_default()),
            ("via", within.via.as_str()),
            ("n", within.number(field.number).unwrap_or_default().as_str()),
            ("d", marker(&field.markers, "default").unwrap_or_default()),
        ] {
            if !value.is_empty() && !value.starts_with("ref(") {
                write!(out, " {key}={value}")?;
            }
        }
        out.push('\n');
        Ok(())
    }

    fn type_text(&self, ty: &GoType) -> Result<String> {
        Ok(match ty {
            GoType::Basic(name) => match name.as_str() {
                "string" | "bool" | "int32" | "int64" | "float64" | "uint32" => name.clone(),
                "int" => "int64".to_owned(),
                other => bail!("the basic type {other} is not known"),
            },
            GoType::Pointer(inner) => format!("*{}", self.type_text(inner)?),
            GoType::List(inner) if **inner == GoType::Basic("byte".to_owned()) => "bytes".to_owned(),
            GoType::List(inner) => format!("[]{}", self.type_text(inner)?),
            GoType::Map(inner) => format!("{{}}{}", self.type_text(inner)?),
            GoType::Named(package, name) => match go::special(package, name) {
                Some(special) => special.to_owned(),
                None => {
                    let number = self.numbers.get(package.as_str());
                    format!("{}.{name}", number.with_context(|| format!("{package} is not reached"))?)
                }
            },
        })
    }
}

fn marker<'a>(markers: &'a [String], name: &str) -> Option<&'a str> {
    markers.iter().find_map(|marker| marker.strip_prefix(name)?.strip_prefix('='))
}
