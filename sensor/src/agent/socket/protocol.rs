//! What is said over the socket: one JSON object per line, each request answered by one line.
//!
//! ```text
//! {"v":1,"command":"flows","network":"10.0.0.0/8","limit":5}
//! {"v":1,"ok":true,"result":{...}}
//! {"v":1,"ok":false,"code":"bad_request","error":"..."}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::orders::{BlockAdd, BlockDel, BlockList};
use crate::agent::search::FlowQuery;
use crate::agent::talkers::TopQuery;
use crate::respond::Network;

/// Requests of another version are refused.
pub const VERSION: u64 = 1;
/// Bytes of one request line.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// What may be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Flows(FlowQuery),
    Top(TopQuery),
    Incidents {
        #[serde(default = "default_limit")]
        limit: usize,
    },
    /// One incident with what was decided about it.
    Explain {
        id: String,
    },
    /// What an incident was, as a person says.
    Verdict {
        id: String,
        opinion: sensor_engine::Opinion,
    },
    BlockAdd(BlockAdd),
    BlockDel(BlockDel),
    BlockList(BlockList),
    BlockFlush,
    AllowAdd {
        network: Network,
    },
    AllowDel {
        network: Network,
    },
    AllowList,
}

const fn default_limit() -> usize {
    20
}

impl Request {
    /// The line without its end.
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["v"] = json!(VERSION);
        value.to_string()
    }

    /// # Errors
    /// What is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let bad = |cause: serde_json::Error| Refusal::new(Code::BadRequest, cause.to_string());
        let mut value: Value = serde_json::from_slice(line).map_err(bad)?;
        let version = value.as_object_mut().and_then(|object| object.remove("v"));
        if version != Some(json!(VERSION)) {
            let message = format!("this agent speaks version {VERSION}: send \"v\":{VERSION}");
            return Err(Refusal::new(Code::Version, message));
        }
        serde_json::from_value(value).map_err(bad)
    }
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    BadRequest,
    Version,
    /// Too many clients, or the engine has no time.
    Busy,
    TooLarge,
    /// The engine said no, e.g. because an address is protected.
    Refused,
    /// There is no such thing.
    NotFound,
    Failed,
}

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    pub error: String,
}

impl Refusal {
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        let error = error.into();
        Self { code, error }
    }

    pub fn busy() -> Self {
        Self::new(Code::Busy, "the agent is busy; try again")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Refusal {}

/// The line of an answer, without its end.
pub fn answer(result: Result<Value, Refusal>) -> String {
    let value = match result {
        Ok(result) => json!({"v": VERSION, "ok": true, "result": result}),
        Err(refusal) => json!({
            "v": VERSION, "ok": false, "code": refusal.code, "error": refusal.error,
        }),
    };
    value.to_string()
}

/// The other way round.
///
/// # Errors
/// The agent's refusal, or that the line is no answer.
pub fn parse_answer(line: &[u8]) -> Result<Value, Refusal> {
    let bad = |cause: &dyn fmt::Display| Refusal::new(Code::Failed, format!("bad answer: {cause}"));
    let mut value: Value = serde_json::from_slice(line).map_err(|cause| bad(&cause))?;
    if value["ok"] == true {
        return Ok(value["result"].take());
    }
    Err(serde_json::from_value(value).unwrap_or_else(|cause| bad(&cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way() {
        let query = FlowQuery {
            port: Some(443),
            ..FlowQuery::default()
        };
        let line = Request::Flows(query).to_line();
        match Request::parse(line.as_bytes()).unwrap() {
            Request::Flows(query) => assert_eq!((query.port, query.limit), (Some(443), 20)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bad_requests_are_refused_with_the_reason() {
        for (line, code, part) in [
            ("nonsense", Code::BadRequest, "expected"),
            ("{\"command\":\"status\"}", Code::Version, "send \"v\":1"),
            (
                "{\"v\":2,\"command\":\"status\"}",
                Code::Version,
                "version 1",
            ),
            ("{\"v\":1,\"command\":\"dance\"}", Code::BadRequest, "dance"),
            (
                "{\"v\":1,\"command\":\"flows\",\"prot\":6}",
                Code::BadRequest,
                "prot",
            ),
            ("[1]", Code::Version, "version 1"),
        ] {
            let refusal = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code, "{line}: {refusal}");
            assert!(refusal.error.contains(part), "{line}: {refusal}");
        }
    }

    #[test]
    fn answers_survive_the_way() {
        let line = answer(Ok(json!({"n": 1})));
        assert_eq!(parse_answer(line.as_bytes()), Ok(json!({"n": 1})));
        let line = answer(Err(Refusal::busy()));
        assert_eq!(parse_answer(line.as_bytes()), Err(Refusal::busy()));
        assert!(parse_answer(b"{}").is_err());
    }
}
