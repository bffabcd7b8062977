//! Pods read only as far as a write looks: what it can't change stays the text that it is in the store.
//!
//! Binding, deletion and a node's report change a few fields, and most of a pod is something else.
//!
//! # Invariants
//! - An outline is stored byte for byte as the whole object would be.
//! - What stays text is text of the store, never of a request.

use std::sync::LazyLock;

use api::kinds::Kind;
use api::status::{self, Status};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use store::Entry;

use crate::object;

/// Members of the metadata that may stay text: who manages what is a third of a pod.
const METADATA: [&str; 1] = ["managedFields"];
/// Members of the spec that may stay text.
const SPEC: [&str; 6] = ["affinity", "containers", "ephemeralContainers", "initContainers", "tolerations", "volumes"];
/// The member of a manager's entry that holds its fields.
const FIELDS: &str = "fieldsV1";

/// An object, of which some members may be left out and stand beside it as text.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) object: Value,
    pub(crate) left: Left,
}

/// What was left as text, each part in the order of its members' names.
#[derive(Debug, Default, Clone)]
pub(crate) struct Left {
    pub(crate) metadata: Vec<(String, Bytes)>,
    pub(crate) spec: Vec<(String, Bytes)>,
    /// Managers' `fieldsV1` are strings of their text; all else of `managedFields` is parsed.
    pub(crate) fields: bool,
}

impl From<Value> for Outline {
    fn from(object: Value) -> Outline {
        Outline { object, left: Left::default() }
    }
}

impl Outline {
    /// An object for a write that looks at its metadata, but not at its managers, and at single values of its spec.
    ///
    /// # Errors
    /// 500 when the stored bytes are broken.
    pub(crate) fn of_few_fields(kind: &Kind, entry: &Entry) -> Result<Outline, Status> {
        match is_pod(kind).then(|| of_pod(entry, Managers::AsText)).flatten() {
            Some(outline) => Ok(outline),
            None => Ok(object::decode_as(kind, entry)?.into()),
        }
    }

    /// An object for a write of its status alone.
    ///
    /// # Errors
    /// 500 when the stored bytes are broken.
    pub(crate) fn of_status(kind: &Kind, entry: &Entry) -> Result<Outline, Status> {
        static ENDED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"terminated\""));
        // Whether a container that ended may run again, its spec says.
        let is_outlined = is_pod(kind) && ENDED.find(&entry.value).is_none();
        match is_outlined.then(|| of_pod(entry, Managers::WithText)).flatten() {
            Some(outline) => Ok(outline),
            None => Ok(object::decode_as(kind, entry)?.into()),
        }
    }

    /// The whole object.
    ///
    /// # Errors
    /// 500 when the text left is broken.
    pub(crate) fn whole(mut self) -> Result<Value, Status> {
        let read = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(status::internal);
        for (holder, left) in [("metadata", &self.left.metadata), ("spec", &self.left.spec)] {
            for (name, text) in left {
                if self.object[holder].get(name).is_none() {
                    self.object[holder][name] = read(text)?;
                }
            }
        }
        if self.left.fields {
            let managers = self.object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
            for manager in managers.into_iter().flatten() {
                if let Some(fields) = manager[FIELDS].as_str() {
                    manager[FIELDS] = read(fields.as_bytes())?;
                }
            }
        }
        Ok(self.object)
    }

    /// Takes away the account of the managers; whether there was one.
    pub(crate) fn forget_managers(&mut self) -> bool {
        let parsed = object::metadata_mut(&mut self.object).remove("managedFields").is_some();
        let before = self.left.metadata.len();
        self.left.metadata.retain(|(name, _)| name != "managedFields");
        parsed || self.left.metadata.len() < before
    }
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

/// How `managedFields` is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Managers {
    /// Not at all.
    AsText,
    /// Parsed, but for the fields of each.
    WithText,
}

/// None when the text is not in the store's own form; whoever reads all of it has the words for that.
fn of_pod(entry: &Entry, managers: Managers) -> Option<Outline> {
    let text = std::str::from_utf8(&entry.value).ok()?;
    let mut left = Left { fields: managers == Managers::WithText, ..Left::default() };
    let mut object = Map::new();
    for member in Members::of(text)? {
        let (name, value) = member?;
        let value = match name {
            "metadata" => part(&entry.value, value, &mut left.metadata, |name| match METADATA.contains(&name) {
                true if managers == Managers::AsText => Part::Left,
                true => Part::Managers,
                false => Part::Read,
            })?,
            "spec" => part(&entry.value, value, &mut left.spec, |name| match SPEC.contains(&name) {
                true => Part::Left,
                false => Part::Read,
            })?,
            _ => serde_json::from_str(value).ok()?,
        };
        object.insert(name.to_owned(), value);
    }
    let mut object = Value::Object(object);
    object::set_revision(&mut object, entry.mod_revision);
    Some(Outline { object, left })
}

/// What becomes of a member.
enum Part {
    Read,
    Left,
    Managers,
}

fn part(all: &Bytes, text: &str, left: &mut Vec<(String, Bytes)>, what: impl Fn(&str) -> Part) -> Option<Value> {
    let mut map = Map::new();
    for member in Members::of(text)? {
        let (name, value) = member?;
        let value = match what(name) {
            Part::Read => serde_json::from_str(value).ok()?,
            Part::Managers => managers(value)?,
            Part::Left => {
                left.push((name.to_owned(), all.slice_ref(value.as_bytes())));
                continue;
            }
        };
        map.insert(name.to_owned(), value);
    }
    Some(Value::Object(map))
}

/// A list of managers with the fields of each as their text.
fn managers(text: &str) -> Option<Value> {
    let mut list = Vec::new();
    for item in Items::of(text)? {
        let mut manager = Map::new();
        for member in Members::of(item?)? {
            let (name, value) = member?;
            let value = match name == FIELDS && value.starts_with('{') {
                true => Value::String(value.to_owned()),
                // A string would be taken for such a text.
                false if name == FIELDS => return None,
                false => serde_json::from_str(value).ok()?,
            };
            manager.insert(name.to_owned(), value);
        }
        list.push(Value::Object(manager));
    }
    Some(Value::Array(list))
}

/// The members of an object in compact JSON, as names and texts of values; none where it is anything else.
struct Members<'a>(Items<'a>);

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Option<Members<'a>> {
        Some(Members(Items { rest: text.strip_prefix('{')?.strip_suffix('}')? }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Option<(&'a str, &'a str)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest.is_empty() {
            return None;
        }
        let name = self.0.value().and_then(|name| name.strip_prefix('"')?.strip_suffix('"'));
        // Names with escapes are nowhere in what is read so.
        let name = name.filter(|name| !name.contains('\\'));
        let value = self.0.rest.strip_prefix(':').map(|rest| self.0.rest = rest).and_then(|()| self.0.next().flatten());
        Some(name.zip(value))
    }
}

/// The items of a list in compact JSON, as texts; none where it is anything else.
struct Items<'a> {
    rest: &'a str,
}

impl<'a> Items<'a> {
    fn of(text: &'a str) -> Option<Items<'a>> {
        Some(Items { rest: text.strip_prefix('[')?.strip_suffix(']')? })
    }

    /// The text of the value that comes next.
    fn value(&mut self) -> Option<&'a str> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (value, rest) = self.rest.split_at_checked(values.byte_offset())?;
        self.rest = rest;
        Some(value)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let value = self.value();
        match self.rest.strip_prefix(',') {
            Some(rest) if !rest.is_empty() => self.rest = rest,
            None if self.rest.is_empty() => {}
            _ => return Some(None),
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::Revision;

    use super::*;

    fn pods() -> &'static Kind {
        api::kinds::find("", "v1", "pods").unwrap()
    }

    fn entry(value: impl Into<Bytes>) -> Entry {
        Entry {
            key: Bytes::from_static(b"k"),
            value: value.into(),
            create_revision: Revision(1),
            mod_revision: Revision(7),
        }
    }

    fn objects() -> Vec<Value> {
        let manager =
            |fields: Value| json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": "m"});
        let fields = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}});
        vec![
            json!({"metadata": {"name": "p"}}),
            json!({"metadata": {"name": "p", "managedFields": []}, "spec": {}, "status": {}}),
            json!({"metadata": {"name": "p", "annotations": {"a,b": "{\"x\":[1,2]}", "\"": "}]"}, "zebra": "é",
                "managedFields": [manager(fields), manager(json!({})), {"manager": "none"}]},
                "spec": {"a": 1.5, "affinity": {"x": null}, "containers": [{"name": "c", "args": ["\\\"", ",", "{"]}],
                    "hostNetwork": true, "initContainers": [], "nodeName": "n", "tolerations": [{"key": "k"}], "volumes": null},
                "status": {"phase": "Running"}}),
        ]
    }

    #[test]
    fn outlines_are_stored_as_the_whole_object() {
        for object in objects() {
            let entry = entry(object::encode(&object).unwrap());
            let whole = object::decode_as(pods(), &entry).unwrap();
            for outline in [Outline::of_few_fields, Outline::of_status] {
                let outline = outline(pods(), &entry).unwrap();
                assert_eq!(object::encode_as(pods(), &outline).unwrap(), entry.value);
                assert_eq!(outline.object["metadata"]["resourceVersion"], "7");
                assert!(outline.object["spec"].get("containers").is_none());
                assert_eq!(outline.whole().unwrap(), whole);
            }
        }
    }

    #[test]
    fn what_changes_stands_in_its_place() {
        let object = objects().pop().unwrap();
        let entry = entry(object::encode(&object).unwrap());
        let change = |object: &mut Value| {
            object["metadata"]["labels"] = json!({"l": "1"});
            object["metadata"]["zz"] = 1.into();
            object["spec"]["nodeName"] = "other".into();
            object["spec"]["volumes"] = json!([]);
            object["spec"]["aa"] = json!({});
            object["status"] = json!({"phase": "Failed"});
        };
        let mut whole = object::decode_as(pods(), &entry).unwrap();
        change(&mut whole);
        for outline in [Outline::of_few_fields, Outline::of_status] {
            let mut outline = outline(pods(), &entry).unwrap();
            change(&mut outline.object);
            assert_eq!(object::encode_as(pods(), &outline).unwrap(), object::encode(&whole).unwrap());
            assert_eq!(outline.whole().unwrap(), whole);
        }
    }

    #[test]
    fn managers_are_forgotten_wherever_they_stand() {
        let entry = entry(object::encode(&objects()[2]).unwrap());
        for outline in [Outline::of_few_fields, Outline::of_status] {
            let mut outline = outline(pods(), &entry).unwrap();
            assert!(outline.forget_managers() && !outline.forget_managers());
            assert!(outline.whole().unwrap()["metadata"].get("managedFields").is_none());
        }
    }

    #[test]
    fn what_is_not_as_stored_is_read_whole() {
        let text = r#"{"metadata":{"managedFields":[{"fieldsV1":"{}"}],"name":"p"},"spec":{"containers":[]}}"#;
        let outline = Outline::of_status(pods(), &entry(text)).unwrap();
        assert!(outline.left.spec.is_empty() && !outline.left.fields);
        let services = api::kinds::find("", "v1", "services").unwrap();
        let text = r#"{"metadata":{"managedFields":[],"name":"p"},"spec":{"containers":[]}}"#;
        assert!(Outline::of_few_fields(services, &entry(text)).unwrap().left.metadata.is_empty());
        let text = r#"{"metadata": {"managedFields":[], "name":"p"},"spec":{"containers":[]}}"#;
        assert_eq!(Outline::of_few_fields(pods(), &entry(text)).unwrap().whole().unwrap()["metadata"]["name"], "p");
        for broken in [
            "",
            "{",
            "{}}",
            "[]",
            r#"{"metadata":{"name":"p",}}"#,
            r#"{"metadata":{"name":}}"#,
            r#"{"metadata":{"name"}}"#,
        ] {
            assert!(of_pod(&entry(broken), Managers::AsText).is_none(), "{broken}");
        }
    }
}
