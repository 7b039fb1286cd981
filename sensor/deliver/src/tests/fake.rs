//! A server over HTTP/1.1, in the clear or with TLS, that answers as it is told.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Treatment of records by the far side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Accept,
    /// The record is bad (4xx).
    Refuse,
    /// Too many (429).
    Busy,
    /// Broken (5xx), or away.
    Down,
    /// It takes the request and never answers.
    Slow,
    /// It takes the request and hangs up.
    Cut,
    /// It takes every second record only.
    Partial,
}

/// A request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let found = all.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Status, header lines, body.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// Answer to a request while the far side works; records that it took are appended.
pub type Handler = dyn Fn(&Request, Mode, &mut Vec<String>) -> Response + Send + Sync;

/// A server; its threads end with the process.
#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    requests: Vec<Request>,
    accepted: Vec<String>,
}

impl Fake {
    pub fn start(tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            mode: Mode::Accept,
            requests: Vec::new(),
            accepted: Vec::new(),
        };
        let fake = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let (server, tls, handler) = (server.clone(), tls.clone(), Arc::clone(&handler));
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        server.talk(StreamOwned::new(connection, stream), &*handler);
                    }
                    None => server.talk(stream, &*handler),
                });
            }
        });
        fake
    }

    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    pub fn accepted(&self) -> Vec<String> {
        self.state.lock().unwrap().accepted.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    fn talk(&self, stream: impl Read + Write, handler: &Handler) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream) {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            let mode = state.mode;
            let response = match mode {
                Mode::Slow => {
                    drop(state);
                    // Until the other side hangs up.
                    let _nothing = stream.read(&mut [0]);
                    return;
                }
                Mode::Cut => return,
                Mode::Busy => {
                    let mut busy = Response::new(429, "too many");
                    busy.headers
                        .push(("Retry-After".to_owned(), "0".to_owned()));
                    busy
                }
                Mode::Down => Response::new(503, "broken"),
                Mode::Accept | Mode::Refuse | Mode::Partial => {
                    handler(&request, mode, &mut state.accepted)
                }
            };
            drop(state);
            if write(stream.get_mut(), &response).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut impl std::io::BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let mut request = Request {
        method: first.next()?.to_owned(),
        path: first.next()?.to_owned(),
        ..Request::default()
    };
    for line in lines.iter().skip(1) {
        let (name, value) = line.split_once(':')?;
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    let n = request
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    request.body = vec![0; n];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn write(stream: &mut impl Write, response: &Response) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {} Answer\r\n", response.status);
    for (name, value) in &response.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!(
        "Content-Length: {}\r\n\r\n{}",
        response.body.len(),
        response.body
    ));
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// A certificate for 127.0.0.1 and localhost with its key, as PEM.
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

impl Certificate {
    pub fn new() -> Self {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self {
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    /// Server that shows this certificate, and wants to see another where one is given.
    pub fn server(&self, client: Option<&Self>) -> Arc<ServerConfig> {
        let provider = crate::tls::provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match client {
            Some(client) => {
                let mut roots = RootCertStore::empty();
                roots.add(client.der()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(vec![self.der()], key).unwrap())
    }
}

/// A proxy that makes tunnels, and remembers where to.
pub fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&asked);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(|stream| stream.ok()) {
            let request = read(&mut BufReader::new(&client)).unwrap();
            known
                .lock()
                .unwrap()
                .push(format!("{} {}", request.method, request.path));
            let mut server = TcpStream::connect(&request.path).unwrap();
            client.write_all(b"HTTP/1.1 200 Made\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (address, asked)
}
