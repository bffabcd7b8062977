//! `metadata.managedFields`: who set which fields, when, and how.
//!
//! Invariants: no two entries of one manager, operation, subresource and, but for appliers, version; entries that
//! nobody touched are written back as they were read, without being taken apart. Where the fields came as text they are
//! read when someone asks what is in them, and go back as text.
//! Absent: deciding who owns what.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::set::Set;

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One manager's fields.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// When the fields were last changed; none when nothing was, as for those who only agree.
    pub(super) time: Option<String>,
    /// `fieldsV1`, in this server's spelling.
    pub(super) fields: Fields,
}

/// A manager's `fieldsV1`: parsed, or, in a stored object that was not parsed so far, a string that is its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Value);

impl Fields {
    /// The fields, parsed.
    fn parsed(&self) -> Cow<'_, Value> {
        match &self.0 {
            Value::String(text) => Cow::Owned(serde_json::from_str(text).unwrap_or_default()),
            fields => Cow::Borrowed(fields),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        match &self.0 {
            Value::String(text) => !text.starts_with("{\""),
            fields => fields.as_object().is_none_or(Map::is_empty),
        }
    }

    /// Whether all of a set is among them.
    pub(super) fn have(&self, set: &Set) -> bool {
        set.is_within(&self.parsed())
    }

    /// Whether one of a set is among them.
    pub(super) fn have_of(&self, set: &Set) -> bool {
        match &self.0 {
            // Looking for a name is cheap, and most often it is not there.
            Value::String(text) if !set.may_meet(text) => false,
            _ => set.meets(&self.parsed()),
        }
    }
}

impl From<Set> for Fields {
    fn from(set: Set) -> Fields {
        Fields(set.into_fields())
    }
}

impl Entry {
    /// Whether two entries are one manager's.
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The fields.
    pub(super) fn set(&self) -> Set {
        Set::from_stored(&self.fields.parsed())
    }

    /// Takes fields from the manager; whether it has any left.
    pub(super) fn lose(&mut self, gone: &Set) -> bool {
        if self.fields.have_of(gone) {
            self.fields = self.set().difference(gone).into();
        }
        !self.fields.is_empty()
    }

    fn read(entry: Value, is_stored: bool) -> Option<Entry> {
        let Value::Object(mut entry) = entry else { return None };
        let mut text = |name: &str| match entry.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let (api_version, fields_type) = (text("apiVersion"), text("fieldsType"));
        if api_version.is_empty() || fields_type != "FieldsV1" {
            return None;
        }
        let (manager, subresource, time) = (text("manager"), text("subresource"), text("time"));
        let fields = match entry.remove("fieldsV1") {
            Some(fields) if is_stored => Fields(fields),
            Some(fields) => Set::from_fields(&fields).ok()?.into(),
            None => Set::default().into(),
        };
        let time = Some(time).filter(|time| !time.is_empty());
        Some(Entry { manager, operation, api_version, subresource, time, fields })
    }

    fn write(self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("apiVersion", self.api_version.into());
        put("fieldsType", "FieldsV1".into());
        put("fieldsV1", self.fields.0);
        put("operation", self.operation.as_str().into());
        if !self.manager.is_empty() {
            put("manager", self.manager.into());
        }
        if !self.subresource.is_empty() {
            put("subresource", self.subresource.into());
        }
        if let Some(time) = self.time {
            put("time", time.into());
        }
        Value::Object(out)
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Entry>);

impl Entries {
    /// Those that this server stored in an object.
    pub(super) fn stored(object: &Value) -> Entries {
        Entries::trusted(object["metadata"]["managedFields"].clone())
    }

    /// A list that this server stored.
    pub(super) fn trusted(list: Value) -> Entries {
        Entries::read(list, true).unwrap_or_default()
    }

    /// Those that a client sent; none when one of them is unreadable.
    pub(super) fn sent(list: Value) -> Option<Entries> {
        Entries::read(list, false)
    }

    fn read(list: Value, is_stored: bool) -> Option<Entries> {
        let Value::Array(list) = list else { return Some(Entries::default()) };
        let mut out = Entries::default();
        for entry in list {
            let entry = Entry::read(entry, is_stored)?;
            match out.find(&entry) {
                Some(place) => out.0[place] = entry,
                None => out.0.push(entry),
            }
        }
        Some(out)
    }

    /// Where the entry of the same manager is.
    pub(super) fn find(&self, entry: &Entry) -> Option<usize> {
        self.0.iter().position(|there| there.is_same(entry))
    }

    /// Whether nobody owns anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts them into an object, appliers first, then by time and name; removes the list when there are none.
    pub(super) fn put_into(mut self, object: &mut Value) {
        self.0.sort_by(|a, b| {
            let order = |entry: &Entry| (entry.operation, entry.time.clone().unwrap_or_default());
            order(a).cmp(&order(b)).then_with(|| {
                (&a.manager, &a.api_version, &a.subresource).cmp(&(&b.manager, &b.api_version, &b.subresource))
            })
        });
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let Some(metadata) = metadata.as_object_mut() else { return };
        match self.0.is_empty() {
            true => metadata.remove("managedFields"),
            false => {
                let list = self.0.into_iter().map(Entry::write).collect();
                metadata.insert("managedFields".to_owned(), Value::Array(list))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_survive_in_order() {
        let entry = |manager: &str, operation: &str, time: &str| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}})
        };
        let list = json!([
            entry("b", "Update", "2026-01-01T00:00:00Z"),
            entry("a", "Update", "2026-01-02T00:00:00Z"),
            entry("z", "Apply", "2026-01-03T00:00:00Z"),
            entry("a", "Update", "2026-01-01T00:00:00Z"),
        ]);
        let mut object = json!({});
        Entries::sent(list.clone()).expect("entries").put_into(&mut object);
        let want = json!([list[2], list[3], list[0]]);
        assert_eq!(object["metadata"]["managedFields"], want, "one entry for each manager, appliers first, old first");
        Entries::default().put_into(&mut object);
        assert_eq!(object, json!({"metadata": {}}));
    }

    #[test]
    fn fields_that_came_as_text_are_those_fields() {
        let fields = json!({"f:spec": {"f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:\"": {}}}});
        let (text, tree) = (Fields(fields.to_string().into()), Fields(fields));
        for set in [
            json!({"f:spec": {"f:a": {}}}),
            json!({"f:spec": {"f:b": {}}}),
            json!({"f:status": {}}),
            json!({"f:metadata": {"f:labels": {"f:\"": {}}}}),
            json!({}),
        ] {
            let set = Set::from_fields(&set).expect("a set");
            assert_eq!((text.have(&set), text.have_of(&set)), (tree.have(&set), tree.have_of(&set)), "{set:?}");
        }
        assert!(!text.is_empty() && Fields("{}".into()).is_empty());
        let entry = json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "operation": "Update", "manager": "m"});
        let lost = |fields: Fields| {
            let mut read = Entry { fields, ..Entry::read(entry.clone(), true).expect("an entry") };
            assert!(read.lose(&Set::of(&["spec.a"])));
            read.write()
        };
        assert_eq!(lost(text.clone()), lost(tree));
        assert_eq!(
            Entry { fields: text.clone(), ..Entry::read(entry, true).expect("an entry") }.write()["fieldsV1"],
            text.0
        );
    }

    #[test]
    fn what_is_no_entry() {
        for (entry, is_one) in [
            (json!({"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}), true),
            (json!({"operation": "Sync", "apiVersion": "v1", "fieldsType": "FieldsV1"}), false),
            (json!({"operation": "Update", "fieldsType": "FieldsV1"}), false),
            (json!({"operation": "Update", "apiVersion": "v1"}), false),
            (
                json!({"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"a": {}}}),
                false,
            ),
        ] {
            assert_eq!(Entries::sent(json!([entry.clone()])).is_some(), is_one, "{entry}");
        }
    }
}
