//! One connection, one request at a time.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Target;

/// A connection to a server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// An answer that has come to its end.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; an error for an answer that is a failure.
    pub(crate) fn json(&self) -> Result<Value> {
        if self.code >= 400 {
            bail!("{}: {}", self.code, String::from_utf8_lossy(&self.body));
        }
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Nothing, or why it is a failure.
    pub(crate) fn done(&self) -> Result<()> {
        if self.code >= 400 {
            bail!("{}: {}", self.code, String::from_utf8_lossy(&self.body));
        }
        Ok(())
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: &Target) -> Result<Connection> {
        let socket = TcpStream::connect(target.address).await.with_context(|| target.address.to_string())?;
        socket.set_nodelay(true)?;
        let stream = TlsConnector::from(target.tls.clone()).connect(target.name.clone(), socket).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, host: target.host.clone() })
    }

    /// Sends a request and takes in all of its answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let response = self.send(method, path, "application/json", media, body.into()).await?;
        Ok(Answer { code: response.status().as_u16(), body: response.into_body().collect().await?.to_bytes() })
    }

    /// Reads with an Accept header.
    pub(crate) async fn read(&mut self, path: &str, accept: &str) -> Result<Answer> {
        let response = self.send(Method::GET, path, accept, "", Bytes::new()).await?;
        Ok(Answer { code: response.status().as_u16(), body: response.into_body().collect().await?.to_bytes() })
    }

    /// Begins a request whose answer comes in lines; the connection is its alone from then on.
    pub(crate) async fn follow(mut self, path: &str) -> Result<Lines> {
        let response = self.send(Method::GET, path, "application/json", "", Bytes::new()).await?;
        if response.status().as_u16() != 200 {
            bail!("{path}: {}", response.status());
        }
        Ok(Lines { body: response.into_body(), text: BytesMut::new(), looked: 0, _sender: self.sender })
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        media: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        request = request.header(header::USER_AGENT, "load/1").header(header::ACCEPT, accept);
        if !media.is_empty() {
            request = request.header(header::CONTENT_TYPE, media);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body))?).await?)
    }
}

/// An answer that comes in lines.
pub(crate) struct Lines {
    body: Incoming,
    text: BytesMut,
    /// So far no line ends.
    looked: usize,
    _sender: SendRequest<Full<Bytes>>,
}

impl Lines {
    /// The next line; None at the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.text[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line = self.text.split_to(self.looked + end + 1).freeze();
                self.looked = 0;
                return Ok(Some(line));
            }
            self.looked = self.text.len();
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}
