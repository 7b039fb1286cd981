//! Random calls of the API: what its document allows, what is nearly right, and what is no request at all.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::frames::Dice;

/// Time in which a call is answered: the agent's own limit is ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Body from which the agent refuses one unread.
const TOO_LARGE: usize = (1 << 20) + 1;

/// Texts that parsers trip over.
const TEXTS: [&str; 14] = [
    "",
    "10.99.2.2",
    "198.51.100.0/24",
    "2001:db8::/32",
    "fd99:2::2",
    "0.0.0.0/0",
    "::ffff:192.0.2.1",
    "000001-0000000000000000",
    "host 192.0.2.7 and (port 22 or not proto udp) last 2h",
    "\u{1b}[31m\u{202e}\u{0}\"\\",
    "%00%ff/../../",
    "\u{1f980}\u{0301}",
    "2026-01-01T00:00:00Z",
    "1e999",
];

/// Outcomes of calls, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub n_done: u64,
    pub n_refused: u64,
    /// Connections that were closed without an answer, as those of broken requests may be.
    pub n_hung_up: u64,
}

/// Path and method of the document.
struct Operation {
    method: String,
    path: String,
    parameters: Vec<Value>,
    body: Option<Value>,
}

/// One who calls, over and over.
pub struct Caller {
    socket: PathBuf,
    operations: Vec<Operation>,
    dice: Dice,
    stream: Option<BufReader<UnixStream>>,
}

/// A call as bytes.
struct Call {
    bytes: Vec<u8>,
    /// It is HTTP as it should be, so that there is an answer.
    is_whole: bool,
}

impl Caller {
    /// Reads the document of an agent.
    ///
    /// # Errors
    /// When the agent does not answer, or its document has no paths.
    pub fn new(socket: &Path, seed: u64) -> Result<Self> {
        let mut caller = Self {
            socket: socket.to_owned(),
            operations: Vec::new(),
            dice: Dice(seed),
            stream: None,
        };
        let call = plain("GET", "/api/v1/openapi.json", "");
        let answered = caller.send(&call)?;
        let (_, body) = answered.context("the agent hung up")?;
        let document: Value = serde_json::from_slice(&body)?;
        caller.operations = operations(&document);
        if caller.operations.is_empty() {
            bail!("the document has no paths");
        }
        Ok(caller)
    }

    /// Makes calls one after the other.
    ///
    /// # Errors
    /// When one is not answered in time, or not as the API promises: JSON, and with a code and a reason where it
    /// is refused.
    pub fn call(&mut self, n: u64) -> Result<Tally> {
        let mut tally = Tally::default();
        for _ in 0..n {
            let call = self.make();
            let shown = || String::from_utf8_lossy(&call.bytes[..call.bytes.len().min(400)]);
            match self.send(&call) {
                Ok(Some((status, body))) => {
                    judge(status, &body).with_context(|| shown().into_owned())?;
                    let is_done = (200..300).contains(&status);
                    tally.n_done += u64::from(is_done);
                    tally.n_refused += u64::from(!is_done);
                }
                Ok(None) => tally.n_hung_up += 1,
                Err(_) if !call.is_whole => tally.n_hung_up += 1,
                Err(cause) => return Err(cause).with_context(|| shown().into_owned()),
            }
            if !call.is_whole {
                self.stream = None;
            }
        }
        Ok(tally)
    }

    fn make(&mut self) -> Call {
        let at = self.dice.below(self.operations.len());
        let choice = self.dice.below(100);
        match choice {
            0..2 => self.garbage(),
            2..4 => self.half(at),
            4 => plain("POST", "/api/v1/blocks", &"x".repeat(TOO_LARGE)),
            _ => self.operation(at),
        }
    }

    /// Bytes that are no HTTP.
    fn garbage(&mut self) -> Call {
        let n = self.dice.below(200);
        let mut bytes: Vec<u8> = (0..n).map(|_| self.dice.roll() as u8).collect();
        bytes.extend(b"\r\n\r\n");
        Call {
            bytes,
            is_whole: false,
        }
    }

    /// The beginning of a request.
    fn half(&mut self, at: usize) -> Call {
        let mut call = self.operation(at);
        let n = self.dice.below(call.bytes.len());
        call.bytes.truncate(n);
        call.is_whole = false;
        call
    }

    fn operation(&mut self, at: usize) -> Call {
        let Some(operation) = self.operations.get(at) else {
            return plain("GET", "/api/v1/status", "");
        };
        let (mut target, method) = (operation.path.clone(), operation.method.clone());
        let (parameters, body) = (operation.parameters.clone(), operation.body.clone());
        let mut query = Vec::new();
        for parameter in &parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            let is_in_path = parameter["in"] == "path";
            if !is_in_path && self.dice.below(2) == 0 {
                continue;
            }
            let value = self.value(&parameter["schema"], 0);
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            if is_in_path {
                target = target.replace(&format!("{{{name}}}"), &encoded(&text));
            } else {
                query.push(format!("{name}={}", encoded(&text)));
            }
        }
        if !query.is_empty() {
            target = format!("{target}?{}", query.join("&"));
        }
        let body = body.map_or_else(String::new, |schema| self.value(&schema, 0).to_string());
        let method = if self.dice.below(50) == 0 {
            ["PUT", "DELETE", "OPTIONS", "GET"][self.dice.below(4)].to_owned()
        } else {
            method
        };
        plain(&method, &target, &body)
    }

    /// A value of a schema, or, now and then, one of another.
    fn value(&mut self, schema: &Value, depth: u32) -> Value {
        if depth > 6 || self.dice.below(20) == 0 {
            return self.anything();
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        for choice in ["oneOf", "anyOf", "enum"] {
            if let Some(all) = schema[choice].as_array().filter(|all| !all.is_empty()) {
                let one = all[self.dice.below(all.len())].clone();
                let is_plain = choice == "enum";
                return if is_plain {
                    one
                } else {
                    self.value(&one, depth + 1)
                };
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
            one => one.as_str().unwrap_or_default(),
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => {
                let n = self.dice.below(6);
                (0..n)
                    .map(|_| self.value(&schema["items"], depth + 1))
                    .collect()
            }
            "integer" => self.integer(),
            "number" => json!(self.dice.roll() as f64 / 1e9),
            "boolean" => json!(self.dice.below(2) == 0),
            "null" => Value::Null,
            _ => self.text(),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut made = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let required = schema["required"].as_array();
            let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
            if self.dice.below(10) < if is_required { 9 } else { 4 } {
                made.insert(name.clone(), self.value(field, depth + 1));
            }
        }
        if self.dice.below(20) == 0 {
            made.insert("unheard_of".to_owned(), self.anything());
        }
        made.into()
    }

    fn integer(&mut self) -> Value {
        match self.dice.below(8) {
            0 => json!(0),
            1 => json!(u64::MAX),
            2 => json!(-1),
            3 => json!(65_536),
            _ => json!(self.dice.below(1_000)),
        }
    }

    fn text(&mut self) -> Value {
        if self.dice.below(40) == 0 {
            return json!("a".repeat(self.dice.below(4_000)));
        }
        if self.dice.below(3) == 0 {
            let n = self.dice.roll();
            return json!(format!("198.18.{}.{}", n as u8, (n >> 8) as u8));
        }
        json!(*self.dice.pick(&TEXTS))
    }

    fn anything(&mut self) -> Value {
        match self.dice.below(7) {
            0 => Value::Null,
            1 => json!({}),
            2 => json!([[[]]]),
            3 => json!(true),
            4 => json!(-1.5e300),
            5 => self.integer(),
            _ => self.text(),
        }
    }

    /// Sends a call; status and body of the answer, or none where the agent hung up.
    fn send(&mut self, call: &Call) -> Result<Option<(u16, Vec<u8>)>> {
        // An idle connection may have made room for another client meanwhile: it is begun anew, once.
        let is_used = self.stream.is_some();
        match self.send_once(call) {
            Ok(None) | Err(_) if is_used && call.is_whole => {
                self.stream = None;
                self.send_once(call)
            }
            answered => answered,
        }
    }

    fn send_once(&mut self, call: &Call) -> Result<Option<(u16, Vec<u8>)>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = UnixStream::connect(&self.socket)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        // What is too large is refused before it was sent as a whole.
        let _sent = stream.get_mut().write_all(&call.bytes);
        if !call.is_whole {
            stream.get_mut().shutdown(std::net::Shutdown::Write)?;
        }
        let Some(answer) = read(&mut stream)? else {
            return Ok(None);
        };
        if !answer.closes {
            self.stream = Some(stream);
        }
        Ok(Some((answer.status, answer.body)))
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// Nothing more comes over the connection.
    closes: bool,
}

/// Reads an answer; of a stream of events the head alone.
fn read(stream: &mut BufReader<UnixStream>) -> Result<Option<Answer>> {
    let mut line = String::new();
    let n = match stream.read_line(&mut line) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => 0,
        read => read?,
    };
    if n == 0 {
        return Ok(None);
    }
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("no status: {line:?}"))?;
    let (mut length, mut closes, mut is_stream) = (0, false, false);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the head ends early");
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            "connection" => closes |= value == "close",
            "content-type" => is_stream |= value.starts_with("text/event-stream"),
            _ => {}
        }
    }
    if is_stream {
        return Ok(Some(Answer {
            status,
            body: b"{}".to_vec(),
            closes: true,
        }));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Answer {
        status,
        body,
        closes,
    }))
}

/// Type of the first block of a capture.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Checks an answer against what the API promises. What the server of HTTP itself refuses has no body.
fn judge(status: u16, body: &[u8]) -> Result<()> {
    if body.is_empty() && matches!(status, 400 | 414 | 431) {
        return Ok(());
    }
    // Packets are answered as a capture.
    if status == 200 && body.starts_with(&PCAPNG) {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(body)
        .with_context(|| format!("{status} without JSON: {}", String::from_utf8_lossy(body)))?;
    match status {
        200 => Ok(()),
        400 | 404 | 405 | 409 | 413 | 503 => {
            let is_told = answer["code"].is_string() && answer["error"].is_string();
            if is_told {
                Ok(())
            } else {
                bail!("{status} without a reason: {answer}")
            }
        }
        _ => bail!("{status}: {answer}"),
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                parameters: operation["parameters"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default(),
                body: body.is_object().then(|| body.clone()),
            });
        }
    }
    all
}

fn plain(method: &str, target: &str, body: &str) -> Call {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: s\r\ncontent-length: {length}\r\n\r\n");
    Call {
        bytes: [head.as_bytes(), body.as_bytes()].concat(),
        is_whole: true,
    }
}

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
