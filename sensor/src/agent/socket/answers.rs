//! Who knows what is asked: the snapshot, the recent incidents, the tables, the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sensor_common::counters::{Event, Outcome};
use sensor_engine::Opinion;
use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};

use super::protocol::{Code, Refusal, Request};
use crate::agent::orders::Order;
use crate::agent::queue::Sender;
use crate::agent::recent::Recent;
use crate::agent::search::FlowQuery;
use crate::agent::snapshot::Snapshot;
use crate::agent::talkers::{Talkers, TopQuery};
use crate::agent::{Ask, GivenOpinion, GivenOrder};
use crate::explain;
use crate::output::{self, timestamp};
use crate::respond::Origin;
use sensor_capture::kernel::TableReader;

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Answers {
    asks: Sender<Ask>,
    latest: watch::Receiver<Arc<Snapshot>>,
    recent: Recent,
    /// One look at a time; it is the clients that wait for one another, not the engine.
    talkers: Arc<Mutex<Talkers>>,
    n_refused_clients: Arc<AtomicU64>,
}

impl Answers {
    pub fn new(
        asks: Sender<Ask>,
        latest: watch::Receiver<Arc<Snapshot>>,
        recent: Recent,
        tables: TableReader,
    ) -> Self {
        Self {
            asks,
            latest,
            recent,
            talkers: Arc::new(Mutex::new(Talkers::new(tables))),
            n_refused_clients: Arc::default(),
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.borrow())
    }

    pub fn count_refused_client(&self) {
        self.n_refused_clients.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients that found all places taken.
    pub fn n_refused_clients(&self) -> u64 {
        self.n_refused_clients.load(Ordering::Relaxed)
    }

    /// The last `n` decisions, the newest first.
    pub fn decisions(&self, n: usize) -> Vec<Value> {
        self.recent.decisions(n)
    }

    /// Incidents that are no longer remembered.
    pub fn n_forgotten(&self) -> u64 {
        self.recent.n_forgotten()
    }

    /// Carries a request of a user out.
    ///
    /// # Errors
    /// Why not.
    pub async fn to(&self, request: Request, uid: u32) -> Result<Value, Refusal> {
        match request {
            Request::Status => Ok(self.status()),
            Request::Flows(query) => self.flows(query).await,
            Request::Top(query) => self.top(query).await,
            Request::Incidents { limit } => Ok(Value::from(self.recent.incidents(limit))),
            Request::Explain { id } => Ok(explain::json(&self.account(&id)?)),
            Request::Verdict { id, opinion } => self.opinion(&id, opinion, uid).await,
            Request::BlockAdd(add) => self.order(Order::BlockAdd(add), uid).await,
            Request::BlockDel(del) => self.order(Order::BlockDel(del), uid).await,
            Request::BlockList(which) => self.order(Order::BlockList(which), uid).await,
            Request::BlockFlush => self.order(Order::BlockFlush, uid).await,
            Request::AllowAdd { network } => self.order(Order::AllowAdd(network), uid).await,
            Request::AllowDel { network } => self.order(Order::AllowDel(network), uid).await,
            Request::AllowList => self.order(Order::AllowList, uid).await,
        }
    }

    fn account(&self, id: &str) -> Result<explain::Account, Refusal> {
        let found = self.recent.account(id);
        found.map_err(|missing| Refusal::new(Code::NotFound, missing.to_string()))
    }

    /// Tells the engine what a person says of an incident's entity.
    async fn opinion(&self, id: &str, opinion: Opinion, uid: u32) -> Result<Value, Refusal> {
        let account = self.account(id)?;
        let incident_id = account.id().to_owned();
        let entity = account.entity().ok_or_else(|| {
            let message = "of a station on the link nothing is learned: there is nothing to change";
            Refusal::new(Code::Refused, message)
        })?;
        let by = Origin::Operator { uid };
        let given = |reply| {
            Ask::Opinion(Box::new(GivenOpinion {
                incident_id,
                entity,
                opinion,
                by,
                reply,
            }))
        };
        let said = self.ask(given).await?;
        self.recent.note_opinion(account.id(), &said);
        Ok(said)
    }

    fn status(&self) -> Value {
        let mut value = status(&self.snapshot());
        value["clients_refused"] = json!(self.n_refused_clients());
        value["incidents_forgotten"] = json!(self.n_forgotten());
        value
    }

    async fn flows(&self, query: FlowQuery) -> Result<Value, Refusal> {
        let found = self.ask(|reply| Ask::Flows { query, reply }).await?;
        let at_ns = self.snapshot().at_ns;
        let flows: Vec<Value> = found
            .flows
            .iter()
            .map(|flow| {
                let mut value = output::flow(at_ns, flow);
                if let Some(object) = value.as_object_mut() {
                    // It goes on.
                    object.remove("flow.end_reason");
                }
                value
            })
            .collect();
        Ok(json!({"flows": flows, "matched": found.n_matched, "of": found.n_flows}))
    }

    async fn top(&self, query: TopQuery) -> Result<Value, Refusal> {
        let talkers = Arc::clone(&self.talkers);
        let look = move || {
            let mut talkers = talkers.lock().unwrap_or_else(PoisonError::into_inner);
            talkers.look(&query)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|cause| Refusal::new(Code::Failed, cause.to_string()))
    }

    async fn order(&self, order: Order, uid: u32) -> Result<Value, Refusal> {
        let by = Origin::Operator { uid };
        let done = self
            .ask(|reply| Ask::Order(Box::new(GivenOrder { order, by, reply })))
            .await?;
        done.map_err(|cause| Refusal::new(Code::Refused, cause))
    }

    /// Hands the engine an order and waits for what it says.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refusal> {
        let (reply, replied) = oneshot::channel();
        self.asks.send(order(reply)).map_err(|_| Refusal::busy())?;
        replied
            .await
            .map_err(|_| Refusal::new(Code::Failed, "the agent is stopping"))
    }
}

/// The agent in numbers.
fn status(now: &Snapshot) -> Value {
    let interfaces: Vec<Value> = now
        .about
        .attachments
        .iter()
        .map(|at| {
            json!({"interface": at.interface, "mode": at.mode.label(),
                   "reason": at.reason, "egress": at.egress.label()})
        })
        .collect();
    let way = |way: usize| {
        let (total, rate) = (now.total(way), now.rates[way]);
        json!({
            "packets": total.packets, "bytes": total.bytes,
            "packets_per_s": rate.packets_per_s, "bytes_per_s": rate.bytes_per_s,
        })
    };
    let events: Map<String, Value> = Event::ALL
        .iter()
        .map(|event| (event.label().to_owned(), json!(now.event(*event))))
        .collect();
    let malformed: Map<String, Value> = Outcome::ALL
        .iter()
        .zip(&now.outcomes)
        .filter(|(outcome, _)| outcome.is_malformed())
        .map(|(outcome, both)| (outcome.label(), both[0].packets + both[1].packets))
        .filter(|(_, packets)| *packets > 0)
        .map(|(label, packets)| (label.to_owned(), json!(packets)))
        .collect();
    let queues: Map<String, Value> = now
        .about
        .queues
        .iter()
        .map(|queue| {
            let value = json!({"depth": queue.depth(), "capacity": queue.capacity,
                               "policy": queue.policy.label(), "shed": queue.n_shed()});
            (queue.name.to_owned(), value)
        })
        .collect();
    let engine = &now.engine;
    json!({
        "sensor.version": env!("CARGO_PKG_VERSION"),
        "process.pid": std::process::id(),
        "event.start": timestamp(now.about.started_ns),
        "uptime_s": now.at_ns.saturating_sub(now.about.started_ns) as f64 / 1e9,
        "mode": now.mode.label(),
        "config.hash": format!("{:016x}", now.config_hash),
        "attach": interfaces,
        "ingress": way(0), "egress": way(1),
        "flows": engine.n_flows, "flows_ended": engine.n_flows_ended,
        "drifts": engine.n_drifts, "models_adapting": engine.n_adapting,
        "incidents": now.n_incidents, "incidents_open": engine.n_incidents_open,
        "blocks": now.n_blocks,
        "decisions": {"allowed": now.n_verdicts.n_allowed, "refused": now.n_verdicts.n_refused,
                      "failed": now.n_verdicts.n_failed},
        "events": events, "malformed": malformed, "queues": queues,
        "tick_ms": {
            "hosts.p50": now.ticks.hosts.value_at_quantile(0.5) as f64 / 1e3,
            "hosts.p99": now.ticks.hosts.value_at_quantile(0.99) as f64 / 1e3,
            "flows.p50": now.ticks.flows.value_at_quantile(0.5) as f64 / 1e3,
            "flows.p99": now.ticks.flows.value_at_quantile(0.99) as f64 / 1e3,
            "late": now.ticks.n_late,
        },
    })
}
