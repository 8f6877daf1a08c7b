//! The other end of a socket, made to misbehave.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on loopback that counts its connections and does as told on each.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    pub(super) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Connection) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                // A client that has read enough closes the connection, which is an error over here.
                tokio::spawn(serve(Connection {
                    stream,
                    received: Vec::new(),
                }));
            }
        });
        Self { address, connections }
    }

    /// Answers each request with the same bytes, as long as the connection lasts.
    pub(super) async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response: Arc<[u8]> = response.into().into();
        Self::start(move |mut connection| {
            let response = Arc::clone(&response);
            async move {
                while connection.request().await?.is_some() {
                    connection.write(&response).await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// Answers each request with what it received.
    pub(super) async fn echo() -> Self {
        Self::start(|mut connection| async move {
            while let Some(request) = connection.request().await? {
                connection.write(&ok(&request)).await?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// The next whole request, head and body; nothing once the client has closed.
    pub(super) async fn request(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = request_length(&self.received).filter(|n| *n <= self.received.len()) {
                let rest = self.received.split_off(length);
                return Ok(Some(std::mem::replace(&mut self.received, rest)));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

fn request_length(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = String::from_utf8_lossy(&received[..head])
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    Some(head + body.unwrap_or(0))
}

/// A complete 200 response with this body.
pub(super) fn ok(body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat()
}
