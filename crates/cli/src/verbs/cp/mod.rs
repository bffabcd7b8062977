//! `cp`: files and directories to and from containers, by the container's own `tar`.
//!
//! # Invariants
//! Nothing that comes out of a container is written outside of the destination, whatever its names say.

mod pack;
mod pipe;
mod place;
mod unpack;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use self::place::{Place, base_name};
use super::pod;
use crate::client::{Api, Query};
use crate::failure::{Failure, Result, message};
use crate::streams;

/// Pieces on their way between tar and the connection.
const CHUNKS_MAX: usize = 8;

/// Flags of `cp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// [[NAMESPACE/]POD:]PATH
    #[arg(value_name = "FROM")]
    from: String,
    /// [[NAMESPACE/]POD:]PATH
    #[arg(value_name = "TO")]
    to: String,
    /// The container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Owners and rights there are those of new files
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    no_preserve: bool,
}

/// Where in the cluster.
struct There<'a> {
    api: &'a Api,
    /// Of `exec`.
    path: String,
    container: String,
}

/// Copies.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    match (Place::read(&args.from)?, Place::read(&args.to)?) {
        (Place::Pod { .. }, Place::Pod { .. }) => message("one of src or dest must be a local file specification"),
        (Place::Local(_), Place::Local(_)) => message("one of src or dest must be a remote file specification"),
        (Place::Local(from), Place::Pod { namespace, pod, path }) => {
            if path.is_empty() || from.as_os_str().is_empty() {
                return message("filepath can not be empty");
            }
            There::find(api, namespace, &pod, args).await?.copy_to(&from, &path, args.no_preserve).await
        }
        (Place::Pod { namespace, pod, path }, Place::Local(to)) => {
            if path.is_empty() || to.as_os_str().is_empty() {
                return message("filepath can not be empty");
            }
            There::find(api, namespace, &pod, args).await?.copy_from(&path, &to).await
        }
    }
}

impl<'a> There<'a> {
    async fn find(api: &'a Api, namespace: Option<String>, name: &str, args: &Args) -> Result<There<'a>> {
        let namespace = namespace.unwrap_or_else(|| api.namespace.clone());
        let found = pod::find_in(api, &namespace, name).await?;
        let container = pod::container(&found, args.container.as_deref(), false)?.to_owned();
        Ok(Self { api, path: pod::path(&found, "exec"), container })
    }

    fn query(&self, command: &[&str]) -> Query {
        let mut query = Query::new().with("container", self.container.as_str());
        for word in command {
            query.add("command", (*word).to_owned());
        }
        query
    }

    /// Whether it is a directory there. Without the program `test` it is taken for none.
    async fn is_dir(&self, path: &str) -> bool {
        self.quietly(&["test", "-d", path], None).await.is_ok()
    }

    /// Runs a program whose output nobody wants.
    async fn quietly(&self, command: &[&str], input: Option<mpsc::Receiver<Vec<u8>>>) -> Result<()> {
        let (output, mut printed) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
        let drain = async { while printed.recv().await.is_some() {} };
        let work = streams::piped(self.api, &self.path, self.query(command), input, output);
        tokio::join!(work, drain).0
    }

    async fn copy_to(&self, from: &Path, path: &str, no_preserve: bool) -> Result<()> {
        if let Err(error) = std::fs::symlink_metadata(from) {
            return message(format!("{}: {error}", from.display()));
        }
        let name = base_name(&from.to_string_lossy());
        let target =
            if self.is_dir(path).await { format!("{}/{name}", path.trim_end_matches('/')) } else { path.to_owned() };
        let (dir, name) = place::split(&target);
        let mut command = vec!["tar", "-xmf", "-"];
        if no_preserve {
            command = vec!["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-"];
        }
        command.extend(["-C", dir]);
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let (from, name) = (from.to_owned(), name.to_owned());
        let packing = tokio::task::spawn_blocking(move || pack::pack(&from, &name, pipe::Writer::new(sender)));
        let copied = self.quietly(&command, Some(receiver)).await;
        let packed = packing.await.map_err(|error| Failure::Message(error.to_string()))?;
        // Where tar there has ended early, what we could not send is the smaller news.
        copied.and_then(|()| packed.map_err(|error| Failure::Message(error.to_string())))
    }

    async fn copy_from(&self, path: &str, to: &Path) -> Result<()> {
        let target: PathBuf = if to.is_dir() { to.join(base_name(path)) } else { to.to_owned() };
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let prefix = path.to_owned();
        let unpacking =
            tokio::task::spawn_blocking(move || unpack::unpack(pipe::Reader::new(receiver), &prefix, &target));
        let copied = streams::piped(self.api, &self.path, self.query(&["tar", "cf", "-", path]), None, sender).await;
        let unpacked = unpacking.await.map_err(|error| Failure::Message(error.to_string()))?;
        copied.and_then(|()| unpacked.map_err(|error| Failure::Message(error.to_string())))
    }
}
