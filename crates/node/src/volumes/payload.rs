//! The files of configMap, secret, downwardAPI and projected volumes.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
};

use super::Cause;
use super::atomic::{Content, Files, stays_inside};
use crate::agent::downward::{Ips, field, resource};
use crate::agent::{Agent, ObjectError};

/// Mode of files where the pod names none, as Kubernetes has it.
const DEFAULT_MODE: i32 = 0o644;
/// How long a token holds where the pod says nothing, as Kubernetes has it.
const TOKEN_SECONDS: i64 = 3600;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
    Downward,
    Projected,
}

impl Kind {
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::Downward => "downward-api",
            Self::Projected => "projected",
        }
    }

    /// Must not reach a disk.
    pub(super) fn secret(self) -> bool {
        matches!(self, Self::Secret | Self::Projected)
    }
}

pub(super) fn kind(volume: &Volume) -> Option<Kind> {
    if volume.config_map.is_some() {
        Some(Kind::ConfigMap)
    } else if volume.secret.is_some() {
        Some(Kind::Secret)
    } else if volume.downward_api.is_some() {
        Some(Kind::Downward)
    } else {
        volume.projected.as_ref().map(|_| Kind::Projected)
    }
}

/// Where the files come from.
struct From<'a, R> {
    agent: &'a Agent<R>,
    pod: &'a Pod,
    ips: &'a Ips,
    /// The volume as it is now: a token that still holds is kept.
    current: &'a Path,
}

/// The files as they should be now.
pub(super) async fn files<R>(
    agent: &Agent<R>,
    pod: &Pod,
    ips: &Ips,
    volume: &Volume,
    current: &Path,
) -> Result<Files, Cause> {
    let from = From { agent, pod, ips, current };
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let wanted = Wanted { items: source.items.as_deref(), optional: source.optional, mode: source.default_mode };
        from.config_map(&source.name, &wanted, &mut files).await?;
    } else if let Some(source) = &volume.secret {
        let wanted = Wanted { items: source.items.as_deref(), optional: source.optional, mode: source.default_mode };
        from.secret(source.secret_name.as_deref().unwrap_or_default(), &wanted, &mut files).await?;
    } else if let Some(source) = &volume.downward_api {
        from.downward(source.items.as_deref().unwrap_or_default(), source.default_mode, &mut files)?;
    } else if let Some(source) = &volume.projected {
        from.projected(source, &mut files).await?;
    }
    Ok(files)
}

/// Which keys, and how.
struct Wanted<'a> {
    items: Option<&'a [KeyToPath]>,
    optional: Option<bool>,
    mode: Option<i32>,
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o7777
}

fn put(files: &mut Files, path: &str, bytes: Vec<u8>, mode: u32) -> Result<(), Cause> {
    if !stays_inside(path) {
        return Err(Cause::Escapes(path.to_owned()));
    }
    files.insert(path.to_owned(), Content { bytes, mode });
    Ok(())
}

fn pick(
    kind: &'static str,
    mut data: BTreeMap<String, Vec<u8>>,
    wanted: &Wanted<'_>,
    files: &mut Files,
) -> Result<(), Cause> {
    let Some(items) = wanted.items else {
        return data.into_iter().try_for_each(|(key, bytes)| put(files, &key, bytes, mode(None, wanted.mode)));
    };
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => {
                put(files, &item.path, bytes.clone(), mode(item.mode, wanted.mode))?;
                // The same key may be wanted under two paths.
                data.insert(item.key.clone(), bytes);
            }
            None if wanted.optional == Some(true) => {}
            None => return Err(Cause::Key { kind, key: item.key.clone() }),
        }
    }
    Ok(())
}

/// Missing is fine where optional.
fn unless_optional<T: Default>(found: Result<T, ObjectError>, optional: Option<bool>) -> Result<T, Cause> {
    match found {
        Err(error) if error.is_missing() && optional == Some(true) => Ok(T::default()),
        other => Ok(other?),
    }
}

impl<R> From<'_, R> {
    async fn config_map(&self, name: &str, wanted: &Wanted<'_>, files: &mut Files) -> Result<(), Cause> {
        let found = self.agent.objects.config_map(self.pod, name).await;
        let map = unless_optional(found, wanted.optional)?;
        let texts = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
        let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
        pick("config", texts.chain(bytes).collect(), wanted, files)
    }

    async fn secret(&self, name: &str, wanted: &Wanted<'_>, files: &mut Files) -> Result<(), Cause> {
        let found = self.agent.objects.secret(self.pod, name).await;
        let secret = unless_optional(found, wanted.optional)?;
        let data = secret.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect();
        pick("secret", data, wanted, files)
    }

    fn downward(
        &self,
        items: &[DownwardAPIVolumeFile],
        default_mode: Option<i32>,
        files: &mut Files,
    ) -> Result<(), Cause> {
        for item in items {
            let text = if let Some(reference) = &item.field_ref {
                field(self.pod, &reference.field_path, self.ips)?
            } else if let Some(reference) = &item.resource_field_ref {
                resource(self.pod, None, reference, self.agent.memory_bytes)?
            } else {
                continue;
            };
            put(files, &item.path, text.into_bytes(), mode(item.mode, default_mode))?;
        }
        Ok(())
    }

    async fn projected(&self, volume: &ProjectedVolumeSource, files: &mut Files) -> Result<(), Cause> {
        let default_mode = volume.default_mode;
        for (index, source) in volume.sources.iter().flatten().enumerate() {
            if let Some(s) = &source.config_map {
                let wanted = Wanted { items: s.items.as_deref(), optional: s.optional, mode: default_mode };
                self.config_map(&s.name, &wanted, files).await?;
            } else if let Some(s) = &source.secret {
                let wanted = Wanted { items: s.items.as_deref(), optional: s.optional, mode: default_mode };
                self.secret(&s.name, &wanted, files).await?;
            } else if let Some(s) = &source.downward_api {
                self.downward(s.items.as_deref().unwrap_or_default(), default_mode, files)?;
            } else if let Some(s) = &source.service_account_token {
                let token = self.token(s).await?;
                put(files, &s.path, token, mode(None, default_mode))?;
            } else {
                let value = serde_json::to_value(source).unwrap_or_default();
                let field = value.as_object().and_then(|o| o.keys().next().cloned()).unwrap_or_default();
                return Err(Cause::Unsupported { index, field: format!("projected.sources: {field}") });
            }
        }
        Ok(())
    }

    /// A token is kept until four fifths of its time are over.
    async fn token(&self, source: &ServiceAccountTokenProjection) -> Result<Vec<u8>, Cause> {
        let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        let path = self.current.join(&source.path);
        let kept = tokio::task::spawn_blocking(move || std::fs::read(&path).ok()).await.ok().flatten();
        let now = jiff::Timestamp::now().as_second();
        if let Some(token) = kept.filter(|token| is_fresh(token, seconds, now)) {
            return Ok(token);
        }
        Ok(self.agent.objects.token(self.pod, source.audience.as_deref(), Some(seconds)).await?.into_bytes())
    }
}

/// Whether less than four fifths of `seconds` have passed since a token was issued. What the token says counts, not its
/// file's age: the file is written anew with every change beside it.
fn is_fresh(token: &[u8], seconds: i64, now: i64) -> bool {
    use base64::Engine as _;
    let issued = || {
        let payload = token.split(|b| *b == b'.').nth(1)?;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice::<serde_json::Value>(&payload).ok()?["iat"].as_i64()
    };
    issued().is_some_and(|issued| now - issued < seconds / 5 * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(items: Option<&[(&str, &str)]>, optional: bool, expect: Result<&[(&str, &str)], &str>) {
        let items: Option<Vec<KeyToPath>> = items.map(|list| {
            let item = |(key, path): &(&str, &str)| KeyToPath { key: (*key).into(), path: (*path).into(), mode: None };
            list.iter().map(item).collect()
        });
        let wanted = Wanted { items: items.as_deref(), optional: Some(optional), mode: Some(0o600) };
        let data = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())].into();
        let mut files = Files::new();
        let result = pick("config", data, &wanted, &mut files).map_err(|e| e.to_string());
        let content = |(path, text): &(&str, &str)| {
            ((*path).to_owned(), Content { bytes: text.as_bytes().to_vec(), mode: 0o600 })
        };
        let expect = expect.map(|list| list.iter().map(content).collect::<Files>()).map_err(str::to_owned);
        assert_eq!(result.map(|()| files), expect);
    }

    #[test]
    fn keys_to_files() {
        check(None, false, Ok(&[("a", "1"), ("b", "2")]));
        check(Some(&[("a", "x/y")]), false, Ok(&[("x/y", "1")]));
        check(Some(&[("a", "x"), ("a", "z")]), false, Ok(&[("x", "1"), ("z", "1")]));
        check(Some(&[("c", "x")]), false, Err("references non-existent config key: c"));
        check(Some(&[("c", "x"), ("b", "y")]), true, Ok(&[("y", "2")]));
        check(Some(&[("a", "../x")]), false, Err("path \"../x\" must be relative and must not contain '..'"));
    }

    #[test]
    fn tokens_are_renewed_at_four_fifths() {
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"iat":1000}"#);
        let token = format!("x.{payload}.x");
        for (token, now, fresh) in
            [(token.as_str(), 1000, true), (&token, 1799, true), (&token, 1800, false), ("x", 1000, false)]
        {
            assert_eq!(is_fresh(token.as_bytes(), 1000, now), fresh, "{token} {now}");
        }
    }
}
