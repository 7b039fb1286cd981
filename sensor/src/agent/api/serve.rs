//! Connections and their requests: each bounded in size, in time and in number.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, RawPathParams, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request as HttpRequest, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, get, on, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sensor_record::{Name, json};
use sensor_respond::Origin;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::{debug, info};

use super::answers::Answers;
use super::gate::Gate;
use super::protocol::{Answer, Code, MAX_REQUEST_BYTES, Refusal, Request};
use super::routes::{BASE, ROUTES, Route};
use super::{live, openapi};
use crate::agent::service::Seat;
use crate::ring::Selected;
use crate::tokens::Rights;

/// A client that says nothing for so long is hung up on.
const IDLE: Duration = Duration::from_secs(60);
/// Time limit for a client to send its request, and for the engine to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a client to be told that it has to go.
const FAREWELL: Duration = Duration::from_millis(100);
/// Path of a login, whose sender nobody knows.
const LOGIN: &str = "/login";
/// Bytes of a request's head, and of what waits to be written.
const MAX_BUFFERED: usize = 64 << 10;

/// Rights of whoever comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks.
    Reader,
    /// Asks and orders.
    Operator,
}

/// The way that a client came in by.
#[derive(Clone, Debug)]
pub enum Door {
    /// A socket of the file system, which has decided who may.
    Socket { role: Role, uid: u32 },
    /// TCP: a token decides.
    Tcp { from: IpAddr, gate: Arc<Gate> },
}

impl From<Rights> for Role {
    fn from(rights: Rights) -> Self {
        match rights {
            Rights::Read => Self::Reader,
            Rights::Operate => Self::Operator,
        }
    }
}

impl Role {
    const fn rights(self) -> Rights {
        match self {
            Self::Reader => Rights::Read,
            Self::Operator => Rights::Operate,
        }
    }
}

/// Client that wants something.
pub struct Caller {
    role: Role,
    by: Origin,
}

impl Caller {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        match parts.extensions.get::<Door>() {
            Some(Door::Socket { role, uid }) => Ok(Self {
                role: *role,
                by: Origin::Operator { uid: *uid },
            }),
            Some(Door::Tcp { from, gate }) => {
                let token = gate.admit(&parts.method, &parts.headers, *from, Instant::now())?;
                Ok(Self {
                    role: token.rights.into(),
                    by: Origin::Token { token: token.name },
                })
            }
            None => Err(Refusal::new(Code::Unauthorized, "nobody is known here")),
        }
    }
}

/// All paths.
pub fn router(answers: &Answers) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else {
            continue;
        };
        let handler = move |State(answers): State<Answers>, request: HttpRequest<Body>| async move {
            let answered = carry_out(&answers, route, request).await;
            answered.map_or_else(|refusal| refused(&refusal), |answer| done(&answer))
        };
        router = router.route(&format!("{BASE}{}", route.path), on(filter, handler));
    }
    let document = || async { json_of(StatusCode::OK, openapi::text().into()) };
    router
        .route(&format!("{BASE}/openapi.json"), get(document))
        .route(&format!("{BASE}/live"), get(watch))
        .route(&format!("{BASE}/packets"), get(packets))
        .route(&format!("{BASE}/incidents/{{id}}/packets"), get(packets))
        .route(&format!("{BASE}/me"), get(tell_who))
        .route(&format!("{BASE}{LOGIN}"), post(log_in))
        .route(&format!("{BASE}/logout"), post(log_out))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(answers.clone())
}

/// Does what a request asks for.
async fn carry_out(
    answers: &Answers,
    route: &'static Route,
    request: HttpRequest<Body>,
) -> Result<Answer, Refusal> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::of(&parts)?;
    if caller.role == Role::Reader && route.method != Method::GET {
        let message = match caller.by {
            Origin::Token { .. } => "the token is one to read; an order takes one to operate",
            _ => {
                "this socket only answers questions; orders are for root and the group of the other one \
                 (socket.group)"
            }
        };
        return Err(Refusal::new(Code::Forbidden, message));
    }
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let in_path = in_path.map_err(|cause| Refusal::new(Code::BadRequest, cause.to_string()))?;
    let body = timeout(PATIENCE, to_bytes(body, MAX_REQUEST_BYTES)).await;
    let body = body.map_err(|_| Refusal::new(Code::BadRequest, "the request came too slowly"))?;
    let body = body.map_err(|_| {
        let message = format!("a request has at most {MAX_REQUEST_BYTES} bytes");
        Refusal::new(Code::TooLarge, message)
    })?;
    let query = parts.uri.query().unwrap_or_default();
    let request = route.request(in_path.iter(), query, &body)?;
    let answered = timeout(PATIENCE, answers.to(request, caller.by)).await;
    answered.unwrap_or_else(|_| Err(Refusal::busy()))
}

/// Packets of an incident that the path names, else of the flows that the query finds.
async fn packets(State(answers): State<Answers>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    match timeout(PATIENCE, selected(&answers, parts)).await {
        Ok(Ok(found)) => file_of(found),
        Ok(Err(refusal)) => refused(&refusal),
        Err(_elapsed) => refused(&Refusal::busy()),
    }
}

async fn selected(answers: &Answers, mut parts: Parts) -> Result<Selected, Refusal> {
    let bad = |cause: String| Refusal::new(Code::BadRequest, cause);
    if Caller::of(&parts)?.role == Role::Reader {
        let message = "packets are for those who may operate: they may hold what people sent";
        return Err(Refusal::new(Code::Forbidden, message));
    }
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let in_path = in_path.map_err(|cause| bad(cause.to_string()))?;
    if let Some((_, id)) = in_path.iter().next() {
        let id = id.parse::<Name>().map_err(|cause| bad(cause.to_string()))?;
        return answers.packets_of_incident(id).await;
    }
    let row = ROUTES.iter().find(|route| route.command == "query");
    let query = parts.uri.query().unwrap_or_default();
    match row.map(|row| row.request(std::iter::empty(), query, &[])) {
        Some(Ok(Request::Query(query))) => answers.packets_of_query(query).await,
        Some(Err(refusal)) => Err(refusal),
        _ => Err(bad("no query".to_owned())),
    }
}

fn file_of(found: Selected) -> Response {
    let counts = [
        ("x-sensor-packets", found.n_packets.to_string()),
        ("x-sensor-left-out", found.n_left_out.to_string()),
        ("x-sensor-more-flows", u8::from(found.is_cut).to_string()),
    ];
    let headers = [
        (CONTENT_TYPE, "application/x-pcapng"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"packets.pcapng\"",
        ),
    ];
    (StatusCode::OK, counts, headers, found.file).into_response()
}

async fn watch(State(answers): State<Answers>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    match Caller::of(&parts) {
        Ok(_) => live::stream(answers).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// Client, as a page wants to know it.
#[derive(Serialize)]
struct Me<'a> {
    name: &'a str,
    rights: Rights,
    /// Says that there is a session to end.
    can_leave: bool,
}

async fn tell_who(request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    match Caller::of(&parts) {
        Ok(Caller { role, by }) => done(&Me {
            name: &sensor_record::text::by(&by),
            rights: role.rights(),
            can_leave: matches!(by, Origin::Token { .. }),
        }),
        Err(refusal) => refused(&refusal),
    }
}

/// Body of a login.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: String,
}

async fn log_in(request: HttpRequest<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Some(Door::Tcp { from, gate }) = parts.extensions.get::<Door>() else {
        return refused(&Refusal::new(Code::Refused, "nobody logs in at a socket"));
    };
    let body = timeout(PATIENCE, to_bytes(body, MAX_BUFFERED)).await;
    let shown = body
        .ok()
        .and_then(|body| json::read::<Shown>(&body.ok()?).ok());
    let Some(Shown { token }) = shown else {
        let message = "send {\"token\":\"…\"}";
        return refused(&Refusal::new(Code::BadRequest, message));
    };
    match gate.log_in(&token, *from, Instant::now()) {
        Ok((cookie, token)) => {
            info!(token = token.name, %from, "a browser logged in");
            let me = Me {
                name: &token.name,
                rights: token.rights,
                can_leave: true,
            };
            with_cookie(done(&me), &cookie)
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn log_out(request: HttpRequest<Body>) -> Response {
    match request.extensions().get::<Door>() {
        Some(Door::Tcp { gate, .. }) => {
            let cookie = gate.log_out(request.headers());
            with_cookie(json_of(StatusCode::OK, "{}".into()), &cookie)
        }
        _ => refused(&Refusal::new(Code::Refused, "a socket has no sessions")),
    }
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn no_such_path() -> Response {
    let message = format!("no such path; {BASE}/openapi.json lists all");
    refused(&Refusal::new(Code::NoSuchPath, message))
}

async fn no_such_method() -> Response {
    let message = format!("the path has other methods; {BASE}/openapi.json lists them");
    refused(&Refusal::new(Code::NoSuchMethod, message))
}

/// Status of a refusal (RFC 9110).
pub const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NoSuchPath | Code::NotFound => StatusCode::NOT_FOUND,
        Code::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
        Code::Refused => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Code::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn done(answer: &impl Serialize) -> Response {
    json_of(StatusCode::OK, json::line(answer).into())
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = json_of(status_of(refusal.code), json::line(refusal).into());
    if matches!(refusal.code, Code::Busy | Code::TooMany) {
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, soon);
    }
    response
}

fn json_of(status: StatusCode, text: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}

/// Answers one client's requests until it goes, or has to.
pub async fn talk<S>(stream: S, seat: Seat, router: Router, door: Door)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seat = Arc::new(seat);
    let inner = TowerToHyperService::new(router);
    let at = Arc::clone(&seat);
    let service = service_fn(move |mut request: HttpRequest<Incoming>| {
        request.extensions_mut().insert(door.clone());
        // Nothing is done for whoever is still about to say who it is: however slowly many do, they give way.
        let path = request.uri().path().strip_prefix(BASE);
        at.set_idle(path == Some(LOGIN));
        let answered = inner.call(request);
        let at = Arc::clone(&at);
        async move {
            let answered = answered.await;
            // Whoever does not take the answer keeps nobody else from a place.
            at.set_idle(true);
            answered
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_BUFFERED)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(cause) = ended {
            debug!(%cause, "a client went");
        },
        () = seat.given_up() => debug!("an idle client made room"),
    }
}

/// Tells a client that there is no place for it.
pub async fn hang_up(mut stream: impl AsyncWrite + Unpin, why: &str) {
    let body = json::line(&Refusal::new(Code::Busy, why));
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _gone = timeout(FAREWELL, stream.write_all(text.as_bytes())).await;
}
