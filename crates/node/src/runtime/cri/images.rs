//! Images, which the runtime keeps.

use std::path::Path;

use super::Shared;
use super::container::ImageUser;
use super::proto::container::ImageSpec;
use super::proto::{Empty, image as cri};
use crate::disk_usage;
use crate::images::Name;
use crate::runtime::stats::FsUsage;
use crate::runtime::{ImageError, ImageInfo, RegistryAuth, RuntimeError};

/// The name that the runtime gets: with registry and tag, as Kubernetes completes it. An id stays one.
fn whole_name(reference: &str) -> Result<String, ImageError> {
    if reference.starts_with("sha256:") {
        return Ok(reference.to_owned());
    }
    Ok(Name::parse(reference)?.canonical())
}

fn spec(image: String) -> Option<ImageSpec> {
    Some(ImageSpec { image, ..Default::default() })
}

fn local(error: &RuntimeError) -> ImageError {
    ImageError::Local(error.to_string())
}

/// The user of an image as [`ImageInfo`] has it, or for the making of a container.
fn user(image: &cri::Image) -> ImageUser {
    match &image.uid {
        Some(uid) => ImageUser::Id(uid.value),
        None if image.username.is_empty() => ImageUser::Id(0),
        None => ImageUser::Name(image.username.clone()),
    }
}

fn info(image: cri::Image, sandbox_image: Option<&str>) -> ImageInfo {
    let user = image.uid.map_or_else(|| image.username.clone(), |uid| uid.value.to_string());
    let of_sandboxes =
        sandbox_image.is_some_and(|name| image.repo_tags.iter().chain(&image.repo_digests).any(|n| n == name));
    ImageInfo {
        id: image.id,
        tags: image.repo_tags,
        digests: image.repo_digests,
        size: image.size,
        user,
        pinned: image.pinned || of_sandboxes,
    }
}

impl Shared {
    async fn find(&self, image: String) -> Result<Option<cri::Image>, ImageError> {
        let asked: Result<cri::StatusResponse, _> =
            self.client.ask(cri::STATUS, cri::Which { image: spec(image) }).await;
        match asked {
            Ok(answer) => Ok(answer.image.filter(|image| !image.id.is_empty())),
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(error) => Err(local(&error)),
        }
    }

    /// Who the image's programs are, unless told otherwise.
    pub(super) async fn image_user(&self, image_id: &str) -> Result<ImageUser, RuntimeError> {
        let found = self.find(image_id.to_owned()).await.map_err(|error| RuntimeError::Failed(error.to_string()))?;
        found.as_ref().map(user).ok_or_else(|| RuntimeError::NotFound(format!("image {image_id}")))
    }

    pub(super) async fn find_image(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        let found = self.find(whole_name(reference)?).await?;
        Ok(found.map(|image| info(image, self.sandbox_image().as_deref())))
    }

    pub(super) async fn pull(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        let name = whole_name(reference)?;
        let failed = |cause: String| ImageError::ErrImagePull { image: reference.to_owned(), cause };
        let auth = auth.map(|auth| cri::AuthConfig { username: auth.username, password: auth.password });
        let question = cri::PullRequest { image: spec(name), auth };
        // No bound of ours: a large image on a slow line takes as long as it takes, and the runtime watches its progress.
        let pulled: cri::PullResponse =
            self.client.ask_within(None, cri::PULL, question).await.map_err(|error| failed(error.to_string()))?;
        let found = self.find(pulled.image_ref.clone()).await?;
        let gone = || failed(format!("{} was pulled and is gone again", pulled.image_ref));
        found.map(|image| info(image, self.sandbox_image().as_deref())).ok_or_else(gone)
    }

    pub(super) async fn all_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        let answer: cri::ListResponse = self.client.ask(cri::LIST, Empty {}).await.map_err(|error| local(&error))?;
        let sandbox_image = self.sandbox_image();
        Ok(answer.images.into_iter().map(|image| info(image, sandbox_image.as_deref())).collect())
    }

    pub(super) async fn drop_image(&self, id: &str) -> Result<(), ImageError> {
        let question = cri::Which { image: spec(id.to_owned()) };
        match self.client.ask::<_, Empty>(cri::REMOVE, question).await {
            Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
            Err(error) => Err(local(&error)),
        }
    }

    pub(super) async fn images_on(&self) -> Option<FsUsage> {
        let answer: cri::FsInfoResponse = self.client.ask(cri::FS_INFO, Empty {}).await.ok()?;
        let usage = answer.image_filesystems.into_iter().next()?;
        let place = usage.fs_id?.mountpoint;
        let own = usage.used_bytes.map(|used| used.value);
        let all = tokio::task::spawn_blocking(move || disk_usage::of_file_system(Path::new(&place))).await.ok()?;
        Some(FsUsage { used_bytes: own.unwrap_or(all.used_bytes), ..all })
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Int64Value;
    use super::*;

    #[test]
    fn names_are_completed_and_ids_stay() {
        for (reference, want) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("r.example:5000/a/b:1", "r.example:5000/a/b:1"),
            ("sha256:0123", "sha256:0123"),
        ] {
            assert_eq!(whole_name(reference).unwrap(), want);
        }
        assert!(matches!(whole_name("UPPER"), Err(ImageError::InvalidImageName(..))));
    }

    #[test]
    fn users_and_pins() {
        let image = |uid: Option<i64>, name: &str| cri::Image {
            uid: uid.map(|value| Int64Value { value }),
            username: name.to_owned(),
            repo_tags: vec!["pause:1".to_owned()],
            ..Default::default()
        };
        assert_eq!(user(&image(None, "")), ImageUser::Id(0));
        assert_eq!(user(&image(Some(5), "")), ImageUser::Id(5));
        assert_eq!(user(&image(None, "nobody")), ImageUser::Name("nobody".to_owned()));
        assert_eq!((info(image(Some(5), ""), None).user, info(image(None, "x"), None).user), ("5".into(), "x".into()));
        assert!(info(image(None, ""), Some("pause:1")).pinned, "sandboxes are made of it");
        assert!(!info(image(None, ""), Some("pause:2")).pinned);
    }
}
