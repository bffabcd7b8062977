//! What Kubernetes says of its types and fields.
//!
//! The table is made at build time (see `build.rs`) and kept compressed: it is large and rarely read.
//!
//! Invariants: nothing of it stays once a document is made.
//! Absent: texts of operations and of lists; what single values of an enumeration mean.

use flate2::read::ZlibDecoder;
use std::collections::BTreeMap;
use std::io::Read as _;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texts.zlib"));

/// The table as text; empty when it is damaged, which leaves documents without descriptions.
pub(super) fn unpacked() -> String {
    let mut text = String::new();
    match ZlibDecoder::new(TABLE).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// The texts of an unpacked table by type and field; a type's own is under the empty name.
pub(super) struct Texts<'t>(BTreeMap<(&'t str, &'t str), &'t str>);

impl<'t> Texts<'t> {
    pub(super) fn read(table: &'t str) -> Self {
        let mut texts = BTreeMap::new();
        let mut ty = "";
        for (name, text) in table.split('\0').filter_map(|entry| entry.split_once('\u{1}')) {
            match name.strip_prefix('.') {
                Some(field) => texts.insert((ty, field), text),
                None => {
                    ty = name;
                    texts.insert((ty, ""), text)
                }
            };
        }
        Texts(texts)
    }

    /// What is said of a type.
    pub(super) fn of_type(&self, name: &str) -> Option<&'t str> {
        self.0.get(&(name, "")).copied()
    }

    /// What is said of a field.
    pub(super) fn of_field(&self, ty: &str, field: &str) -> Option<&'t str> {
        self.0.get(&(ty, field)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    /// Most fields that Kubernetes says nothing of: those of schemas, of versions, and of structs that Go embeds.
    const SILENT_MAX: usize = 13;

    #[test]
    fn types_and_fields_have_texts() {
        let table = unpacked();
        let texts = Texts::read(&table);
        let mut missing = Vec::new();
        let mut told = 0;
        for ty in schema().types() {
            let name = ty.full_name();
            if texts.of_type(&name).is_none() || ty.name == "JSONSchemaProps" {
                continue;
            }
            for field in ty.fields() {
                match texts.of_field(&name, field.name) {
                    Some(_) => told += 1,
                    None => missing.push(format!("{name}.{}", field.name)),
                }
            }
        }
        assert!(missing.len() <= SILENT_MAX && told > 2000, "{told} have texts, these have none: {missing:#?}");
        let escaped = texts.of_field("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", "rollingUpdate").expect("a text");
        assert!(escaped.contains("\"RollingUpdate\""), "{escaped}");
    }
}
