//! Whom the senders trust, and what they show.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use ringback::secret::Secret;
use ringback::transport::{
    Guard, HttpSender, HyperSender, ReqwestSender, Resolve, SendErrorKind, Tls, TlsError,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::peer::ok;
use super::{failure, post};

// Made once for these tests, for receiver.test and 127.0.0.1, and valid for a hundred years.
const AUTHORITY: &[u8] = include_bytes!("certificates/ca.pem");
const SERVER: &[u8] = include_bytes!("certificates/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("certificates/server.key");
const CLIENT: &[u8] = include_bytes!("certificates/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("certificates/client.key");

/// An https server on a thread of its own that says yes to everything, if the client shows a certificate where one
/// is asked for.
fn https_server(ask_for_certificate: bool) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(AUTHORITY).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = if ask_for_certificate {
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(SERVER).unwrap()];
    let config = config
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap())
        .unwrap();
    let config = Arc::new(config);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(&ok(b"over TLS"));
                }
            });
        }
    });
    address
}

fn trusting(tls: Tls) -> [Arc<dyn HttpSender>; 2] {
    let guard = Guard::default().allow_loopback().allow_host("other.test");
    [
        Arc::new(
            HyperSender::builder()
                .guard(guard.clone())
                .resolver(Here)
                .tls(tls.clone())
                .build(),
        ),
        Arc::new(
            ReqwestSender::builder()
                .guard(guard)
                .resolver(Here)
                .tls(tls)
                .build()
                .unwrap(),
        ),
    ]
}

/// Every name is this machine.
#[derive(Debug)]
struct Here;

#[async_trait::async_trait]
impl Resolve for Here {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

#[tokio::test]
async fn servers_are_trusted_by_their_authority_and_name() {
    let address = https_server(false);
    let named = |name: &str| format!("https://{name}:{}/?t0p-secret", address.port());
    for sender in trusting(Tls::default().with_root_pem(AUTHORITY).unwrap()) {
        assert_eq!(
            post(&*sender, &named("127.0.0.1")).await.unwrap().body(),
            "over TLS"
        );
        assert_eq!(
            post(&*sender, &named("receiver.test")).await.unwrap().body(),
            "over TLS"
        );
        assert_eq!(failure(&*sender, &named("other.test")).await, SendErrorKind::Tls);
    }
    for sender in trusting(Tls::default()) {
        assert_eq!(failure(&*sender, &named("127.0.0.1")).await, SendErrorKind::Tls);
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let url = format!("https://{}/", https_server(true));
    let anonymous = Tls::default().with_root_pem(AUTHORITY).unwrap();
    for sender in trusting(anonymous.clone()) {
        assert_eq!(failure(&*sender, &url).await, SendErrorKind::Tls);
    }
    for sender in trusting(
        anonymous
            .with_client_pem(CLIENT, &Secret::new(CLIENT_KEY))
            .unwrap(),
    ) {
        assert_eq!(post(&*sender, &url).await.unwrap().body(), "over TLS");
    }
}

#[test]
fn unusable_certificates_and_keys_are_told_apart() {
    let tls = Tls::default();
    let key = Secret::new(CLIENT_KEY);
    assert_eq!(tls.clone().with_root_pem(b"").unwrap_err(), TlsError::Certificate);
    assert_eq!(
        tls.clone().with_root_pem(CLIENT_KEY).unwrap_err(),
        TlsError::Certificate
    );
    assert_eq!(
        tls.clone().with_client_pem(b"", &key).unwrap_err(),
        TlsError::Certificate
    );
    assert_eq!(
        tls.clone()
            .with_client_pem(CLIENT, &Secret::new(CLIENT))
            .unwrap_err(),
        TlsError::PrivateKey
    );
    assert_eq!(
        tls.clone().with_client_pem(SERVER, &key).unwrap_err(),
        TlsError::Mismatch
    );
    let whole = format!("{:?}", tls.with_client_pem(CLIENT, &key).unwrap());
    assert!(
        whole.contains("client_certificate: true") && !whole.contains("PRIVATE"),
        "{whole}"
    );
}
