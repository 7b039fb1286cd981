//! Prometheus metrics over HTTP.

#[cfg(test)]
mod page;
mod series;
mod table;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::api::Answers;
use crate::config::MetricsSettings;

/// Scrapers served at once; one more takes the place of the one that came first.
const MAX_CLIENTS: usize = 8;
/// Time limit of a whole connection: a scraper that is slower is hung up on.
const PATIENCE: Duration = Duration::from_secs(30);
const HEADER_PATIENCE: Duration = Duration::from_secs(5);

/// The server of an address.
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Serves metrics in the background. An address that can't be had is a warning: the sensor works
/// without.
pub async fn open(settings: &MetricsSettings, answers: &Answers) -> Option<Server> {
    if !settings.enabled {
        return None;
    }
    let [.., service] = &*answers.services;
    let address = settings.listen;
    match TcpListener::bind(address).await {
        Ok(listener) => {
            info!(%address, "metrics at http://{address}/metrics");
            service.set_open(true, None);
            let accepting = tokio::spawn(serve(listener, answers.clone()));
            Some(Server { address, accepting })
        }
        Err(cause) => {
            service.set_open(false, Some(format!("{address}: {cause}")));
            warn!(%address, %cause, "metrics not served; set metrics.listen to another address");
            None
        }
    }
}

/// Serves as the settings say now. Connections under way go on.
pub async fn reopen(server: &mut Option<Server>, settings: &MetricsSettings, answers: &Answers) {
    let is_as_wanted = match &server {
        Some(server) => settings.enabled && server.address == settings.listen,
        None => !settings.enabled,
    };
    if is_as_wanted {
        return;
    }
    if let Some(old) = server.take() {
        old.accepting.abort();
        // The address is free when the task is gone.
        let _aborted = old.accepting.await;
        let [.., service] = &*answers.services;
        service.set_open(false, None);
        info!(address = %old.address, "metrics no longer served");
    }
    *server = open(settings, answers).await;
}

async fn serve(listener: TcpListener, answers: Answers) {
    let [.., service] = &*answers.services;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A scraper that says nothing makes room for one that does.
                let Some(seat) = service.take(MAX_CLIENTS) else {
                    continue;
                };
                let answers = answers.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = talk(stream, peer, &answers) => {}
                        () = seat.given_up() => debug!(%peer, "an idle scraper made room"),
                    }
                });
            }
            Err(cause) => {
                // Out of descriptors, most likely: that passes.
                warn!(%cause, "metrics connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, peer: SocketAddr, answers: &Answers) {
    let service = service_fn(|request| {
        let answer = answer(&request, answers);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => debug!(%peer, %cause, "a scraper went"),
        Err(_elapsed) => debug!(%peer, "a scraper took too long"),
    }
}

fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        let methods = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, methods);
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let text = table::render(&series::Sight {
                snapshot: &answers.snapshot(),
                services: &answers.services[..],
                n_forgotten: answers.n_forgotten(),
                health: &answers.status().health,
            });
            let mut response = Response::new(Full::from(text));
            let format = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
    }
}
