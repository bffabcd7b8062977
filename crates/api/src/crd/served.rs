//! The kinds that a definition serves.
//!
//! Invariants: nothing is served before its names are accepted.
//! Absent: which definitions there are.

use std::sync::Arc;

use serde_json::Value;

use super::columns::Column;
use super::intern::{Full, Interner};
use super::scale::Scale;
use super::schema::{Schema, list, texts};
use super::{Custom, status};
use crate::kinds::{CRUD, Kind, Subresource};

/// Group and plural of what a definition defines.
pub fn group_resource(definition: &Value) -> (&str, &str) {
    let text = |path: &str| definition.pointer(path).and_then(Value::as_str).unwrap_or_default();
    (text("/spec/group"), text("/spec/names/plural"))
}

/// The kinds that a stored definition serves, one for each served version; none before its names are accepted.
///
/// # Errors
/// When the server keeps too many names.
pub fn served(definition: &Value, interner: &mut Interner) -> Result<Vec<Kind>, Full> {
    let is_on = |condition: &str| status::is_true(definition, condition);
    if !is_on("NamesAccepted") && !is_on("Established") {
        return Ok(Vec::new());
    }
    let versions = list(&definition["spec"], "versions");
    let name_of = |version: &Value| version["name"].as_str().unwrap_or_default().to_owned();
    let storage = versions.iter().find(|v| v["storage"] == true).map(name_of).unwrap_or_default();
    let is_served = |version: &&Value| version["served"] == true;
    let served_versions: Vec<String> = versions.iter().filter(is_served).map(name_of).collect();
    versions.iter().filter(is_served).map(|v| kind(definition, v, &storage, &served_versions, interner)).collect()
}

fn kind(
    definition: &Value,
    version: &Value,
    storage: &str,
    served: &[String],
    interner: &mut Interner,
) -> Result<Kind, Full> {
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = group_resource(definition);
    let (name, kind) = (text(&version["name"]), text(&names["kind"]));
    let type_name: String = group.split('.').rev().chain([name.as_str(), kind.as_str()]).collect::<Vec<_>>().join(".");
    let subresources: &'static [Subresource] =
        match (version["subresources"]["scale"].is_object(), version["subresources"]["status"].is_object()) {
            (true, true) => &[Subresource::Scale, Subresource::Status],
            (true, false) => &[Subresource::Scale],
            (false, true) => &[Subresource::Status],
            (false, false) => &[],
        };
    let custom = custom(definition, version, storage, served, &kind);
    Ok(Kind {
        group: interner.text(group)?,
        version: interner.text(&name)?,
        kind: interner.text(&kind)?,
        plural: interner.text(plural)?,
        singular: interner.text(&text(&names["singular"]))?,
        short_names: interner.list(&texts(names, "shortNames"))?,
        categories: interner.list(&texts(names, "categories"))?,
        namespaced: definition["spec"]["scope"] == "Namespaced",
        type_name: interner.text(&type_name)?,
        subresources,
        verbs: CRUD,
        served_only: false,
        stored_as: None,
        custom: Some(Arc::new(custom)),
    })
}

fn custom(definition: &Value, version: &Value, storage: &str, served: &[String], kind: &str) -> Custom {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let schema = &version["schema"]["openAPIV3Schema"];
    let deprecation = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(text) => text.to_owned(),
        None => format!(
            "{}/{} {kind} is deprecated",
            spec["group"].as_str().unwrap_or_default(),
            version["name"].as_str().unwrap_or_default()
        ),
    });
    let selectable = list(version, "selectableFields");
    let path_of = |field: &Value| field["jsonPath"].as_str().map(|path| path.trim_start_matches('.').to_owned());
    Custom {
        list_kind: names["listKind"].as_str().unwrap_or_default().to_owned(),
        storage_version: storage.to_owned(),
        served_versions: served.to_vec(),
        schema: Schema::compile(schema),
        preserves_unknown: spec["preserveUnknownFields"] == true,
        scale: Scale::read(&version["subresources"]["scale"]),
        selectable: selectable.iter().filter_map(path_of).collect(),
        deprecation,
        is_terminating: status::is_terminating(definition),
        needs_webhook: spec["conversion"]["strategy"] == "Webhook",
        columns: Column::read_all(list(version, "additionalPrinterColumns")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_for_each_served_version() {
        let mut definition = json!({"spec": {"group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true},
                {"name": "v1alpha1", "served": false, "storage": false}]},
            "status": {"acceptedNames": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab",
                "listKind": "CronTabList", "shortNames": ["ct"]}}});
        let mut interner = Interner::default();
        assert!(served(&definition, &mut interner).expect("room").is_empty());
        definition["status"]["conditions"] = json!([{"type": "NamesAccepted", "status": "True"}]);
        let kinds = served(&definition, &mut interner).expect("room");
        let names: Vec<String> = kinds.iter().map(Kind::api_version).collect();
        assert_eq!(names, ["stable.example.com/v1", "stable.example.com/v1beta1"]);
        assert_eq!(kinds[0].type_name, "com.example.stable.v1.CronTab");
        assert_eq!((kinds[0].short_names, kinds[0].list_kind().as_str()), (&["ct"][..], "CronTabList"));
        assert!(kinds[0].has(Subresource::Status) && !kinds[1].has(Subresource::Status));
        let custom = kinds[1].custom.as_ref().expect("a custom kind");
        assert_eq!(custom.deprecation.as_deref(), Some("stable.example.com/v1beta1 CronTab is deprecated"));
        assert_eq!((custom.storage_version.as_str(), custom.served_versions.len()), ("v1", 2));
    }
}
