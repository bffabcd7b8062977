//! Questions to the runtime over its socket.
//!
//! # Invariants
//! - Every question but a pull ends within a bound, which the runtime is told too.
//! - A runtime that restarts is connected to again by the next question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use crate::runtime::RuntimeError;

/// How long most questions may take, as Kubernetes has it: sandboxes wait for their network.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(120);
/// A socket answers at once or not at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes of one answer, as Kubernetes has it: the output of a command is the largest.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A runtime behind a socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    channel: Channel,
}

impl Client {
    /// Connects when it is first asked something.
    ///
    /// # Errors
    /// The path can't be one of a socket.
    pub(super) fn new(socket: &Path) -> Result<Self, RuntimeError> {
        let invalid = |why: String| RuntimeError::Invalid(format!("{} is no socket: {why}", socket.display()));
        let path = socket.to_str().ok_or_else(|| invalid("its path is no text".to_owned()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}")).map_err(|error| invalid(error.to_string()))?;
        // Servers written in Go refuse requests to a host that is a path.
        let endpoint = endpoint.origin(http::Uri::from_static("http://localhost")).connect_timeout(CONNECT_MAX);
        Ok(Self { socket: socket.to_owned(), channel: endpoint.connect_lazy() })
    }

    /// Asks, within the usual bound.
    ///
    /// # Errors
    /// What the runtime says, or that it does not answer.
    pub(super) async fn ask<Q, A>(&self, path: &'static str, question: Q) -> Result<A, RuntimeError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.ask_within(Some(ANSWER_MAX), path, question).await
    }

    /// Asks; None waits as long as the caller does.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub(super) async fn ask_within<Q, A>(
        &self,
        bound: Option<Duration>,
        path: &'static str,
        question: Q,
    ) -> Result<A, RuntimeError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.unary(bound, path, question).await.map_err(|status| self.error(bound, &status))
    }

    /// As [`Client::ask`], with what the runtime says as it says it.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub(super) async fn unary<Q, A>(
        &self,
        bound: Option<Duration>,
        path: &'static str,
        question: Q,
    ) -> Result<A, tonic::Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut request = Request::new(question);
        if let Some(bound) = bound {
            request.set_timeout(bound);
        }
        let mut grpc = self.grpc().await?;
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    /// Asks for a stream of answers.
    ///
    /// # Errors
    /// See [`Client::ask`].
    pub(super) async fn stream<Q, A>(&self, path: &'static str, question: Q) -> Result<Streaming<A>, tonic::Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.server_streaming(Request::new(question), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, tonic::Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await.map_err(|error| tonic::Status::unavailable(cause(&error)))?;
        Ok(grpc)
    }

    /// What a failed question means.
    pub(super) fn error(&self, bound: Option<Duration>, status: &tonic::Status) -> RuntimeError {
        let text = status.message();
        match status.code() {
            Code::NotFound => RuntimeError::NotFound(strip_not_found(text)),
            Code::InvalidArgument => RuntimeError::Invalid(text.to_owned()),
            Code::DeadlineExceeded => RuntimeError::Timeout(bound.unwrap_or_default()),
            // The connection's own errors say what is wrong only in what they were caused by.
            Code::Unavailable => RuntimeError::Failed(format!(
                "the container runtime at {} does not answer: {}",
                self.socket.display(),
                std::error::Error::source(status).map_or_else(|| text.to_owned(), cause),
            )),
            Code::Unimplemented => RuntimeError::Failed(format!(
                "{} answers but does not serve runtime.v1 of the Container Runtime Interface: {text}",
                self.socket.display()
            )),
            Code::Cancelled if bound.is_some() && text.contains("imeout") => {
                RuntimeError::Timeout(bound.unwrap_or_default())
            }
            _ => RuntimeError::Failed(text.to_owned()),
        }
    }
}

/// The innermost of what caused an error.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// [`RuntimeError::NotFound`] says that itself.
fn strip_not_found(text: &str) -> String {
    text.strip_suffix(": not found").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: &tonic::Status) -> String {
        let _runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = _runtime.enter();
        let client = Client::new(Path::new("/run/x.sock")).unwrap();
        client.error(Some(Duration::from_secs(2)), status).to_string()
    }

    #[test]
    fn failures_say_what_they_mean() {
        for (code, text, want) in [
            (Code::NotFound, "container \"a\": not found", "container \"a\" not found"),
            (Code::InvalidArgument, "no", "no"),
            (Code::DeadlineExceeded, "context deadline exceeded", "timed out after 2s"),
            (Code::Cancelled, "Timeout expired", "timed out after 2s"),
            (Code::Unavailable, "gone", "the container runtime at /run/x.sock does not answer: gone"),
            (Code::Unknown, "exec: \"x\": not there", "exec: \"x\": not there"),
        ] {
            assert_eq!(error(&tonic::Status::new(code, text)), want);
        }
        let unknown = tonic::Status::unimplemented("unknown service runtime.v1.RuntimeService");
        assert!(error(&unknown).contains("does not serve runtime.v1"));
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_told_so() {
        let client = Client::new(Path::new("/nowhere/x.sock")).unwrap();
        let asked: Result<super::super::proto::VersionResponse, _> =
            client.ask(super::super::proto::VERSION, super::super::proto::VersionRequest::default()).await;
        let text = asked.unwrap_err().to_string();
        assert!(text.contains("/nowhere/x.sock does not answer: No such file or directory"), "{text}");
    }
}
