//! Whom to trust, and what to show.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::secret::Secret;

/// Whom a sender trusts and what it shows for TLS: by default the Mozilla roots, and no client certificate.
///
/// TLS 1.2 and 1.3 by rustls with ring, whatever provider the process has installed.
///
/// ```
/// use ringback::transport::{HyperSender, Tls, TlsError};
///
/// let own_authority = b"-----BEGIN CERTIFICATE----- ...";
/// assert_eq!(Tls::default().with_root_pem(own_authority).unwrap_err(), TlsError::Certificate);
///
/// let sender = HyperSender::builder().tls(Tls::default()).build();
/// ```
#[derive(Clone)]
pub struct Tls {
    roots: RootCertStore,
    identity: Option<Arc<dyn ResolvesClientCert>>,
}

/// Why a certificate or key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate in the text, or one that cannot be read.
    #[error("the PEM text holds no certificate, or one that cannot be read")]
    Certificate,
    /// No private key in the text, or one that cannot be read or used.
    #[error("the PEM text holds no private key, or one that cannot be used")]
    PrivateKey,
    /// The private key is not the one the certificate is for.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            roots: webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
            identity: None,
        }
    }
}

impl Tls {
    /// Trusts the certificates in a PEM text too, one or several: a certificate authority of one's own.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`].
    pub fn with_root_pem(mut self, certificates: &[u8]) -> Result<Self, TlsError> {
        for certificate in read_certificates(certificates)? {
            self.roots.add(certificate).map_err(|_| TlsError::Certificate)?;
        }
        Ok(self)
    }

    /// Shows this certificate to servers that ask for one (mutual TLS): the chain with its own certificate first,
    /// and its private key (PKCS #8, PKCS #1 or SEC 1), both PEM.
    ///
    /// # Errors
    ///
    /// Any [`TlsError`].
    pub fn with_client_pem(mut self, certificates: &[u8], private_key: &Secret) -> Result<Self, TlsError> {
        let chain = read_certificates(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(private_key.expose()).map_err(|_| TlsError::PrivateKey)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
            rustls::Error::InvalidCertificate(_) => TlsError::Certificate,
            _ => TlsError::PrivateKey,
        })?;
        self.identity = Some(Arc::new(SingleCertAndKey::from(key)));
        Ok(self)
    }

    pub(super) fn client_config(self) -> ClientConfig {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(self.roots);
        match self.identity {
            Some(identity) => config.with_client_cert_resolver(identity),
            None => config.with_no_client_auth(),
        }
    }
}

fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|read| !read.is_empty())
        .ok_or(TlsError::Certificate)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("client_certificate", &self.identity.is_some())
            .finish()
    }
}
