//! The environment of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::downward::{DownwardError, Ips, field, resource};
use super::objects::{ObjectError, Objects};

/// Why an environment can't be made; the pod waits with CreateContainerConfigError.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvError {
    /// An object or a key.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A reference to the pod itself.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// A source this node does not know.
    #[error("env {0}: valueFrom has no source this node supports")]
    Source(String),
}

/// What an environment is made from.
pub(crate) struct Sources<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) pod: &'a Pod,
    pub(crate) ips: &'a Ips,
    pub(crate) node_memory_bytes: i64,
    /// Host and port of the API server.
    pub(crate) server: &'a (String, u16),
}

/// Variables in the order they were defined; later ones see earlier ones by $(NAME).
pub(crate) async fn environment(
    sources: &Sources<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, EnvError> {
    let services = services(sources.server);
    let mut known: BTreeMap<String, String> = services.iter().cloned().collect();
    let mut list: Vec<(String, String)> = Vec::new();
    let mut set = |known: &mut BTreeMap<String, String>, name: String, value: String| {
        known.insert(name.clone(), value.clone());
        match list.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => list.push((name, value)),
        }
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        for (key, value) in from_object(sources, from).await? {
            set(&mut known, format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => from_source(sources, container, &variable.name, source).await?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &known)),
        };
        if let Some(value) = value {
            set(&mut known, variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        if !list.iter().any(|(n, _)| *n == name) {
            list.push((name, value));
        }
    }
    Ok(list)
}

fn services((host, port): &(String, u16)) -> Vec<(String, String)> {
    vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
    ]
}

async fn from_object(
    sources: &Sources<'_>,
    from: &k8s_openapi::api::core::v1::EnvFromSource,
) -> Result<BTreeMap<String, String>, EnvError> {
    if let Some(reference) = &from.config_map_ref {
        return match sources.objects.config_map(sources.pod, &reference.name).await {
            Ok(map) => Ok(map.data.unwrap_or_default()),
            Err(error) if error.is_missing() && reference.optional == Some(true) => Ok(BTreeMap::new()),
            Err(error) => Err(error.into()),
        };
    }
    if let Some(reference) = &from.secret_ref {
        return match sources.objects.secret(sources.pod, &reference.name).await {
            Ok(secret) => Ok(secret.data.unwrap_or_default().into_iter().map(|(k, v)| (k, text(v.0))).collect()),
            Err(error) if error.is_missing() && reference.optional == Some(true) => Ok(BTreeMap::new()),
            Err(error) => Err(error.into()),
        };
    }
    Ok(BTreeMap::new())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

async fn from_source(
    sources: &Sources<'_>,
    container: &Container,
    variable: &str,
    source: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    let namespace = sources.pod.metadata.namespace.as_deref().unwrap_or("default");
    if let Some(reference) = &source.field_ref {
        return Ok(Some(field(sources.pod, &reference.field_path, sources.ips)?));
    }
    if let Some(reference) = &source.resource_field_ref {
        return Ok(Some(resource(sources.pod, Some(container), reference, sources.node_memory_bytes)?));
    }
    let (found, optional, missing) = if let Some(reference) = &source.config_map_key_ref {
        let missing = no_key("ConfigMap", namespace, &reference.name, &reference.key);
        let object = sources.objects.config_map(sources.pod, &reference.name).await;
        (object.map(|o| o.data.unwrap_or_default().remove(&reference.key)), reference.optional, missing)
    } else if let Some(reference) = &source.secret_key_ref {
        let missing = no_key("Secret", namespace, &reference.name, &reference.key);
        let object = sources.objects.secret(sources.pod, &reference.name).await;
        let value = object.map(|o| o.data.unwrap_or_default().remove(&reference.key).map(|v| text(v.0)));
        (value, reference.optional, missing)
    } else {
        return Err(EnvError::Source(variable.to_owned()));
    };
    match found.and_then(|value| value.ok_or(missing)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_missing() && optional == Some(true) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn no_key(kind: &'static str, namespace: &str, name: &str, key: &str) -> ObjectError {
    ObjectError::NoKey { kind, namespace: namespace.to_owned(), name: name.to_owned(), key: key.to_owned() }
}

/// Replaces $(NAME) by what is known; what is not known stays as it is, $$ is one $.
pub(crate) fn expand(input: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())]);
        for (input, expect) in [
            ("x", "x"),
            ("$(A)-$(B)-$(C)", "1--$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("$(ä)", "$(ä)"),
        ] {
            assert_eq!(expand(input, &known), expect, "{input}");
        }
    }
}
