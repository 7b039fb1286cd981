//! The API over TCP: on loopback, or anywhere with TLS; always with a token.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{debug, info, warn};

use super::api::{Answers, Door, Gate, hang_up, router, talk};
use super::page::with_page;
use super::service::{Seat, Service};
use crate::config::HttpSettings;
use crate::tokens::TokenFile;

/// Time limit of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Parts that every connection is served with.
struct Desk {
    router: Router,
    gate: Arc<Gate>,
    tls: Option<TlsAcceptor>,
    service: Arc<Service>,
    n_seats: usize,
}

/// Serves in the background. What keeps it from that is a warning: the sensor works without.
pub async fn open(settings: &HttpSettings, tokens: Option<TokenFile>, answers: &Answers) {
    if !settings.enabled {
        return;
    }
    let [_, _, service, _] = &*answers.services;
    match prepare(settings, tokens, answers).await {
        Ok((listener, desk)) => {
            let scheme = if desk.tls.is_some() { "https" } else { "http" };
            info!(address = %settings.listen, "API at {scheme}://{}/api/v1/", settings.listen);
            service.set_open(true, None);
            tokio::spawn(serve(listener, Arc::new(desk)));
        }
        Err(cause) => {
            let cause = format!("{cause:#}");
            warn!(
                cause,
                "API not served over TCP; see [http] in the configuration"
            );
            service.set_open(false, Some(cause));
        }
    }
}

async fn prepare(
    settings: &HttpSettings,
    tokens: Option<TokenFile>,
    answers: &Answers,
) -> Result<(TcpListener, Desk)> {
    let tokens = tokens.context("tokens are kept in respond.state_folder: set it")?;
    let tls = if settings.cert_file.as_os_str().is_empty() {
        None
    } else {
        Some(acceptor(&settings.cert_file, &settings.key_file)?)
    };
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.with_context(|| settings.listen.to_string())?;
    let [_, _, service, _] = &*answers.services;
    let desk = Desk {
        router: with_page(router(answers)),
        gate: Arc::new(Gate::new(tokens, tls.is_some())),
        tls,
        service: Arc::clone(service),
        n_seats: settings.max_clients,
    };
    Ok((listener, desk))
}

/// TLS 1.2 and 1.3 with a certificate and its key.
fn acceptor(cert_file: &Path, key_file: &Path) -> Result<TlsAcceptor> {
    let of_cert = || format!("http.cert_file: {}", cert_file.display());
    let of_key = || format!("http.key_file: {}", key_file.display());
    let chain = CertificateDer::pem_file_iter(cert_file).with_context(of_cert)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().with_context(of_cert)?;
    let key = PrivateKeyDer::from_pem_file(key_file).with_context(of_key)?;
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    Ok(TlsAcceptor::from(Arc::new(config.with_context(of_cert)?)))
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move { desk.receive(stream, peer).await });
            }
            Err(cause) => {
                // Out of descriptors, most likely: that passes.
                warn!(%cause, "connection to the API not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Desk {
    async fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        // A place is taken before anything is read, so that handshakes are bounded as well.
        let seat = self.service.take(self.n_seats);
        let Some(tls) = &self.tls else {
            return self.greet(stream, seat, peer).await;
        };
        let Some(seat) = seat else {
            return;
        };
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE, tls.accept(stream)) => shaken,
            () = seat.given_up() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.greet(stream, Some(seat), peer).await,
            Ok(Err(cause)) => debug!(%peer, %cause, "no TLS"),
            Err(_elapsed) => debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn greet<S>(&self, stream: S, seat: Option<Seat>, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let door = Door::Tcp {
            from: peer.ip(),
            gate: Arc::clone(&self.gate),
        };
        match seat {
            Some(seat) => talk(stream, seat, self.router.clone(), door).await,
            None => hang_up(stream, "too many clients; raise http.max_clients").await,
        }
    }
}
