//! Reads the table's text.
//!
//! Invariants: one pass to number the types, one to read them; names stay slices of the text.
//! Absent: any other format.

use super::{Body, Field, ListType, Schema, Struct, Ty, Type, TypeId};

/// What is wrong with the text.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}: write the table anew with `cargo xtask schema`")]
pub(super) struct ParseError {
    line: usize,
    what: &'static str,
}

/// A type's place: package number and name.
type Key = (usize, &'static str);

pub(super) fn parse(text: &'static str) -> Result<Schema, ParseError> {
    let mut parser = Parser { packages: Vec::new(), numbers: Vec::new() };
    parser.number(text)?;
    let mut types: Vec<Type> = Vec::with_capacity(parser.numbers.len());
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        let read = parser.read(line, &mut types);
        read.map_err(|what| ParseError { line: line_number, what })?;
    }
    for number in 0..types.len() {
        let always = always_written(&types, number);
        if let Body::Struct(body) = &mut types[number].body {
            body.always = always;
        }
    }
    let mut by_name: Vec<TypeId> = (0..types.len()).map(|number| TypeId(number as u16)).collect();
    by_name.sort_by_key(|id| {
        let ty = &types[usize::from(id.0)];
        (ty.package, ty.name)
    });
    Ok(Schema { types, by_name })
}

struct Parser {
    packages: Vec<&'static str>,
    /// Types' keys in the order of the text, sorted for look-up along with their numbers.
    numbers: Vec<(Key, u16)>,
}

impl Parser {
    fn number(&mut self, text: &'static str) -> Result<(), ParseError> {
        for (number, line) in text.lines().enumerate() {
            let error = |what| ParseError { line: number + 1, what };
            let mut words = line.split(' ');
            match words.next() {
                Some("P") => self.packages.push(words.nth(1).ok_or(error("a package has no name"))?),
                Some("S" | "A") => {
                    let key = words.next().and_then(key).ok_or(error("a type has no name"))?;
                    let next = u16::try_from(self.numbers.len()).map_err(|_| error("too many types"))?;
                    self.numbers.push((key, next));
                }
                _ => {}
            }
        }
        self.numbers.sort_unstable();
        Ok(())
    }

    fn read(&self, line: &'static str, types: &mut Vec<Type>) -> Result<(), &'static str> {
        if let Some(field) = line.strip_prefix(' ') {
            let Some(Type { body: Body::Struct(body), .. }) = types.last_mut() else {
                return Err("a field outside a struct");
            };
            body.fields.push(self.field(field)?);
            return Ok(());
        }
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        if what != "S" && what != "A" {
            return Ok(());
        }
        let (package, name) = words.next().and_then(key).ok_or("a type has no name")?;
        let package = *self.packages.get(package).ok_or("an unknown package")?;
        let rest = words.next();
        let body = if what == "A" {
            Body::Alias(self.ty(rest.ok_or("an alias without a type")?)?)
        } else {
            Body::Struct(Struct { fields: Vec::new(), always: Vec::new() })
        };
        let values = line.split_once(" e=").map(|(_, values)| values);
        types.push(Type { package, name, body, atomic: rest == Some("st=atomic"), values });
        Ok(())
    }

    fn field(&self, line: &'static str) -> Result<Field, &'static str> {
        let mut words = line.split(' ');
        let name = words.next().ok_or("a field has no name")?;
        let text = words.next().ok_or("a field has no type")?;
        let (pointer, text) = text.strip_prefix('*').map_or((false, text), |text| (true, text));
        let mut field = Field {
            name,
            ty: self.ty(text)?,
            pointer,
            omitempty: false,
            omitzero: false,
            required: false,
            merge: false,
            replace: false,
            retain_keys: false,
            merge_key: None,
            list_type: None,
            list_map_keys: Vec::new(),
            atomic: false,
            granular: false,
            via: "",
            wire: "",
            default: None,
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("o", _) => field.omitempty = true,
                ("z", _) => field.omitzero = true,
                ("r", _) => field.required = true,
                ("ps", value) => {
                    let has = |name| value.split(',').any(|part| part == name);
                    field.merge = has("merge");
                    field.replace = has("replace");
                    field.retain_keys = has("retainKeys");
                }
                ("pk", value) => field.merge_key = Some(value),
                ("lt", "atomic") => field.list_type = Some(ListType::Atomic),
                ("lt", "set") => field.list_type = Some(ListType::Set),
                ("lt", "map") => field.list_type = Some(ListType::Map),
                ("lk", value) => field.list_map_keys = value.split(',').collect(),
                ("mt" | "st", "atomic") => field.atomic = true,
                ("mt" | "st", "granular") => field.granular = true,
                ("via", value) => field.via = value,
                ("n", value) => field.wire = value,
                ("d", value) => field.default = Some(value),
                _ => return Err("an unknown property of a field"),
            }
        }
        Ok(field)
    }

    fn ty(&self, text: &'static str) -> Result<Ty, &'static str> {
        if let Some(item) = text.strip_prefix("[]") {
            return Ok(Ty::List(leak(self.ty(item.trim_start_matches('*'))?)));
        }
        if let Some(item) = text.strip_prefix("{}") {
            return Ok(Ty::Map(leak(self.ty(item.trim_start_matches('*'))?)));
        }
        Ok(match text {
            "string" => Ty::String,
            "bool" => Ty::Bool,
            "int32" => Ty::Int32,
            "int64" => Ty::Int64,
            "uint32" => Ty::Uint32,
            "float64" => Ty::Float64,
            "bytes" => Ty::Bytes,
            "Quantity" => Ty::Quantity,
            "IntOrString" => Ty::IntOrString,
            "Time" => Ty::Time,
            "MicroTime" => Ty::MicroTime,
            "Duration" => Ty::Duration,
            "RawExtension" => Ty::RawExtension,
            "FieldsV1" => Ty::FieldsV1,
            "Patch" => Ty::Patch,
            "JSON" => Ty::Json,
            "SchemaOrArray" => Ty::SchemaOrArray,
            "SchemaOrBool" => Ty::SchemaOrBool,
            "SchemaOrStrings" => Ty::SchemaOrStrings,
            _ => {
                let key = key(text).ok_or("an unknown type")?;
                let place = self.numbers.binary_search_by_key(&key, |entry| entry.0);
                Ty::Ref(TypeId(self.numbers[place.map_err(|_| "a reference to no type")?].1))
            }
        })
    }
}

/// The table lives as long as the program and is parsed once, so its few nested types need no owner.
fn leak(ty: Ty) -> &'static Ty {
    Box::leak(Box::new(ty))
}

fn key(text: &'static str) -> Option<Key> {
    let (package, name) = text.split_once('.')?;
    Some((package.parse().ok()?, name))
}

/// Places of the fields that Go writes even when they are unset: those without `omitempty`, and structs held by value,
/// which `omitempty` does not leave out.
fn always_written(types: &[Type], number: usize) -> Vec<u8> {
    let fields = types[number].fields();
    let is_written = |field: &Field| {
        let is_struct = !field.pointer && is_go_struct(types, field.ty);
        !field.omitzero && (!field.omitempty || is_struct)
    };
    (0u8..).zip(fields).filter(|(_, field)| is_written(field)).map(|(place, _)| place).collect()
}

fn is_go_struct(types: &[Type], ty: Ty) -> bool {
    match ty {
        Ty::Ref(id) => match types[usize::from(id.0)].body {
            Body::Struct(_) => true,
            Body::Alias(other) => is_go_struct(types, other),
        },
        Ty::Quantity
        | Ty::IntOrString
        | Ty::Time
        | Ty::MicroTime
        | Ty::Duration
        | Ty::RawExtension
        | Ty::FieldsV1
        | Ty::Patch
        | Ty::Json
        | Ty::SchemaOrArray
        | Ty::SchemaOrBool
        | Ty::SchemaOrStrings => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_text_is_named_by_its_line() {
        for (text, message) in [
            ("P 0 p\n name string", "line 2: a field outside a struct"),
            ("P 0 p\nS 0.A\n name nothing", "line 3: an unknown type"),
            ("P 0 p\nS 0.A\n name 0.B", "line 3: a reference to no type"),
            ("P 0 p\nS 0.A\n name string q=1", "line 3: an unknown property of a field"),
            ("S 1.A", "line 1: an unknown package"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
