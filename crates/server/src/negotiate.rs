//! What form a client wants its answer in, and what form its body has.

use api::status::{self, Status};
use http::{HeaderMap, header};

/// The shape of an answered object or list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The objects themselves.
    Whole,
    /// Rows for printing.
    Table,
    /// Metadata alone.
    Metadata,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// The shape.
    pub(crate) shape: Shape,
    /// The version of `meta.k8s.io` for tables and metadata.
    pub(crate) meta_version: &'static str,
    /// YAML instead of JSON.
    pub(crate) yaml: bool,
}

impl Form {
    /// Plain JSON.
    pub(crate) const WHOLE: Form = Form { shape: Shape::Whole, meta_version: "v1", yaml: false };
}

/// One media range of an Accept header.
struct Range<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Range<'a> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let params = parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
        Range { media, params }
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|text| Range::parse(text.trim()))
        .filter(|range| !range.media.is_empty())
        .collect()
}

/// The first form that the client accepts and we have.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accept(headers: &HeaderMap) -> Result<Form, Status> {
    let ranges = ranges(headers);
    if ranges.is_empty() {
        return Ok(Form::WHOLE);
    }
    for range in &ranges {
        let yaml = match range.media {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => continue,
        };
        let (shape, meta_version) = match (range.param("as"), range.param("g"), range.param("v")) {
            (None, _, _) => (Shape::Whole, "v1"),
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => (Shape::Table, "v1"),
            (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => (Shape::Table, "v1beta1"),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => {
                (Shape::Metadata, "v1")
            }
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1beta1")) => {
                (Shape::Metadata, "v1beta1")
            }
            _ => continue,
        };
        return Ok(Form { shape, meta_version, yaml });
    }
    Err(status::not_acceptable(&["application/json", "application/yaml"]))
}

/// Whether the client accepts a media type that only discovery has, with these parameters.
pub(crate) fn accepts_exactly(headers: &HeaderMap, media: &str, params: &[(&str, &str)]) -> bool {
    ranges(headers).iter().any(|r| r.media == media && params.iter().all(|(k, v)| r.param(k) == Some(*v)))
}

/// Whether the client accepts compressed bodies.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|c| c.trim().eq_ignore_ascii_case("gzip")))
}

/// The media type of a request's body without its parameters, lower case; empty when there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map(|v| v.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept_header: &str, want: Result<(Shape, &str, bool), u16>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept_header.parse().unwrap());
        let got = accept(&headers).map(|f| (f.shape, f.meta_version, f.yaml)).map_err(|s| s.code);
        assert_eq!(got, want, "{accept_header}");
    }

    #[test]
    fn the_first_form_we_have_wins() {
        check("application/json", Ok((Shape::Whole, "v1", false)));
        check("*/*", Ok((Shape::Whole, "v1", false)));
        check("application/vnd.kubernetes.protobuf, application/json", Ok((Shape::Whole, "v1", false)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Ok((Shape::Table, "v1", false)),
        );
        check("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Ok((Shape::Metadata, "v1", false)));
        check("application/yaml", Ok((Shape::Whole, "v1", true)));
        check("application/vnd.kubernetes.protobuf", Err(406));
        check("application/json;as=Chair;g=meta.k8s.io;v=v1", Err(406));
    }
}
