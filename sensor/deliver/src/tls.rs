//! TLS to the far side: rustls with ring; authorities of the system or of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};

use crate::connection::Connection;

/// Places where systems keep the authorities that they trust (Debian, Fedora, SUSE, Alpine).
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Algorithms, all from one library.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Authorities to trust.
fn roots(far: &Connection<'_>) -> Result<Vec<Certificate<'static>>, String> {
    match far.ca_file {
        Some(path) => certificates(path).map_err(|why| format!("ca_file: {why}")),
        None => {
            let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
            found.map_or_else(|| Ok(Vec::new()), certificates)
        }
    }
}

pub fn roots_of_http(far: &Connection<'_>) -> Result<RootCerts, String> {
    roots(far).map(|certificates| RootCerts::Specific(Arc::new(certificates)))
}

/// Authorities to trust, as DER.
///
/// # Errors
/// Which file can't be read or used.
pub fn roots_as_der(far: &Connection<'_>) -> Result<Vec<Vec<u8>>, String> {
    let trusted = roots(far)?;
    Ok(trusted.iter().map(|one| one.der().to_vec()).collect())
}

/// Configuration of a connection that is not HTTP.
///
/// # Errors
/// Which file can't be read or used.
pub fn client_config(far: &Connection<'_>) -> Result<Arc<ClientConfig>, String> {
    let mut trusted = RootCertStore::empty();
    for certificate in roots(far)? {
        // One that can't be read makes the others no worse.
        let _unread = trusted.add(CertificateDer::from(certificate.der().to_vec()));
    }
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder
        .map_err(|cause| cause.to_string())?
        .with_root_certificates(trusted);
    let config = match (far.client_cert_file, far.client_key) {
        (Some(path), Some(key)) => {
            let chain = certificates(path).map_err(|why| format!("client_cert_file: {why}"))?;
            let chain = chain
                .iter()
                .map(|one| CertificateDer::from(one.der().to_vec()));
            let der = PrivateKeyDer::from_pem_slice(key.read()?.as_bytes());
            let der = der.map_err(|_| format!("client_key: {key}: holds no private key in PEM"))?;
            let made = builder.with_client_auth_cert(chain.collect(), der);
            made.map_err(|cause| format!("client_cert_file: {cause}"))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The sensor's own certificate.
pub fn client_of_http(far: &Connection<'_>) -> Result<Option<ClientCert>, String> {
    let (Some(path), Some(key)) = (far.client_cert_file, far.client_key) else {
        return Ok(None);
    };
    let chain = certificates(path).map_err(|why| format!("client_cert_file: {why}"))?;
    let key = PrivateKey::from_pem(key.read()?.as_bytes())
        .map_err(|_| format!("client_key: {key}: holds no private key in PEM"))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let place = path.display();
    let pem = std::fs::read(path).map_err(|cause| format!("{place}: {cause}"))?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() {
        return Err(format!("{place}: holds no certificate in PEM"));
    }
    Ok(found)
}
