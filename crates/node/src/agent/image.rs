//! The image of a container: there, or pulled, or the reason why not.

use std::time::Instant;

use decide::pod_lifecycle::Waiting;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::Agent;
use crate::images::Name;
use crate::images::credentials::Keyring;
use crate::runtime::{ImageError, ImageInfo, RegistryAuth, Runtime};

/// Why there is no image.
pub(super) struct NoImage {
    pub(super) waiting: Waiting,
    /// True where the registry is to blame, so that the wait doubles.
    pub(super) pulled: bool,
}

fn no(reason: &str, message: String) -> NoImage {
    let pulled = matches!(reason, "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError");
    NoImage { waiting: Waiting { reason: reason.to_owned(), message }, pulled }
}

/// The image as the policy wants it; tells events as the kubelet does.
pub(super) async fn ensure<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    container: &Container,
) -> Result<ImageInfo, NoImage> {
    let image = container.image.as_deref().unwrap_or_default();
    let tell = |warning, reason: &str, message: &str| {
        agent.recorder.pod_event(pod, Some(&container.name), warning, reason, message);
    };
    let result = present_or_pulled(agent, pod, image, policy(container), &tell).await;
    if let Err(no) = &result {
        tell(true, "Failed", &format!("Error: {}", no.waiting.reason));
    }
    result
}

/// An image for another pod than this one, which asks for it.
pub(super) async fn ahead<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    image: &str,
    policy: &str,
) -> Result<ImageInfo, NoImage> {
    let tell = |warning, reason: &str, message: &str| agent.recorder.pod_event(pod, None, warning, reason, message);
    present_or_pulled(agent, pod, image, policy, &tell).await
}

fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    container.image_pull_policy.as_deref().unwrap_or(if latest { "Always" } else { "IfNotPresent" })
}

async fn present_or_pulled<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    image: &str,
    policy: &str,
    tell: &(impl Fn(bool, &str, &str) + Sync),
) -> Result<ImageInfo, NoImage> {
    if policy != "Always" {
        match agent.runtime.image_status(image).await {
            Ok(Some(info)) => {
                let text =
                    format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
                tell(false, "Pulled", &text);
                return Ok(info);
            }
            Ok(None) if policy == "Never" => {
                let text = format!("Container image \"{image}\" is not present with pull policy of Never");
                tell(true, "ErrImageNeverPull", &text);
                return Err(no("ErrImageNeverPull", text));
            }
            Ok(None) => {}
            Err(error @ ImageError::InvalidImageName(..)) => return Err(invalid(image, &error, tell)),
            Err(error) => {
                let text = format!("Failed to inspect image \"{image}\": {error}");
                tell(true, "InspectFailed", &text);
                return Err(no("ImageInspectError", text));
            }
        }
    }
    pull(agent, pod, image, tell).await
}

async fn pull<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    image: &str,
    tell: &(impl Fn(bool, &str, &str) + Sync),
) -> Result<ImageInfo, NoImage> {
    tell(false, "Pulling", &format!("Pulling image \"{image}\""));
    let begin = Instant::now();
    match pull_as_anyone(agent, pod, image).await {
        Ok(info) => {
            let took = go_seconds(begin.elapsed());
            tell(
                false,
                "Pulled",
                &format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    info.size
                ),
            );
            Ok(info)
        }
        Err(error @ ImageError::InvalidImageName(..)) => Err(invalid(image, &error, tell)),
        Err(error) => {
            tell(true, "Failed", &format!("Failed to pull image \"{image}\": {error}"));
            Err(no("ErrImagePull", error.to_string()))
        }
    }
}

/// Tries all who may pull, the most particular first; without any, nobody in particular.
async fn pull_as_anyone<R: Runtime>(agent: &Agent<R>, pod: &Pod, image: &str) -> Result<ImageInfo, ImageError> {
    let mut keyring = Keyring::default();
    agent.objects.pull_secrets(pod, &mut keyring).await;
    keyring.add_files(&agent.options.registry_credentials);
    let repository = Name::parse(image).map(|name| name.repository()).unwrap_or_default();
    let mut auths: Vec<Option<RegistryAuth>> = keyring.matching(&repository).into_iter().map(Some).collect();
    let last = auths.pop().unwrap_or_default();
    for auth in auths {
        match agent.runtime.pull_image(image, auth).await {
            Err(ImageError::ErrImagePull { .. }) => {}
            ended => return ended,
        }
    }
    agent.runtime.pull_image(image, last).await
}

fn invalid(image: &str, error: &ImageError, tell: &impl Fn(bool, &str, &str)) -> NoImage {
    let text = format!("Failed to apply default image tag \"{image}\": {error}");
    tell(true, "InspectFailed", &text);
    no("InvalidImageName", text)
}

/// As Go prints a duration cut to milliseconds.
fn go_seconds(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (image, own, expect) in [
            ("nginx", None, "Always"),
            ("r:5000/nginx", None, "Always"),
            ("nginx:latest", None, "Always"),
            ("nginx:1", None, "IfNotPresent"),
            ("nginx@sha256:1", None, "IfNotPresent"),
            ("nginx", Some("Never"), "Never"),
        ] {
            let container = Container {
                image: Some(image.to_owned()),
                image_pull_policy: own.map(str::to_owned),
                ..Default::default()
            };
            assert_eq!(policy(&container), expect, "{image}");
        }
    }

    #[test]
    fn durations() {
        for (millis, expect) in [(5, "5ms"), (1000, "1s"), (1250, "1.25s"), (61_001, "61.001s")] {
            assert_eq!(go_seconds(std::time::Duration::from_millis(millis)), expect);
        }
    }
}
