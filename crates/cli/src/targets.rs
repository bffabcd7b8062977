//! What a verb works on: objects named by words, by files or by a selector.

use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query};
use crate::failure::{Failure, Result, message};
use crate::files::{self, FileArgs};
use crate::mapping::{self, Mapping};

/// Flags that choose among the objects of a kind.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SelectArgs {
    /// Only objects whose labels match
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Only objects whose fields match
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) field_selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

impl SelectArgs {
    /// The selectors as request parameters.
    pub(crate) fn query(&self) -> Query {
        Query::new()
            .with_some("labelSelector", self.selector.clone().filter(|s| !s.is_empty()))
            .with_some("fieldSelector", self.field_selector.clone().filter(|s| !s.is_empty()))
    }

    /// Whether a selector was given.
    pub(crate) fn selects(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// The namespace to look in; None for all.
    pub(crate) fn namespace<'a>(&self, api: &'a Api) -> Option<&'a str> {
        (!self.all_namespaces).then_some(api.namespace.as_str())
    }
}

/// What the words of a command line name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// `TYPE[,TYPE]`: all of them, or those that a selector chooses.
    Types(Vec<Mapping>),
    /// `TYPE NAME...` or `TYPE/NAME...`.
    Objects(Vec<(Mapping, String)>),
}

/// Reads `TYPE[,TYPE] [NAME...]` or `TYPE/NAME...`.
pub(crate) async fn read_words(api: &Api, words: &[String]) -> Result<Named> {
    if words.iter().any(|word| word.contains('/')) {
        let mut objects = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return message(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
                );
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return message(format!(
                    "arguments in resource/name form must have a single resource and name, got {word:?}"
                ));
            }
            objects.push((mapping::by_name(api, kind).await?, name.to_owned()));
        }
        return Ok(Named::Objects(objects));
    }
    let Some((kinds, names)) = words.split_first() else {
        return message(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        );
    };
    let mut types: Vec<Mapping> = Vec::new();
    for name in kinds.split(',').filter(|name| !name.is_empty()) {
        if name == "all" {
            types.extend(all_category().map(Mapping::from));
        } else {
            types.push(mapping::by_name(api, name).await?);
        }
    }
    if names.is_empty() {
        return Ok(Named::Types(types));
    }
    let pairs = types.iter().flat_map(|kind| names.iter().map(|name| (kind.clone(), name.clone())));
    Ok(Named::Objects(pairs.collect()))
}

fn all_category() -> impl Iterator<Item = &'static api::kinds::Kind> {
    api::kinds::KINDS.iter().filter(|kind| kind.categories.contains(&"all"))
}

/// One object that a verb works on.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) mapping: Mapping,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// As it stands on the server, or as the file has it.
    pub(crate) object: Option<Value>,
    /// The file it came from.
    pub(crate) source: Option<String>,
}

impl Target {
    /// Its path on the server.
    pub(crate) fn path(&self) -> String {
        self.mapping.object(&self.namespace, &self.name)
    }

    /// `daemonset.apps/fluentd`.
    pub(crate) fn word(&self) -> String {
        format!("{}/{}", self.mapping.word(), self.name)
    }

    /// The object on the server.
    pub(crate) async fn get(&self, api: &Api) -> Result<Value> {
        api.get(&self.path(), &Query::new()).await
    }
}

/// How a verb's command line names its objects.
pub(crate) struct Wanted<'a> {
    pub(crate) words: &'a [String],
    pub(crate) files: &'a FileArgs,
    pub(crate) select: &'a SelectArgs,
    /// `--all`: all objects of the types.
    pub(crate) all: bool,
}

/// The objects, those named by words not yet looked up. Fails for the first that can't be told; objects that are not
/// there are found out by whoever uses them.
pub(crate) async fn find(api: &Api, wanted: &Wanted<'_>) -> Result<Vec<Target>> {
    if wanted.files.given() {
        if !wanted.words.is_empty() {
            return message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            );
        }
        let mut targets = Vec::new();
        for document in files::read(wanted.files)? {
            targets.push(of_document(api, document).await?);
        }
        return Ok(targets);
    }
    let by_selector = wanted.all || wanted.select.selects();
    match read_words(api, wanted.words).await? {
        Named::Objects(_) if wanted.select.selects() => message("name cannot be provided when a selector is specified"),
        Named::Objects(_) if wanted.all => message("setting 'all' parameter but found a non empty selector or names"),
        Named::Objects(pairs) => Ok(pairs.into_iter().map(|(mapping, name)| named(api, mapping, name)).collect()),
        Named::Types(_) if !by_selector => message("resource(s) were provided, but no name was specified"),
        Named::Types(types) => {
            let mut targets = Vec::new();
            for mapping in types {
                targets.extend(all_of(api, &mapping, wanted.select).await?);
            }
            Ok(targets)
        }
    }
}

fn named(api: &Api, mapping: Mapping, name: String) -> Target {
    let namespace = if mapping.namespaced { api.namespace.clone() } else { String::new() };
    Target { mapping, namespace, name, object: None, source: None }
}

async fn all_of(api: &Api, mapping: &Mapping, select: &SelectArgs) -> Result<Vec<Target>> {
    let path = mapping.collection(select.namespace(api));
    let list =
        api.list(&path, &select.query(), false, PAGE_OBJECTS).await.map_err(|e| explain_list(e, mapping, select))?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().map(|item| of_item(mapping, item)).collect())
}

fn of_item(mapping: &Mapping, mut item: Value) -> Target {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    item["apiVersion"] = mapping.api_version().into();
    item["kind"] = mapping.kind.clone().into();
    Target {
        mapping: mapping.clone(),
        namespace: text(&item["metadata"]["namespace"]),
        name: text(&item["metadata"]["name"]),
        object: Some(item),
        source: None,
    }
}

/// A refused list says what was asked for.
pub(crate) fn explain_list(failure: Failure, mapping: &Mapping, select: &SelectArgs) -> Failure {
    match failure {
        Failure::Status(mut status) if status["reason"] == "BadRequest" && select.selects() => {
            let said = status["message"].as_str().unwrap_or_default();
            status["message"] = format!(
                "Unable to find {:?} that match label selector {:?}, field selector {:?}: {said}",
                format!("{}/{}, Resource={}", mapping.group, mapping.version, mapping.plural),
                select.selector.as_deref().unwrap_or_default(),
                select.field_selector.as_deref().unwrap_or_default(),
            )
            .into();
            Failure::Status(status)
        }
        other => other,
    }
}

/// The object of a file, with its namespace filled in.
pub(crate) async fn of_document(api: &Api, document: files::Document) -> Result<Target> {
    let files::Document { mut object, source } = document;
    let mapping = mapping::of_object(api, &object, &source).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut namespace = text(&object["metadata"]["namespace"]);
    if mapping.namespaced {
        if namespace.is_empty() {
            namespace = api.namespace.clone();
            if !object["metadata"].is_object() {
                object["metadata"] = serde_json::json!({});
            }
            object["metadata"]["namespace"] = namespace.clone().into();
        } else if api.namespace_given && namespace != api.namespace {
            return message(format!(
                "the namespace from the provided object {namespace:?} does not match the namespace {:?}. You must pass '--namespace={namespace}' to perform this operation.",
                api.namespace
            ));
        }
    } else {
        namespace.clear();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
    }
    let name = text(&object["metadata"]["name"]);
    Ok(Target { mapping, namespace, name, object: Some(object), source: Some(source) })
}
