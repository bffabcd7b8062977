//! OpenAPI version 2 in protobuf, in the messages that kubectl was built with.
//!
//! Only the parts that `v2_document` uses are declared; field numbers are those of gnostic's `OpenAPIv2.proto`.
//!
//! Invariants: everything in the JSON document is in the encoded one.
//! Absent: decoding outside tests.

mod messages;

use crate::yaml::to_yaml;
use messages::{
    AdditionalProperties, AnyValue, ApiKeySecurity, BodyParameter, Document, Info, Items, NamedAny, NamedParameter,
    NamedPath, NamedResponse, NamedSchema, NamedSecurity, NamedStrings, NonBody, Operation, Parameter,
    ParameterDefinitions, ParameterItem, PathItem, PathParameter, Paths, Properties, QueryParameter, Reference,
    Response, ResponseValue, Responses, Schema, SchemaItem, Security, SecurityDefinitions, SecurityRequirement,
    Strings, additional, item, non_body, parameter, response, schema_item, security,
};
use prost::Message as _;
use serde_json::{Map, Value};

/// A version 2 document, as JSON, in protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    message(document).encode_to_vec()
}

fn message(document: &Value) -> Document {
    Document {
        swagger: text(document, "swagger"),
        info: Some(Info { title: text(&document["info"], "title"), version: text(&document["info"], "version") }),
        paths: Some(Paths {
            path: entries(&document["paths"])
                .map(|(name, value)| NamedPath { name, value: Some(path(value)) })
                .collect(),
        }),
        definitions: Some(Properties { properties: named_schemas(&document["definitions"]) }),
        parameters: Some(ParameterDefinitions {
            parameters: entries(&document["parameters"])
                .map(|(name, value)| NamedParameter { name, value: Some(parameter_of(value)) })
                .collect(),
        }),
        security: list(&document["security"]).iter().map(requirement).collect(),
        security_definitions: Some(SecurityDefinitions {
            definitions: entries(&document["securityDefinitions"])
                .map(|(name, value)| named_security(name, value))
                .collect(),
        }),
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.map(list).unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.clone(), value))
}

fn any(value: &Value) -> AnyValue {
    AnyValue { yaml: to_yaml(value) }
}

/// Keys that start with `x-`.
fn extensions(value: &Value) -> Vec<NamedAny> {
    entries(value)
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| NamedAny { name, value: Some(any(value)) })
        .collect()
}

fn requirement(value: &Value) -> SecurityRequirement {
    let schemes =
        entries(value).map(|(name, value)| NamedStrings { name, value: Some(Strings { value: texts(Some(value)) }) });
    SecurityRequirement { schemes: schemes.collect() }
}

fn named_security(name: String, value: &Value) -> NamedSecurity {
    let key = ApiKeySecurity {
        ty: text(value, "type"),
        name: text(value, "name"),
        place: text(value, "in"),
        description: text(value, "description"),
    };
    NamedSecurity { name, value: Some(Security { kind: Some(security::Kind::ApiKey(key)) }) }
}

fn path(value: &Value) -> PathItem {
    let operation = |method: &str| value.get(method).map(operation);
    PathItem {
        get: operation("get"),
        put: operation("put"),
        post: operation("post"),
        delete: operation("delete"),
        patch: operation("patch"),
        parameters: parameters(value),
    }
}

fn operation(value: &Value) -> Operation {
    let responses = value.get("responses").into_iter().flat_map(entries);
    Operation {
        tags: texts(value.get("tags")),
        operation_id: text(value, "operationId"),
        produces: texts(value.get("produces")),
        consumes: texts(value.get("consumes")),
        parameters: parameters(value),
        responses: Some(Responses { codes: responses.map(|(name, value)| named_response(name, value)).collect() }),
        schemes: texts(value.get("schemes")),
        extensions: extensions(value),
    }
}

fn named_response(name: String, value: &Value) -> NamedResponse {
    let schema = value.get("schema").map(|value| SchemaItem { kind: Some(schema_item::Kind::Schema(schema(value))) });
    let response = Response { description: text(value, "description"), schema };
    NamedResponse { name, value: Some(ResponseValue { kind: Some(response::Kind::Response(response)) }) }
}

fn parameters(value: &Value) -> Vec<ParameterItem> {
    let items = value.get("parameters").map(list).unwrap_or_default().iter();
    items
        .map(|value| {
            let kind = match value.get("$ref") {
                Some(_) => item::Kind::Reference(Reference { reference: text(value, "$ref") }),
                None => item::Kind::Parameter(Box::new(parameter_of(value))),
            };
            ParameterItem { kind: Some(kind) }
        })
        .collect()
}

fn parameter_of(value: &Value) -> Parameter {
    let kind = match value.get("in").and_then(Value::as_str) {
        Some("body") => parameter::Kind::Body(BodyParameter {
            name: text(value, "name"),
            place: text(value, "in"),
            required: flag(value, "required"),
            schema: value.get("schema").map(schema),
        }),
        Some("path") => parameter::Kind::NonBody(NonBody {
            kind: Some(non_body::Kind::Path(PathParameter {
                required: flag(value, "required"),
                place: text(value, "in"),
                name: text(value, "name"),
                ty: text(value, "type"),
                unique_items: flag(value, "uniqueItems"),
            })),
        }),
        _ => parameter::Kind::NonBody(NonBody {
            kind: Some(non_body::Kind::Query(QueryParameter {
                required: flag(value, "required"),
                place: text(value, "in"),
                name: text(value, "name"),
                ty: text(value, "type"),
                unique_items: flag(value, "uniqueItems"),
            })),
        }),
    };
    Parameter { kind: Some(kind) }
}

fn named_schemas(value: &Value) -> Vec<NamedSchema> {
    entries(value).map(|(name, value)| NamedSchema { name, value: Some(schema(value)) }).collect()
}

fn schema(value: &Value) -> Schema {
    let additional = value
        .get("additionalProperties")
        .map(|inner| AdditionalProperties { kind: Some(additional::Kind::Schema(schema(inner))) });
    Schema {
        reference: text(value, "$ref"),
        format: text(value, "format"),
        description: text(value, "description"),
        required: texts(value.get("required")),
        values: value.get("enum").map(list).unwrap_or_default().iter().map(any).collect(),
        additional_properties: additional.map(Box::new),
        ty: value.get("type").and_then(Value::as_str).map(|ty| Strings { value: vec![ty.to_owned()] }),
        items: value.get("items").map(|items| Items { schema: vec![schema(items)] }),
        properties: value.get("properties").map(|properties| Properties { properties: named_schemas(properties) }),
        extensions: extensions(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_document_is_encoded() {
        let json = super::super::v2_document(&[]);
        let decoded = Document::decode(encode(&json).as_slice()).expect("decodes");
        assert_eq!(decoded, message(&json));
        assert_eq!(decoded.swagger, "2.0");
        let paths = decoded.paths.expect("paths").path;
        assert_eq!(paths.len(), json["paths"].as_object().expect("paths").len());
        let definitions = decoded.definitions.expect("definitions").properties;
        assert_eq!(definitions.len(), json["definitions"].as_object().expect("definitions").len());
        let ports = definitions
            .iter()
            .find(|schema| schema.name == "io.k8s.api.core.v1.Container")
            .and_then(|schema| schema.value.as_ref()?.properties.as_ref())
            .and_then(|properties| properties.properties.iter().find(|property| property.name == "ports"))
            .and_then(|property| property.value.clone())
            .expect("ports");
        let extension = |name: &str| {
            let found = ports.extensions.iter().find(|extension| extension.name == name);
            found.and_then(|extension| extension.value.as_ref()).map(|value| value.yaml.clone())
        };
        assert_eq!(extension("x-kubernetes-patch-merge-key").as_deref(), Some("containerPort\n"));
        assert_eq!(extension("x-kubernetes-list-map-keys").as_deref(), Some("- containerPort\n- protocol\n"));
    }
}
