//! One image from one server: manifest, configuration, then the layers that are missing, several at once.
//!
//! # Invariants
//! - Nothing is used before its digest is verified, whoever sent it.
//! - What may pass is tried again with growing pauses, a download from where it broke off; what can't get better fails
//!   at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::client::{BlobResponse, Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth as Secrets;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::digest::{HashReader, digest_of};
use super::error::StoreError;
use super::install::{COMMIT_TRIES, Incoming};
use super::layers::{LOCK_PATIENCE, LOCK_POLL, LayerLock};
use super::layout::Staging;
use super::manifest::{Descriptor, INDEX_DEPTH_MAX, JSON_BYTES_MAX, Manifest};
use super::name::{Name, is_digest};
use super::record::parse_config;
use super::registry::Endpoint;
use super::store::Store;
use super::unpack::unpack_layer;
use crate::runtime::{ImageInfo, RegistryAuth};

/// Layers of one image downloaded and unpacked at once, as containerd does by default.
pub(crate) const LAYERS_AT_ONCE: usize = 3;
/// How often one request is tried. Whoever wants the image tries again later anyway, with pauses of minutes.
const TRIES: u32 = 4;
/// When no further try begins: a server that lets requests time out is as good as away.
const TRYING: Duration = Duration::from_secs(45);
/// Pause after the first failure; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a server may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// How long a server may be silent within an answer.
const READ_PATIENCE: Duration = Duration::from_secs(30);

const ACCEPTED: [&str; 4] =
    [OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

/// One image at one server.
pub(crate) struct Fetch<'a> {
    store: &'a Store,
    name: &'a Name,
    reference: Reference,
    client: Client,
    secrets: Secrets,
    server: String,
}

/// Why a try failed.
enum Failure {
    /// It may work the next time.
    Passing(String),
    /// It will not.
    Lasting(String),
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(
        store: &'a Store,
        name: &'a Name,
        endpoint: &Endpoint,
        auth: Option<&RegistryAuth>,
    ) -> Result<Self, StoreError> {
        // Whoever starts TLS first in this process decides; all parts of everynode choose the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = ClientConfig {
            protocol: if endpoint.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            // Plain http has no certificates; this only spares reading those of the machine, which may have none.
            accept_invalid_certificates: endpoint.plain_http || endpoint.skip_verify,
            extra_root_certificates: authorities(endpoint)?,
            connect_timeout: Some(CONNECT_PATIENCE),
            read_timeout: Some(READ_PATIENCE),
            user_agent: concat!("everynode/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let scheme = if endpoint.plain_http { "http" } else { "https" };
        let server = format!("{scheme}://{}", endpoint.host);
        let client = Client::try_from(config)
            .map_err(|error| StoreError::Pull { image: name.canonical(), cause: format!("{server}: {error}") })?;
        let mut reference = name.reference().clone();
        if endpoint.mirror {
            reference.set_mirror_registry(endpoint.host.clone());
        }
        Ok(Self { store, name, reference, client, secrets: secrets_of(auth), server })
    }

    /// Pulls the image into the store.
    pub(crate) async fn run(&self) -> Result<ImageInfo, StoreError> {
        let (top_digest, manifest) = self.manifest().await?;
        let config = manifest.config.ok_or_else(|| self.failed("the manifest has no configuration"))?;
        let bytes = self.small_blob(&config).await?;
        let (config_of_image, diff_ids) = parse_config(&bytes, &self.server)?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(self.failed("the manifest has another number of layers than the configuration"));
        }
        let mut names = vec![self.name.with_digest(&top_digest)];
        if self.reference.digest().is_none() {
            names.push(self.name.canonical());
        }
        let image = Incoming { id: config.digest, config: config_of_image, diff_ids, names, kept: false };
        let staging = Arc::new(self.store.layout.staging()?);
        for _ in 0..COMMIT_TRIES {
            futures::stream::iter(manifest.layers.iter().zip(&image.diff_ids))
                .map(|(layer, diff_id)| self.layer(&staging, layer, diff_id))
                .buffer_unordered(LAYERS_AT_ONCE)
                .try_collect::<()>()
                .await?;
            if self.store.commit(image.record(), &image.names)? {
                return self.store.info(&image.id);
            }
        }
        Err(self.failed("its layers were removed as often as they were unpacked"))
    }

    /// The manifest for this machine, and the digest that the name leads to: of the index, where there is one.
    async fn manifest(&self) -> Result<(String, Manifest), StoreError> {
        let mut reference = self.reference.clone();
        let mut top = None;
        for _ in 0..=INDEX_DEPTH_MAX {
            let (bytes, _) = self.retry(|| self.client.pull_manifest_raw(&reference, &self.secrets, &ACCEPTED)).await?;
            // The server's own word for the digest is not asked.
            let digest = digest_of(&bytes);
            if reference.digest().is_some_and(|wanted| wanted != digest) {
                return Err(self.failed(format!("manifest {digest} came for {reference}")));
            }
            let manifest: Manifest =
                serde_json::from_slice(&bytes).map_err(|error| self.failed(format!("manifest: {error}")))?;
            if manifest.schema_version != 2 {
                return Err(self.failed(format!("manifests of version {} are too old", manifest.schema_version)));
            }
            let top_digest = top.get_or_insert(digest).clone();
            if manifest.config.is_some() {
                return Ok((top_digest, manifest));
            }
            let fit = manifest.manifests.iter().find(|entry| entry.fits());
            let entry = fit.ok_or_else(|| self.failed(format!("no match for platform in manifest {top_digest}")))?;
            reference = reference.clone_with_digest(entry.digest.clone());
        }
        Err(self.failed("its indexes nest too deeply"))
    }

    async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, StoreError> {
        let bytes = self
            .retry(|| async {
                let mut stream = self.client.pull_blob_stream(&self.reference, blob.digest.as_str()).await?.stream;
                let mut bytes = Vec::new();
                while let Some(chunk) = stream.try_next().await? {
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() as u64 > JSON_BYTES_MAX {
                        let cause = format!("{} is larger than {JSON_BYTES_MAX} bytes", blob.digest);
                        return Err(OciDistributionError::SpecViolationError(cause));
                    }
                }
                Ok(bytes)
            })
            .await?;
        let got = digest_of(&bytes);
        if got == blob.digest { Ok(bytes) } else { Err(self.failed(format!("{got} came for {}", blob.digest))) }
    }

    /// Brings a layer into the store if it is not there.
    async fn layer(&self, staging: &Arc<Staging>, blob: &Descriptor, diff_id: &str) -> Result<(), StoreError> {
        if !is_digest(&blob.digest) {
            return Err(self.failed(format!("{:?} is not a sha256 digest", blob.digest)));
        }
        let lock = self.lock(diff_id).await?;
        if self.store.layout.layer_size(diff_id)?.is_some() {
            return Ok(());
        }
        // Two that work on one layer without its lock must not write one file.
        let path = match &lock {
            Some(_) => self.store.layout.partial(&blob.digest),
            None => staging.join(&uuid::Uuid::new_v4().to_string()),
        };
        if !self.is_complete(blob, &path).await? {
            self.retry(|| self.download(blob, &path)).await?;
        }
        let (layout, staging) = (self.store.layout.clone(), Arc::clone(staging));
        let (want, diff_id) = (blob.digest.clone(), diff_id.to_owned());
        let unpack = move || {
            let _lock = lock;
            if let Err(error) = verify(&path, &want) {
                // No later try may begin with it.
                drop(std::fs::remove_file(&path));
                return Err(error);
            }
            let file = File::open(&path).map_err(StoreError::io(&path))?;
            layout.add_layer(&staging, &diff_id, |dir| unpack_layer(file, &diff_id, dir))?;
            std::fs::remove_file(&path).map_err(StoreError::io(&path))
        };
        tokio::task::spawn_blocking(unpack).await.map_err(|error| self.failed(error))?
    }

    /// Whether an earlier pull has left the whole blob. One that is whole and wrong goes: nothing can be added to it.
    async fn is_complete(&self, blob: &Descriptor, path: &Path) -> Result<bool, StoreError> {
        let there = tokio::fs::metadata(path).await.map_or(0, |meta| meta.len());
        if blob.size == 0 || there < blob.size {
            return Ok(false);
        }
        let (path, want) = (path.to_owned(), blob.digest.clone());
        let work = move || match verify(&path, &want) {
            Ok(()) => Ok(true),
            Err(_) => std::fs::remove_file(&path).map(|()| false).map_err(StoreError::io(&path)),
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| self.failed(error))?
    }

    async fn lock(&self, diff_id: &str) -> Result<Option<LayerLock>, StoreError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        while Instant::now() < deadline {
            if let Some(lock) = self.store.layout.try_layer_lock(diff_id)? {
                return Ok(Some(lock));
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
        Ok(None)
    }

    /// Downloads a blob to a file, behind what is in it already.
    async fn download(&self, blob: &Descriptor, path: &Path) -> Result<(), OciDistributionError> {
        let mut file = tokio::fs::File::options().create(true).append(true).open(path).await?;
        let mut have = file.metadata().await?.len();
        let digest = blob.digest.as_str();
        let stream = if have == 0 {
            self.client.pull_blob_stream(&self.reference, digest).await?
        } else {
            match self.client.pull_blob_stream_partial(&self.reference, digest, have, None).await? {
                BlobResponse::Partial(stream) => stream,
                BlobResponse::Full(stream) => {
                    file.set_len(0).await?;
                    have = 0;
                    stream
                }
            }
        };
        let copied = copy_bounded(stream.stream, &mut file, have, blob).await;
        // Also after a failure: the next try goes on behind what came.
        file.flush().await?;
        copied
    }

    async fn retry<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        let begin = Instant::now();
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            match work().await.map_err(|error| self.judge(error)) {
                Ok(value) => return Ok(value),
                Err(Failure::Passing(cause)) if tries < TRIES && begin.elapsed() < TRYING => {
                    tracing::debug!(image = %self.name.canonical(), server = %self.server, %cause, "trying again");
                }
                Err(Failure::Passing(cause) | Failure::Lasting(cause)) => return Err(self.failed(cause)),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    fn judge(&self, error: OciDistributionError) -> Failure {
        use OciDistributionError as Error;
        let denied =
            || Failure::Lasting("pull access denied, the repository does not exist or needs credentials".into());
        match error {
            Error::UnauthorizedError { .. } | Error::AuthenticationFailure(_) => denied(),
            Error::RegistryError { envelope, .. } => match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                    Failure::Lasting(format!("{}: not found", self.name.canonical()))
                }
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => denied(),
                Some(OciErrorCode::Toomanyrequests) => Failure::Passing("too many requests".into()),
                _ => Failure::Lasting(envelope.to_string()),
            },
            Error::ServerError { code: 404, .. } => Failure::Lasting(format!("{}: not found", self.name.canonical())),
            Error::ServerError { code, message, .. } => {
                let cause = format!("server answered {code} {message}");
                if code >= 500 || code == 429 || code == 408 {
                    Failure::Passing(cause)
                } else {
                    Failure::Lasting(cause)
                }
            }
            Error::RequestError(error) => Failure::Passing(chain(&error)),
            // What came is whole and wrong; a part of it is no beginning.
            Error::IoError(error) if error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) => {
                Failure::Lasting(error.to_string())
            }
            Error::IoError(error) => Failure::Passing(error.to_string()),
            other => Failure::Lasting(other.to_string()),
        }
    }

    fn failed(&self, cause: impl ToString) -> StoreError {
        let cause = format!("{}: {}", self.server, cause.to_string());
        StoreError::Pull { image: self.name.canonical(), cause }
    }
}

/// Appends a stream to a file of `have` bytes that may not grow beyond what the manifest says.
async fn copy_bounded(
    mut chunks: futures::stream::BoxStream<'static, Result<bytes::Bytes, std::io::Error>>,
    file: &mut tokio::fs::File,
    mut have: u64,
    blob: &Descriptor,
) -> Result<(), OciDistributionError> {
    while let Some(chunk) = chunks.try_next().await? {
        have += chunk.len() as u64;
        if blob.size > 0 && have > blob.size {
            let cause = format!("{} is larger than the manifest says", blob.digest);
            return Err(OciDistributionError::SpecViolationError(cause));
        }
        file.write_all(&chunk).await?;
    }
    Ok(())
}

/// A download is verified in whole, since a part of it may be of an earlier try.
fn verify(path: &PathBuf, want: &str) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io(path))?;
    let got = HashReader::new(file).finish().map_err(StoreError::io(path))?;
    if got == want { Ok(()) } else { Err(StoreError::content(format!("blob {want}"), format!("{got} came"))) }
}

fn authorities(endpoint: &Endpoint) -> Result<Vec<Certificate>, StoreError> {
    let read = |path: &std::path::PathBuf| {
        let data = std::fs::read(path).map_err(StoreError::io(path))?;
        Ok(Certificate { encoding: CertificateEncoding::Pem, data })
    };
    endpoint.ca.iter().map(read).collect()
}

fn secrets_of(auth: Option<&RegistryAuth>) -> Secrets {
    match auth {
        None => Secrets::Anonymous,
        Some(auth) if auth.username.is_empty() && auth.password.is_empty() => Secrets::Anonymous,
        Some(auth) if auth.username.is_empty() => Secrets::Bearer(auth.password.clone()),
        Some(auth) => Secrets::Basic(auth.username.clone(), auth.password.clone()),
    }
}

/// An error with its causes: the outermost alone says only that a request failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
