//! Requests over HTTP/1.1 and TLS, with what a far side's answer means by itself.

use std::time::{Duration, SystemTime};

use ureq::config::Config;
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::{Agent, Proxy};

use crate::answer::Answer;
use crate::connection::Connection;
use crate::cut;
use crate::secret::Text;
use crate::settings::SinkSettings;
use crate::tls;

/// Bytes of an answer that are read.
const MAX_REPLY: u64 = 1 << 20;
/// Bytes of something fetched.
const MAX_FETCHED: u64 = 64 << 20;
/// Bytes of it that are told.
const MAX_TOLD: usize = 512;

/// Client of one far side, with its connections.
pub struct Http {
    agent: Agent,
    /// Header lines of the configuration.
    headers: Vec<(String, Text)>,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Answer of the far side, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: String,
}

impl Http {
    /// Builds the client of a sink.
    ///
    /// # Errors
    /// Which file can't be read or used.
    pub fn new(settings: &SinkSettings) -> Result<Self, String> {
        Self::to(&settings.connection())
    }

    /// Builds the client of a far side.
    ///
    /// # Errors
    /// Which file can't be read or used.
    pub fn to(far: &Connection<'_>) -> Result<Self, String> {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(tls::provider())
            .root_certs(tls::roots_of_http(far)?)
            .client_cert(tls::client_of_http(far)?)
            .build();
        let proxy = match far.proxy {
            Some(proxy) => {
                let proxy = Proxy::new(&proxy.read()?);
                Some(proxy.map_err(|_| "proxy: is none; write http://HOST:PORT".to_owned())?)
            }
            None => None,
        };
        let limit = Some(far.timeout);
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(limit)
            .timeout_connect(limit)
            .user_agent(concat!("sensor/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .tls_config(tls)
            .build();
        let headers = far.headers.iter().map(|line| header(line));
        Ok(Self {
            agent: config.into(),
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    /// Sends a body.
    ///
    /// # Errors
    /// The answer that it comes to where the far side said nothing.
    pub fn post(&self, request: &Request) -> Result<Reply, Answer> {
        self.send(self.agent.post(&request.url), request)
    }

    /// Replaces what is there.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn put(&self, request: &Request) -> Result<Reply, Answer> {
        self.send(self.agent.put(&request.url), request)
    }

    /// Asks; the body of the request is left out.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn get(&self, request: &Request) -> Result<Reply, Answer> {
        let (mut reply, body) = self.call(request, MAX_REPLY)?;
        reply.body = String::from_utf8_lossy(&body).into_owned();
        Ok(reply)
    }

    /// Fetches what is at an address: the answer with the beginning of its body, and the body.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn fetch(&self, request: &Request) -> Result<(Reply, Vec<u8>), Answer> {
        let (mut reply, body) = self.call(request, MAX_FETCHED)?;
        let shown = body.get(..MAX_TOLD).unwrap_or(&body);
        reply.body = String::from_utf8_lossy(shown).into_owned();
        Ok((reply, body))
    }

    fn call(&self, request: &Request, limit: u64) -> Result<(Reply, Vec<u8>), Answer> {
        let asked = self.headed(self.agent.get(&request.url), request)?.call();
        let answered = asked.map_err(|cause| failure(&cause));
        answered.and_then(|response| read(response, limit))
    }

    fn send(
        &self,
        builder: ureq::RequestBuilder<ureq::typestate::WithBody>,
        request: &Request,
    ) -> Result<Reply, Answer> {
        let sent = self.headed(builder, request)?.send(&request.body[..]);
        let answered = sent.map_err(|cause| failure(&cause));
        let (mut reply, body) = answered.and_then(|response| read(response, MAX_REPLY))?;
        reply.body = String::from_utf8_lossy(&body).into_owned();
        Ok(reply)
    }

    fn headed<B>(
        &self,
        mut builder: ureq::RequestBuilder<B>,
        request: &Request,
    ) -> Result<ureq::RequestBuilder<B>, Answer> {
        for (name, value) in &self.headers {
            builder = builder.header(name, value.read().map_err(Answer::later)?);
        }
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        Ok(builder)
    }
}

/// Status of an answer, and its body apart.
fn read(mut response: http_types::Response, limit: u64) -> Result<(Reply, Vec<u8>), Answer> {
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.and_then(|value| retry_time(value.to_str().ok()?));
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(limit).read_to_vec();
    let body =
        body.map_err(|cause| Answer::later(format!("HTTP {status}, then: {}", told(&cause))))?;
    let reply = Reply {
        status,
        retry_after,
        body: String::new(),
    };
    Ok((reply, body))
}

mod http_types {
    pub type Response = ureq::http::Response<ureq::Body>;
}

/// Wait that a header asks for, in seconds or until a date.
fn retry_time(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(SystemTime::now()).ok()
}

fn failure(cause: &ureq::Error) -> Answer {
    match cause {
        // It may hold a secret.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Answer::later("url: is none; write https://HOST/PATH")
        }
        other => Answer::later(told(other)),
    }
}

/// Error in words that help.
fn told(cause: &ureq::Error) -> String {
    match cause {
        ureq::Error::Rustls(cause) => format!("TLS: {cause}"),
        ureq::Error::Timeout(which) => format!("no answer in time ({which})"),
        other => other.to_string(),
    }
}

impl Reply {
    /// Status and the beginning of the body.
    pub fn told(&self) -> String {
        let body = self.body.trim();
        if body.is_empty() {
            return format!("HTTP {}", self.status);
        }
        format!("HTTP {}: {}", self.status, cut::bytes(body, MAX_TOLD))
    }

    /// Later, with the wait that was asked for.
    pub fn later(&self) -> Answer {
        Answer::Later {
            why: self.told(),
            after: self.retry_after,
        }
    }

    /// Meaning of the status alone (RFC 9110): what is the request's own fault is refused; what passes,
    /// or is a fault of the configuration, comes again.
    pub fn answer(&self) -> Answer {
        match self.status {
            200..=299 => Answer::Accepted(self.told()),
            // Neither address nor right: that is for a person to mend, the record is not to blame.
            401 | 403 | 404 | 405 | 407 | 300..=399 => self.later(),
            408 | 421 | 425 | 429 | 500..=599 => self.later(),
            _ => Answer::Refused(self.told()),
        }
    }
}

/// Name and value of a header line.
///
/// # Errors
/// What is wrong with it.
pub fn header(line: &str) -> Result<(String, Text), String> {
    const OURS: [&str; 5] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
    ];
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("\"{line}\" is no header; write \"Name: value\""))?;
    let (name, value) = (name.trim(), value.trim());
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("\"{name}\" is no name of a header"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name} is set by the sensor"));
    }
    if !value.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err(format!("the value of {name} is not plain ASCII"));
    }
    let value = Text::try_from(value.to_owned())?;
    let is_secret = name.eq_ignore_ascii_case("authorization");
    if is_secret && matches!(value, Text::Plain(_)) {
        return Err(
            "a secret does not stand in the configuration: use token, or write \
             \"Authorization: file:/PATH\""
                .to_owned(),
        );
    }
    Ok((name.to_owned(), value))
}

/// Address of the far side without a slash at its end; the usual one where none is given.
///
/// # Errors
/// When it is a secret that can't be read.
pub fn base(settings: &SinkSettings, usual: &str) -> Result<String, Answer> {
    let url = match &settings.far.url {
        Some(url) => url.read().map_err(Answer::later)?,
        None => usual.to_owned(),
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// Value of `Authorization` for a user with a password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let both = format!("{user}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(both)
    )
}

/// `Authorization` of a token, with a user as Basic, without as the scheme says.
///
/// # Errors
/// When the secret can't be read.
pub fn authorization(
    settings: &SinkSettings,
    scheme: &str,
) -> Result<Option<(String, String)>, String> {
    let Some(token) = &settings.far.token else {
        return Ok(None);
    };
    let token = token.read()?;
    let value = match &settings.user {
        Some(user) => basic(user, &token),
        None => format!("{scheme} {token}"),
    };
    Ok(Some(("Authorization".to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16) -> Answer {
        Reply {
            status,
            ..Reply::default()
        }
        .answer()
    }

    #[test]
    fn only_what_the_record_is_to_blame_for_is_refused() {
        for status in [200, 202, 204] {
            assert_eq!(reply(status).label(), "accepted", "{status}");
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 502, 503] {
            assert_eq!(reply(status).label(), "later", "{status}");
        }
        for status in [400, 409, 413, 422] {
            assert_eq!(reply(status).label(), "refused", "{status}");
        }
    }

    #[test]
    fn a_wait_is_read_in_both_forms() {
        assert_eq!(retry_time("120"), Some(Duration::from_secs(120)));
        let at = SystemTime::now() + Duration::from_secs(100);
        let wait = retry_time(&httpdate::fmt_http_date(at)).unwrap();
        assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(100));
        assert_eq!(retry_time("soon"), None);
        // A date that has passed asks for nothing.
        assert_eq!(retry_time("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }

    #[test]
    fn header_lines_are_checked() {
        assert!(header("X-Team: soc").is_ok());
        assert!(header("Authorization: file:/etc/sensor/key").is_ok());
        for line in ["X-Team", "X Team: a", "Host: a", "X: a\u{e4}", "X: a\nY: b"] {
            assert!(header(line).is_err(), "{line}");
        }
        let told = header("Authorization: Bearer hunter2").unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
