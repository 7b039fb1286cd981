//! Sources of the answers: the snapshot, the recent incidents, the tables, the engine.

mod packets;
mod stored;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sensor_engine::ModelKind;
use sensor_record::answer::{
    BlockPreview, Confined, Done, Exception, Explanation, Flows, Guard, GuardFact, KeptFile, Load,
    Models, Output, PreviewedService, Queue, Radius, Served, Status, Ticks, Top,
};
use sensor_record::{
    Account, Attached, Decision, Flow, Incident, Reason, Record, Said, Timestamp, health,
};
use tokio::sync::{Semaphore, broadcast, oneshot, watch};
use tracing::warn;

use super::protocol::{Answer, Code, Refusal, Request};
use crate::agent::orders::Order;
use crate::agent::recent::{IncidentQuery, Recent};
use crate::agent::samples::Watched;
use crate::agent::search::FlowQuery;
use crate::agent::service::Service;
use crate::agent::snapshot::Snapshot;
use crate::agent::talkers::{Talkers, TopQuery};
use crate::agent::{Ask, GivenFeedback, GivenMute, GivenOrder, Previewed, mutes};
use crate::config::RespondSettings;
use crate::queue::{Gauge, Sender};
use crate::stream::Health;
use sensor_capture::kernel::{TableReader, set_stopped};
use sensor_respond::{FactState, FileState, GuardState, Network, Origin, RadiusState};

/// Questions to the store at a time.
const N_READERS: usize = 2;
/// Time that a preview looks back.
const HOUR_NS: u64 = 3_600 * sensor_engine::SECOND_NS;

/// Place of the maps that hold the switch of all enforcement.
#[derive(Clone, Debug)]
pub struct Pins {
    bpffs: PathBuf,
    instance: String,
}

impl Pins {
    pub fn of(settings: &RespondSettings) -> Self {
        Self {
            bpffs: settings.bpffs.clone(),
            instance: settings.instance.clone(),
        }
    }
}

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Answers {
    asks: Sender<Ask>,
    latest: watch::Receiver<Arc<Snapshot>>,
    recent: Recent,
    /// One look at a time; it is the clients that wait for one another, not the engine.
    talkers: Arc<Mutex<Talkers>>,
    pins: Pins,
    /// Places for those who read the store.
    readers: Arc<Semaphore>,
    watched: Watched,
    /// The socket of operators, that of readers, HTTP, the metrics.
    pub services: Arc<[Arc<Service>; 4]>,
}

impl Answers {
    pub fn new(
        asks: Sender<Ask>,
        latest: watch::Receiver<Arc<Snapshot>>,
        recent: Recent,
        tables: TableReader,
        pins: Pins,
        watched: Watched,
    ) -> Self {
        Self {
            asks,
            watched,
            latest,
            recent,
            talkers: Arc::new(Mutex::new(Talkers::new(tables))),
            pins,
            readers: Arc::new(Semaphore::new(N_READERS)),
            services: Arc::new(["socket", "read_socket", "http", "metrics"].map(Service::new)),
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.borrow())
    }

    /// Clients that found all places taken.
    pub fn n_refused_clients(&self) -> u64 {
        self.services
            .iter()
            .map(|service| service.n_refused())
            .sum()
    }

    /// The last `n` decisions, the newest first.
    pub fn decisions(&self, n: usize) -> Vec<Decision> {
        self.recent.decisions(n)
    }

    /// Incidents and decisions from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Record>> {
        self.recent.watch()
    }

    /// Incidents that are no longer remembered.
    pub fn n_forgotten(&self) -> u64 {
        self.recent.n_forgotten()
    }

    /// Carries a request out.
    ///
    /// # Errors
    /// Why not.
    pub async fn to(&self, request: Request, by: Origin) -> Result<Answer, Refusal> {
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status()))),
            Request::Flows(query) => self.flows(query).await.map(Answer::Flows),
            Request::Top(query) => self.top(query).await.map(Answer::Top),
            Request::Models => self.models().await,
            Request::Incidents(query) => Ok(Answer::Incidents(self.recent.incidents(&query))),
            Request::Query(query) => self.query(query).await,
            Request::Rates(query) => self.rates(query).await,
            Request::Report(query) => self.report(query).await,
            Request::Stix { id } => self.stix(id).await,
            Request::Story { id } => self.story(id).await,
            Request::Explain { id } => {
                let explanation = Explanation::from(self.account(id.as_str())?);
                Ok(Answer::Explanation(Box::new(explanation)))
            }
            Request::Feedback {
                id,
                feedback,
                reason,
            } => self.feedback(id.as_str(), (feedback, reason), by).await,
            Request::Mute { id, for_s, reason } => {
                let muted = self.mute(id.as_str(), for_s, reason.as_str(), by).await?;
                Ok(Answer::Muted(Box::new(muted)))
            }
            Request::Unmute { id } => {
                self.unmute(id.as_str(), by).await?;
                Ok(Answer::Done(Done {}))
            }
            Request::Remark {
                id,
                remark,
                assignee,
                ticket,
            } => self.remark(id, (remark, [assignee, ticket]), by).await,
            Request::BlockAdd(add) => self.order(Order::BlockAdd(add), by).await,
            Request::BlockDel(del) => self.order(Order::BlockDel(del), by).await,
            Request::BlockList(which) => self.order(Order::BlockList(which), by).await,
            Request::BlockFlush => self.order(Order::BlockFlush, by).await,
            Request::Undo { id } => self.order(Order::Undo(id), by).await,
            Request::BlockImport(part) => self.order(Order::BlockImport(part), by).await,
            Request::BlockPreview { network } => {
                let preview = self.preview(network).await?;
                Ok(Answer::BlockPreview(Box::new(preview)))
            }
            Request::Proposals => self.order(Order::Proposals, by).await,
            Request::Approve { id } => self.judge(id.as_str(), true, by).await,
            Request::Reject { id } => self.judge(id.as_str(), false, by).await,
            Request::AllowAdd { network, force } => {
                let order = Order::AllowAdd { network, force };
                self.order(order, by).await
            }
            Request::AllowDel { network } => self.order(Order::AllowDel(network), by).await,
            Request::AllowAcceptLoss => self.order(Order::AllowAcceptLoss, by).await,
            Request::AllowList => self.order(Order::AllowList, by).await,
            Request::Panic { end } => self.stop(!end, by).await,
            Request::ShieldOn(on) => self.order(Order::ShieldOn(on), by).await,
            Request::ShieldOff(off) => self.order(Order::ShieldOff(off), by).await,
            Request::Samples(query) => Ok(Answer::Samples(self.watched.ask(query))),
            Request::ShieldList => self.order(Order::ShieldList, by).await,
        }
    }

    /// Tells what an entry on a network would have hit within the last hour.
    async fn preview(&self, network: Network) -> Result<BlockPreview, Refusal> {
        let query = FlowQuery {
            network: Some(network),
            limit: 1,
            ..FlowQuery::default()
        };
        let flows = self.flows(query).await?.matched;
        let Previewed { known, refusal } = self
            .ask(|reply| Ask::Preview {
                network: network.0,
                reply,
            })
            .await?;
        let since = Timestamp::now().0.saturating_sub(HOUR_NS);
        let incidents = self.recent.incidents(&IncidentQuery {
            since: Some(Timestamp(since)),
            limit: usize::MAX,
            ..IncidentQuery::default()
        });
        let is_of = |incident: &&Incident| incident.sources.iter().any(|s| network.0.contains(s));
        let service = |one: &sensor_engine::PreviewedService| PreviewedService {
            host: one.host,
            port: one.port,
            protocol: one.protocol,
            used: one.used,
            failed: one.failed,
        };
        Ok(BlockPreview {
            target: network,
            refused: refusal,
            sources: known.n_sources,
            sources_real: known.n_real,
            sources_good: known.n_peers,
            connections: known.n_begun,
            bytes: known.n_bytes,
            flows,
            incidents: incidents.iter().filter(is_of).count() as u64,
            services: known.services.iter().map(service).collect(),
        })
    }

    /// Stops all enforcement in the kernel, or lets it go on, as `sensor panic` does.
    async fn stop(&self, is_stopped: bool, by: Origin) -> Result<Answer, Refusal> {
        let Pins { bpffs, instance } = self.pins.clone();
        let set = move || set_stopped(&bpffs, &instance, is_stopped);
        let set = tokio::task::spawn_blocking(set).await;
        let set = set.map_err(|cause| Refusal::new(Code::Failed, cause.to_string()))?;
        set.map_err(|cause| Refusal::new(Code::Refused, format!("{cause:#}")))?;
        warn!(is_stopped, ?by, "all enforcement: a person asked for it");
        Ok(Answer::Done(Done {}))
    }

    /// Approves or refuses what waits for a person. What names no incident is a decision's identifier.
    async fn judge(&self, id: &str, is_approved: bool, by: Origin) -> Result<Answer, Refusal> {
        let incident = self.recent.account(id).ok();
        let id = incident.map_or_else(|| id.to_owned(), |account| account.id().to_owned());
        self.order(Order::Judge { id, is_approved }, by).await
    }

    fn account(&self, id: &str) -> Result<Account, Refusal> {
        let found = self.recent.account(id);
        found.map_err(|missing| Refusal::new(Code::NotFound, missing.to_string()))
    }

    /// Mutes what an incident is about.
    async fn mute(
        &self,
        id: &str,
        for_s: u64,
        reason: &str,
        by: Origin,
    ) -> Result<Exception, Refusal> {
        let account = self.account(id)?;
        let incident_id = account.id().to_owned();
        let made = mutes::exception(&account, Timestamp::now().0, for_s, reason);
        let exception = made.map_err(|why| Refusal::new(Code::Refused, why))?;
        let muted = Exception {
            reason: exception.reason.clone(),
            findings: 0,
            last: None,
            until: exception.until_ns.map(Timestamp),
            expired: false,
            incident_id: Some(incident_id.clone()),
        };
        self.set_muted(incident_id, Some(exception), by).await?;
        Ok(muted)
    }

    /// Ends that an incident is muted.
    async fn unmute(&self, id: &str, by: Origin) -> Result<(), Refusal> {
        let known = self.status().exceptions;
        let mut muted = known.iter().filter_map(|known| known.incident_id.clone());
        let found = muted.find(|known| known == id || sensor_record::has_number(known, id));
        let Some(incident_id) = found else {
            let message = format!("incident {id} is not muted");
            return Err(Refusal::new(Code::NotFound, message));
        };
        self.set_muted(incident_id, None, by).await
    }

    async fn set_muted(
        &self,
        incident_id: String,
        exception: Option<sensor_engine::Exception>,
        by: Origin,
    ) -> Result<(), Refusal> {
        let given = |reply| {
            Ask::Mute(Box::new(GivenMute {
                incident_id,
                exception,
                by,
                reply,
            }))
        };
        self.ask(given).await
    }

    /// Tells the engine what a person says of an incident's entity.
    async fn feedback(
        &self,
        id: &str,
        (said, reason): (Said, Reason),
        by: Origin,
    ) -> Result<Answer, Refusal> {
        let account = self.account(id)?;
        let incident_id = account.id().to_owned();
        let entity = account.entity().ok_or_else(|| {
            let message =
                "the models learn nothing about stations on the link: feedback has no effect";
            Refusal::new(Code::Refused, message)
        })?;
        let given = |reply| {
            Ask::Feedback(Box::new(GivenFeedback {
                incident_id,
                entity,
                said,
                reason,
                by,
                reply,
            }))
        };
        let given = self.ask(given).await?;
        Ok(Answer::Feedback(Box::new(given)))
    }

    /// The agent in numbers, with the health of its parts.
    pub fn status(&self) -> Status {
        let mut status = Status {
            clients_refused: self.n_refused_clients(),
            services: self
                .services
                .iter()
                .map(|service| served(service))
                .collect(),
            incidents_forgotten: self.n_forgotten(),
            ..status(&self.snapshot())
        };
        status.health = health(&status);
        status
    }

    /// Models and thresholds in force, and how they fare.
    async fn models(&self) -> Result<Answer, Refusal> {
        let config = self.ask(|reply| Ask::Settings { reply }).await?;
        let is_active = |model: &ModelKind| config.scoring.models.contains(model);
        let models = ModelKind::ALL.iter();
        let models = models.map(|model| (Cow::Borrowed(model.label()), is_active(model)));
        let models = models.collect();
        let status = self.status();
        let engine = &self.snapshot().engine;
        Ok(Answer::Models(Box::new(Models {
            models,
            vectors: engine.n_vectors,
            vectors_withheld: engine.n_vectors_withheld,
            drifts: status.drifts,
            adapting: status.models_adapting,
            findings: engine.n_findings,
            alarms_of_day: status.alarms_of_day,
            alarm_budget: status.alarm_budget,
            exceptions: status.exceptions,
            settings: config,
        })))
    }

    async fn flows(&self, query: FlowQuery) -> Result<Flows, Refusal> {
        let found = self.ask(|reply| Ask::Flows { query, reply }).await?;
        let now = self.snapshot();
        let head = now.about.sensor.head(now.at_ns);
        let flow = |flow| Flow::live(head.clone(), flow);
        Ok(Flows {
            flows: found.flows.iter().map(flow).collect(),
            matched: found.n_matched,
            of: found.n_flows,
        })
    }

    async fn top(&self, query: TopQuery) -> Result<Top, Refusal> {
        let talkers = Arc::clone(&self.talkers);
        let look = move || {
            let mut talkers = talkers.lock().unwrap_or_else(PoisonError::into_inner);
            talkers.look(&query)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|cause| Refusal::new(Code::Failed, cause.to_string()))
    }

    async fn order(&self, order: Order, by: Origin) -> Result<Answer, Refusal> {
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
fn status(now: &Snapshot) -> Status {
    let engine = &now.engine;
    Status {
        sensor: Arc::clone(&now.about.sensor),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        start: Timestamp(now.about.started_ns),
        uptime_s: now.at_ns.saturating_sub(now.about.started_ns) as f64 / 1e9,
        mode: now.mode.into(),
        config_hash: format!("{:016x}", now.config_hash),
        attach: now.interfaces.iter().map(Attached::from).collect(),
        ingress: load(now, 0),
        egress: load(now, 1),
        flows: engine.n_flows,
        flows_ended: engine.n_flows_ended,
        drifts: engine.n_drifts,
        models_adapting: engine.n_adapting,
        exceptions: now
            .exceptions
            .iter()
            .map(|used| Exception::new(used, now.at_ns))
            .collect(),
        incidents: now.incidents(),
        incidents_open: engine.n_incidents_open,
        alarms_of_day: engine
            .n_alarms_of_day
            .iter()
            .map(|(family, n)| (family.label().into(), *n))
            .collect(),
        alarm_budget: u64::from(engine.alarm_budget),
        incidents_forgotten: 0,
        blocks: now.n_blocks as u64,
        guard: guard(&now.guard),
        radius: radius(now.radius),
        decisions: now.decided,
        events: now.all_events(),
        malformed: now.malformed(),
        not_ip: now.not_ip(),
        queues: now.about.queues.iter().map(queue).collect(),
        outputs: now
            .about
            .outputs
            .iter()
            .map(|health| output(health))
            .collect(),
        sinks: now.about.sinks.states(),
        store: now.about.store.as_ref().map(|store| store.state()),
        ring: now.about.ring.as_ref().map(|ring| ring.state()),
        feeds: now.about.feeds.states(),
        alert_inputs: now.about.alert_inputs.states(),
        flow_inputs: now.about.flow_inputs.states(),
        networks: now
            .about
            .networks
            .as_ref()
            .map_or_else(Vec::new, |networks| networks.states()),
        confinement: confinement(now),
        tick_ms: ticks(now),
        clients_refused: 0,
        files: now.files.iter().map(kept).collect(),
        services: BTreeMap::new(),
        local: now.local.clone(),
        health: Vec::new(),
    }
}

fn confinement(now: &Snapshot) -> BTreeMap<Cow<'static, str>, Confined> {
    let parts = now.about.confinement.iter();
    parts
        .map(|(part, confined)| (Cow::Borrowed(*part), confined.clone()))
        .collect()
}

fn load(now: &Snapshot, way: usize) -> Load {
    let (total, rate) = (now.total(way), now.rates[way]);
    Load {
        packets: total.packets,
        bytes: total.bytes,
        packets_per_s: rate.packets_per_s,
        bytes_per_s: rate.bytes_per_s,
    }
}

fn queue(gauge: &Gauge) -> (Cow<'static, str>, Queue) {
    let queue = Queue {
        depth: gauge.depth(),
        capacity: gauge.capacity as u64,
        policy: gauge.policy.label().into(),
        shed: gauge.n_shed(),
    };
    (gauge.name.clone(), queue)
}

fn kept(file: &FileState) -> (Cow<'static, str>, KeptFile) {
    let kept = KeptFile {
        path: file.path.display().to_string(),
        lost: file.n_lost,
        error: file.error.clone(),
    };
    (file.name.into(), kept)
}

fn served(service: &Service) -> (Cow<'static, str>, Served) {
    let served = Served {
        open: service.is_open(),
        clients: service.n_clients() as u64,
        refused: service.n_refused(),
        dropped: service.n_dropped(),
        error: service.error(),
    };
    (service.name.into(), served)
}

fn output(health: &Health) -> (Cow<'static, str>, Output) {
    let output = Output {
        written: health.n_written(),
        lost: health.n_lost(),
        stalled_s: health.stalled().as_secs_f64(),
        error: health.error(),
    };
    (health.name.clone(), output)
}

fn ticks(now: &Snapshot) -> Ticks {
    let ms = |us: u64| us as f64 / 1e3;
    Ticks {
        hosts_p50: ms(now.ticks.hosts.value_at_quantile(0.5)),
        hosts_p99: ms(now.ticks.hosts.value_at_quantile(0.99)),
        flows_p50: ms(now.ticks.flows.value_at_quantile(0.5)),
        flows_p99: ms(now.ticks.flows.value_at_quantile(0.99)),
        late: now.ticks.n_late,
    }
}

/// State of the blast radius, for others.
fn radius(state: RadiusState) -> Radius {
    Radius {
        entries: state.n_entries,
        refused: state.n_refused,
        held: state.held.map(|bound| bound.words().to_owned()),
    }
}

/// State of what must stay reachable, for others.
fn guard(state: &GuardState) -> Guard {
    let fact = |state: &FactState| {
        let fact = GuardFact {
            known: state.is_known,
            networks: state.n_networks as u64,
            errors: state.n_errors,
            error: state.error.clone(),
            age_s: state.read_at.map(|at| at.elapsed().as_secs_f64()),
        };
        (state.fact.label().into(), fact)
    };
    Guard {
        known: state.missing.is_none(),
        missing: state.missing.clone(),
        networks: state.n_networks as u64,
        networks_unlisted: state.n_unlisted as u64,
        facts: state.facts.iter().map(fact).collect(),
        change_errors: state.n_deaf,
        change_error: state.deaf.clone(),
    }
}
