//! Requests, answers and refusals of the API, whichever way they come.

use std::fmt;

use schemars::JsonSchema;
use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockImported, BlockListed, BlockPreview,
    BlockRemoved, Done, Exception, Explanation, Flows, Judged, LossAccepted, Models, Proposals,
    Samples, Shields, Status, Top,
};
use sensor_record::{Feedback, Incident, Name, Reason, Remark, Said, Timestamp, json};
use serde::{Deserialize, Serialize};

use crate::agent::orders::{BlockAdd, BlockDel, BlockImport, BlockList, ShieldOff, ShieldOn};
use crate::agent::recent::IncidentQuery;
use crate::agent::samples::SampleQuery;
use crate::agent::search::FlowQuery;
use crate::agent::talkers::TopQuery;
use sensor_respond::Network;
use sensor_store::{Found, RateOf, RatePoint, Report, Story};

/// Bytes of a request's body.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Request of a client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Flows(FlowQuery),
    Top(TopQuery),
    /// Models and thresholds in force.
    Models,
    Incidents(IncidentQuery),
    /// Incidents and flows of the store.
    Query(StoreQuery),
    /// Rates over time, of the store.
    Rates(RateQuery),
    /// Incidents, decisions and feedback of a span in numbers, of the store.
    Report(ReportQuery),
    /// An incident as a bundle of STIX 2.1.
    Stix {
        id: Name,
    },
    /// One incident with its time line and its relatives, of the store.
    Story {
        id: Name,
    },
    /// One incident with what was decided about it.
    Explain {
        id: Name,
    },
    /// Feedback of a person on an incident.
    Feedback {
        id: Name,
        feedback: Said,
        #[serde(default)]
        reason: Reason,
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
    /// A remark on an incident, who has it in hand, where it is dealt with.
    Remark {
        id: Name,
        #[serde(default)]
        remark: Reason,
        /// Name; empty: nobody.
        #[serde(default)]
        assignee: Option<Name>,
        /// Number or address of a ticket; empty: none.
        #[serde(default)]
        ticket: Option<Name>,
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
    /// Stops all enforcement, or lets it go on.
    Panic {
        #[serde(default)]
        end: bool,
    },
    /// A local address, or a service there, is shielded from floods.
    ShieldOn(ShieldOn),
    ShieldOff(ShieldOff),
    ShieldList,
    /// Packet samples since a number; they are kept while somebody asks.
    Samples(SampleQuery),
}

/// Query for what the store keeps.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreQuery {
    /// Expression, as `host 192.0.2.7 and port 443 last 2h`.
    pub q: String,
    /// Rows of each kind, 10,000 at most.
    pub limit: usize,
}

impl Default for StoreQuery {
    fn default() -> Self {
        Self {
            q: String::new(),
            limit: 100,
        }
    }
}

/// Query for rates.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateQuery {
    /// Of interfaces, or of services.
    #[serde(default)]
    pub of: RateOf,
    /// From this second on.
    pub since: Timestamp,
    /// Up to this one.
    pub until: Timestamp,
}

/// Query for a report.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// Incidents that were under way from then on.
    pub since: Timestamp,
    /// Up to then.
    pub until: Timestamp,
}

/// Results of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(Box<Status>),
    Flows(Flows),
    Top(Top),
    Models(Box<Models>),
    Incidents(Vec<Incident>),
    Found(Box<Found>),
    Rates(Vec<RatePoint>),
    Report(Box<Report>),
    Stix(json::Tree),
    Story(Box<Story>),
    Explanation(Box<Explanation>),
    Feedback(Box<Feedback>),
    Muted(Box<Exception>),
    Remark(Box<Remark>),
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
    Samples(Samples),
    Done(Done),
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    BadRequest,
    /// The client has to say who it is.
    Unauthorized,
    /// Too many wrong tokens from there.
    TooMany,
    /// There is no such path in this version.
    NoSuchPath,
    /// The path knows no such method.
    NoSuchMethod,
    /// Too many clients, or the engine has no time.
    Busy,
    TooLarge,
    /// Order by a client that may only ask.
    Forbidden,
    /// The engine said no, e.g. because an address is protected.
    Refused,
    /// Nothing matches the request.
    NotFound,
    Failed,
}

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
