//! `-o`: how an object is printed.

use serde_json::{Value, json};

use crate::columns;
use crate::failure::{Result, message};
use crate::gojson;
use crate::jsonpath::{self, Template};
use crate::mapping::Mapping;

/// How to print.
#[derive(Debug)]
pub(crate) enum Output {
    /// A table; wide: with all columns.
    Table {
        wide: bool,
    },
    /// `kind/name`.
    Name,
    Json,
    Yaml,
    JsonPath(Template),
    Columns(Vec<Column>),
}

/// One column of `-o custom-columns`.
#[derive(Debug)]
pub(crate) struct Column {
    title: String,
    path: jsonpath::Path,
}

impl Output {
    /// Reads the value of `-o`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::Table { wide: false }) };
        let (name, rest) = text.split_once('=').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match (name, rest) {
            ("", None) => Ok(Self::Table { wide: false }),
            ("wide", None) => Ok(Self::Table { wide: true }),
            ("name", None) => Ok(Self::Name),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("jsonpath", Some(template)) => Ok(Self::JsonPath(template_of(template)?)),
            ("jsonpath-file", Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|e| format!("error reading {file}: {e}"))?;
                Ok(Self::JsonPath(template_of(&text)?))
            }
            ("jsonpath", None) => message("template format specified but no template given"),
            ("custom-columns", Some(spec)) => columns_of(spec).map(Self::Columns),
            ("custom-columns", None) => message("custom-columns format specified but no custom columns given"),
            _ => message(format!(
                "unable to match a printer suitable for the output format {text:?}, allowed formats are: custom-columns,json,jsonpath,jsonpath-file,name,wide,yaml"
            )),
        }
    }

    /// Whether the server's table is what is printed.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table { .. })
    }

    /// Text for one object or a `List`. Not for tables.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        match self {
            Self::Json => Ok(gojson::pretty(value) + "\n"),
            Self::Yaml => Ok(api::yaml::to_yaml(value)),
            Self::Name | Self::Table { .. } => Ok(items(value).map(|item| name(item) + "\n").collect()),
            Self::JsonPath(template) => {
                template.render(value).map_err(|e| format!("error parsing jsonpath: {e}").into())
            }
            Self::Columns(columns) => render_columns(columns, value),
        }
    }
}

fn template_of(text: &str) -> Result<Template> {
    // A bare path is taken as if in braces.
    let braced = if text.contains('{') { text.to_owned() } else { format!("{{{text}}}") };
    Template::parse(&braced).map_err(|e| format!("error parsing jsonpath {text}, {e}").into())
}

fn columns_of(spec: &str) -> Result<Vec<Column>> {
    let parse = |part: &str| {
        let (title, path) = part
            .split_once(':')
            .ok_or_else(|| format!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"))?;
        Ok(Column { title: title.to_owned(), path: jsonpath::relaxed(path)? })
    };
    spec.split(',').map(parse).collect()
}

fn render_columns(columns: &[Column], value: &Value) -> Result<String> {
    let mut lines = vec![columns.iter().map(|column| column.title.clone()).collect::<Vec<_>>().join("\t")];
    for item in items(value) {
        let mut cells = Vec::new();
        for column in columns {
            let found = jsonpath::find(&column.path, item)?;
            let texts: Vec<String> = found.into_iter().map(jsonpath::text).collect();
            cells.push(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") });
        }
        lines.push(cells.join("\t"));
    }
    Ok(columns::align(&(lines.join("\n") + "\n"), 6, 3))
}

/// The items of a list, or the object itself.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value["items"].as_array().filter(|_| value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")));
    let alone = list.is_none().then_some(value);
    list.into_iter().flatten().chain(alone)
}

/// `daemonset.apps/fluentd`.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, _) = api::kinds::split_api_version(object["apiVersion"].as_str().unwrap_or_default());
    let kind = text(&object["kind"]).to_lowercase();
    let name = text(&object["metadata"]["name"]);
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

/// Items under one `List`, as kubectl prints several objects.
pub(crate) fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// The object without what nobody wants to read.
pub(crate) fn tidied(mut object: Value, mapping: Option<&Mapping>, show_managed_fields: bool) -> Value {
    if !show_managed_fields && let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    if let (Some(mapping), Value::Object(fields)) = (mapping, &mut object) {
        fields.entry("apiVersion").or_insert_with(|| mapping.api_version().into());
        fields.entry("kind").or_insert_with(|| mapping.kind.clone().into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_names_paths_and_columns() {
        let ds = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}});
        let list = list_of(vec![ds.clone(), pod]);
        let cases = [
            ("name", &list, "daemonset.apps/a\npod/b\n"),
            ("name", &ds, "daemonset.apps/a\n"),
            ("jsonpath={.items[*].kind}", &list, "DaemonSet Pod"),
            ("jsonpath=.kind", &ds, "DaemonSet"),
            ("custom-columns=N:.metadata.name,X:.spec.x", &list, "N     X\na     <none>\nb     <none>\n"),
        ];
        for (flag, value, want) in cases {
            assert_eq!(Output::parse(Some(flag)).unwrap().render(value).unwrap(), want, "{flag}");
        }
        for flag in ["toml", "jsonpath", "jsonpath={.a", "custom-columns=a"] {
            assert!(Output::parse(Some(flag)).is_err(), "{flag}");
        }
    }
}
