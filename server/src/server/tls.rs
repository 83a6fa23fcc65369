//! Two files in; the server's end of TLS, which takes a new certificate when they change, out.

use crate::config::Tls;
use crate::server::files::{self, Seen};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path} has no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{cert} and {key} cannot be used together: {source}")]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot set up TLS: {0}")]
    Setup(#[source] rustls::Error),
}

#[derive(Debug)]
struct Certificate {
    files: Tls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What follows the files is to be run beside the server.
pub(super) fn acceptor(
    files: &Tls,
) -> Result<(TlsAcceptor, impl Future<Output = ()> + use<>), Error> {
    let paths = vec![files.cert_file.clone(), files.key_file.clone()];
    let seen: Seen = files::look(&paths);
    let current = RwLock::new(Arc::new(load(files)?));
    let certificate = Arc::new(Certificate { files: files.clone(), current });
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let following = files::follow(paths, seen, move || certificate.reload());
    Ok((TlsAcceptor::from(Arc::new(config)), following))
}

impl Certificate {
    /// A pair that cannot be used, for it is being written, changes nothing.
    fn reload(&self) {
        match load(&self.files) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!("the certificate is read again");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate is not changed");
            }
        }
    }
}

fn load(files: &Tls) -> Result<CertifiedKey, Error> {
    let (cert, key) = (&files.cert_file, &files.key_file);
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(pem(cert))?;
    if chain.is_empty() {
        return Err(Error::NoCertificate { path: cert.clone() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|source| Error::Pair { cert: cert.clone(), key: key.clone(), source })
}
