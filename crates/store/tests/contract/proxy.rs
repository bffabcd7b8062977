//! A wire between a client and etcd that can be cut at will: before etcd hears, or before the client does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Everything passes.
pub(crate) const WHOLE: u8 = 0;
/// The next bytes of the client reach etcd, and the connection ends before the answer.
pub(crate) const SWALLOW_ANSWER: u8 = 1;
/// The next bytes of the client reach nobody, and the connection ends.
pub(crate) const SWALLOW_REQUEST: u8 = 2;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, mode) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU8::new(WHOLE)));
        let shared = mode.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, shared.clone()));
            }
        });
        Proxy { port, mode }
    }

    /// From the next bytes of a client on; a cut makes the wire whole again for the next connection.
    pub(crate) fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Whether the cut that was asked for has happened.
    pub(crate) fn is_whole(&self) -> bool {
        self.mode.load(Ordering::SeqCst) == WHOLE
    }
}

async fn pass(mut client: TcpStream, to: u16, mode: Arc<AtomicU8>) {
    let Ok(mut etcd) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                match mode.load(Ordering::SeqCst) {
                    SWALLOW_REQUEST => return mode.store(WHOLE, Ordering::SeqCst),
                    SWALLOW_ANSWER => {
                        if etcd.write_all(&up[..count]).await.is_err() {
                            return;
                        }
                        // The answer shows that etcd did it; it goes nowhere.
                        answered(&mut etcd, &mut down).await;
                        return mode.store(WHOLE, Ordering::SeqCst);
                    }
                    _ if etcd.write_all(&up[..count]).await.is_err() => return,
                    _ => {}
                }
            }
            read = etcd.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits for a frame of data, which an answer has and the acknowledgements of HTTP/2 have not.
async fn answered(etcd: &mut TcpStream, bytes: &mut [u8]) {
    const HEADERS: u8 = 1;
    loop {
        let Ok(count @ 1..) = etcd.read(bytes).await else { return };
        let mut at = 0;
        while at + 9 <= count {
            let length = usize::from(bytes[at]) << 16 | usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2]);
            if bytes[at + 3] == HEADERS {
                return;
            }
            at += 9 + length;
        }
    }
}
