//! Protocol of the socket: one JSON object per line, each request answered by one line.
//!
//! ```text
//! {"v":1,"command":"flows","network":"10.0.0.0/8","limit":5}
//! {"v":1,"ok":true,"result":{...}}
//! {"v":1,"ok":false,"code":"bad_request","error":"..."}
//! ```

use std::fmt;

use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockImported, BlockListed, BlockPreview,
    BlockRemoved, Done, Exception, Explanation, Flows, Judged, LossAccepted, Proposals, Shields,
    Status, Top,
};
use sensor_record::{Feedback, Incident, Name, Reason, Said, json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::orders::{BlockAdd, BlockDel, BlockImport, BlockList, ShieldOff, ShieldOn};
use crate::agent::recent::IncidentQuery;
use crate::agent::search::FlowQuery;
use crate::agent::talkers::TopQuery;
use sensor_respond::Network;

/// Requests of another version are refused.
pub const VERSION: u64 = 1;
/// Bytes of one request line.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Request of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Flows(FlowQuery),
    Top(TopQuery),
    Incidents(IncidentQuery),
    /// One incident with what was decided about it.
    Explain {
        id: Name,
    },
    /// Feedback of a person on an incident.
    #[serde(alias = "verdict")]
    Feedback {
        id: Name,
        #[serde(alias = "opinion")]
        feedback: Said,
    },
    /// Findings of an incident's kind, by its sources or about its victims, are made into no incidents.
    Mute {
        id: Name,
        for_s: u64,
        #[serde(default)]
        reason: Reason,
    },
    Unmute {
        id: Name,
    },
    BlockAdd(BlockAdd),
    BlockDel(BlockDel),
    BlockList(BlockList),
    BlockFlush,
    /// Part of a list of others, which replaces what that list had before.
    BlockImport(BlockImport),
    /// Tells what an entry would have hit within the last hour.
    BlockPreview {
        network: Network,
    },
    /// Takes back what a decision did.
    Undo {
        id: Name,
    },
    /// Decisions that wait for a person.
    Proposals,
    /// Carries out what waits: of an incident, or by a decision's identifier.
    Approve {
        id: Name,
    },
    /// Refuses what waits.
    Reject {
        id: Name,
    },
    AllowAdd {
        network: Network,
        /// Also where it is very wide, or ends blocks.
        #[serde(default)]
        force: bool,
    },
    AllowDel {
        network: Network,
    },
    /// A saved allow-list that can't be read is done without.
    AllowAcceptLoss,
    AllowList,
    /// A local address, or a service there, is shielded from floods.
    ShieldOn(ShieldOn),
    ShieldOff(ShieldOff),
    ShieldList,
}

impl Request {
    /// The line without its end.
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["v"] = Value::from(VERSION);
        value.to_string()
    }

    /// True for what changes nothing.
    pub const fn is_question(&self) -> bool {
        match self {
            Self::Status
            | Self::Flows(_)
            | Self::Top(_)
            | Self::Incidents(_)
            | Self::Explain { .. }
            | Self::BlockList(_)
            | Self::Proposals
            | Self::BlockPreview { .. }
            | Self::AllowList
            | Self::ShieldList => true,
            Self::Feedback { .. }
            | Self::Mute { .. }
            | Self::Unmute { .. }
            | Self::BlockAdd(_)
            | Self::BlockDel(_)
            | Self::BlockFlush
            | Self::BlockImport(_)
            | Self::Undo { .. }
            | Self::Approve { .. }
            | Self::Reject { .. }
            | Self::AllowAdd { .. }
            | Self::AllowDel { .. }
            | Self::AllowAcceptLoss
            | Self::ShieldOn(_)
            | Self::ShieldOff(_) => false,
        }
    }

    /// # Errors
    /// What is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let bad = |cause: serde_json::Error| Refusal::new(Code::BadRequest, cause.to_string());
        let mut value: Value = serde_json::from_slice(line).map_err(bad)?;
        let version = value.as_object_mut().and_then(|object| object.remove("v"));
        if version != Some(Value::from(VERSION)) {
            let message = format!("this agent speaks version {VERSION}: send \"v\":{VERSION}");
            return Err(Refusal::new(Code::Version, message));
        }
        serde_json::from_value(value).map_err(bad)
    }
}

/// Results of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(Box<Status>),
    Flows(Flows),
    Top(Top),
    Incidents(Vec<Incident>),
    Explanation(Box<Explanation>),
    Feedback(Box<Feedback>),
    Muted(Box<Exception>),
    BlockAdded(BlockAdded),
    BlockRemoved(BlockRemoved),
    BlockListed(BlockListed),
    BlockFlushed(BlockFlushed),
    BlockImported(BlockImported),
    BlockPreview(Box<BlockPreview>),
    AllowAdded(AllowAdded),
    AllowListed(AllowListed),
    LossAccepted(LossAccepted),
    Judged(Judged),
    Proposals(Proposals),
    Shields(Shields),
    Done(Done),
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
    /// Order by a client that may only query.
    Forbidden,
    /// The engine said no, e.g. because an address is protected.
    Refused,
    /// Nothing matches the request.
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

/// An answer on the wire.
#[derive(Serialize, Deserialize)]
struct Wire<T> {
    #[serde(rename = "v")]
    version: u64,
    #[serde(rename = "ok")]
    is_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
}

/// The line of an answer, without its end.
pub fn answer(result: Result<Answer, Refusal>) -> String {
    let is_ok = result.is_ok();
    let (result, refusal) = match result {
        Ok(answer) => (Some(answer), None),
        Err(refusal) => (None, Some(refusal)),
    };
    json::line(&Wire {
        version: VERSION,
        is_ok,
        result,
        refusal,
    })
}

/// The other way round.
///
/// # Errors
/// The agent's refusal, or that the line is no such answer.
pub fn parse_answer<T: DeserializeOwned>(line: &[u8]) -> Result<T, Refusal> {
    let bad = |cause: &dyn fmt::Display| Refusal::new(Code::Failed, format!("bad answer: {cause}"));
    let wire: Wire<T> = json::read(line).map_err(|cause| bad(&cause))?;
    match (wire.is_ok, wire.result, wire.refusal) {
        (true, Some(result), _) => Ok(result),
        (false, _, Some(refusal)) => Err(refusal),
        _ => Err(bad(&"neither a result nor a refusal")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_back_as_written() {
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
    fn answers_are_read_back_as_written() {
        let flushed = BlockFlushed { n_removed: 3 };
        let line = answer(Ok(Answer::BlockFlushed(flushed)));
        assert_eq!(line, "{\"v\":1,\"ok\":true,\"result\":{\"n_removed\":3}}");
        assert_eq!(parse_answer(line.as_bytes()), Ok(flushed));
        let line = answer(Err(Refusal::busy()));
        let refused = parse_answer::<BlockFlushed>(line.as_bytes());
        assert_eq!(refused, Err(Refusal::busy()));
        assert!(parse_answer::<Done>(b"{}").is_err());
        assert!(parse_answer::<Done>(b"{\"v\":1,\"ok\":false}").is_err());
    }

    #[test]
    fn the_older_name_of_feedback_is_understood() {
        let line = b"{\"v\":1,\"command\":\"verdict\",\"id\":\"7\",\"opinion\":\"benign\"}";
        match Request::parse(line).unwrap() {
            Request::Feedback { feedback, .. } => assert_eq!(feedback, Said::Benign),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn long_text_is_refused_with_the_bound() {
        let long = "x".repeat(600);
        for (line, part) in [
            (
                format!("{{\"v\":1,\"command\":\"explain\",\"id\":\"{long}\"}}"),
                "name of 600 bytes: shorten it to 255",
            ),
            (
                format!(
                    "{{\"v\":1,\"command\":\"block_add\",\"targets\":[\"192.0.2.7\"],\"ttl_s\":60,\"reason\":\"{long}\"}}"
                ),
                "reason of 600 bytes: shorten it to 512",
            ),
        ] {
            let refusal = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, Code::BadRequest);
            assert!(refusal.error.contains(part), "{refusal}");
        }
    }
}
