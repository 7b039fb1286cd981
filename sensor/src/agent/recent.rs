//! The last incidents, for those who ask later; kept over restarts in a file of JSON lines.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use sensor_engine::FEEDBACK_NS;
use sensor_record::{
    Account, Decision, Feedback, FeedbackGiven, Incident, LAST, Missing, Name, Record, Severity,
    State, Timestamp, has_number, json,
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::warn;

use sensor_respond::{Network, make_folder};

/// Kept; the oldest go first.
const N_KEPT: usize = 10_000;
const N_DECISIONS: usize = 100;
/// Records that a reader may lag behind by.
const N_NEWS: usize = 256;
/// Incidents of one answer.
const MAX_LISTED: usize = 10_000;
/// Longer lines are no record of ours.
const MAX_LINE: u64 = 4 << 20;

/// Incidents that are wanted; everything that is given has to hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentQuery {
    /// A source or a victim lies in this network.
    pub host: Option<Network>,
    pub family: Option<Name>,
    /// At least so severe.
    pub severity: Option<Severity>,
    /// Not over before this.
    pub since: Option<Timestamp>,
    /// Begun by then.
    pub until: Option<Timestamp>,
    pub limit: usize,
}

impl Default for IncidentQuery {
    fn default() -> Self {
        Self {
            host: None,
            family: None,
            severity: None,
            since: None,
            until: None,
            limit: 20,
        }
    }
}

impl IncidentQuery {
    fn matches(&self, incident: &Incident) -> bool {
        let mut ends = incident.sources.iter().chain(&incident.destinations);
        let is_met = |network: &Network| ends.any(|address| network.0.contains(address));
        self.host.as_ref().is_none_or(is_met)
            && self
                .family
                .as_ref()
                .is_none_or(|f| f.as_str() == incident.family)
            && self.severity.is_none_or(|least| incident.severity >= least)
            && self.since.is_none_or(|since| incident.end >= since)
            && self.until.is_none_or(|until| incident.start <= until)
    }
}

/// Shared by the engine thread, which adds, and by those who answer.
#[derive(Clone, Debug)]
pub struct Recent {
    lists: Arc<Mutex<Lists>>,
    /// To those who watch.
    news: broadcast::Sender<Arc<Record>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            lists: Arc::default(),
            news: broadcast::Sender::new(N_NEWS),
        }
    }
}

#[derive(Debug, Default)]
struct Lists {
    /// Latest state of each incident with what was decided, in the order of their beginning.
    incidents: VecDeque<Account>,
    /// Place of each, counted from the first incident of all.
    places: BTreeMap<String, u64>,
    /// Place of the oldest that is kept.
    first: u64,
    /// The last ones of all, the oldest first.
    decisions: VecDeque<Decision>,
    n_forgotten: u64,
}

impl Lists {
    fn find(&mut self, id: &str) -> Option<&mut Account> {
        let place = self.places.get(id)?.checked_sub(self.first)?;
        self.incidents.get_mut(usize::try_from(place).ok()?)
    }

    fn decide(&mut self, decision: &Decision) {
        if self.decisions.len() >= N_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision.clone());
        if let Some(account) = self.find(&decision.incident_id) {
            account.decided.add(decision);
        }
    }

    fn take(&mut self, incident: &Incident) {
        if let Some(account) = self.find(&incident.id) {
            account.incident = incident.clone();
            return;
        }
        if self.incidents.len() >= N_KEPT
            && let Some(oldest) = self.incidents.pop_front()
        {
            self.places.remove(oldest.id());
            self.first += 1;
            self.n_forgotten += 1;
        }
        let place = self.first + self.incidents.len() as u64;
        self.places.insert(incident.id.clone(), place);
        self.incidents.push_back(Account::new(incident.clone()));
    }

    fn add(&mut self, record: &Record) {
        match record {
            Record::Incident(incident) => self.take(incident),
            Record::Decision(decision) => self.decide(decision),
            Record::Feedback(given) => {
                if let Some(account) = self.find(&given.feedback.incident_id) {
                    account.feedback = Some(given.feedback.clone());
                }
            }
            Record::Sensor(_)
            | Record::Flow(_)
            | Record::Finding(_)
            | Record::Event(_)
            | Record::Loss(_)
            | Record::Summary(_)
            | Record::Remark(_) => {}
        }
    }
}

impl Recent {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an incident, and what was decided about one or said of it; everything else passes by.
    pub fn add(&self, record: &Arc<Record>) {
        if !Self::is_stored(record) {
            return;
        }
        self.lists().add(record);
        // Nobody may be watching.
        let _unheard = self.news.send(Arc::clone(record));
    }

    /// Hands on whatever is added from now on. A reader that is too slow is told how many it missed.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Record>> {
        self.news.subscribe()
    }

    /// True for records that are kept over restarts.
    pub const fn is_kept(record: &Record) -> bool {
        matches!(
            record,
            Record::Incident(_) | Record::Decision(_) | Record::Feedback(_)
        )
    }

    /// True for records of the store.
    pub const fn is_stored(record: &Record) -> bool {
        Self::is_kept(record) || matches!(record, Record::Remark(_))
    }

    /// Reads what a run before kept, and writes it anew without what is over. Lines that are no record
    /// are left out: a crash may have cut the last one.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn open(&self, path: &Path) -> Result<File> {
        self.read(path)
            .with_context(|| path.display().to_string())?;
        for account in &mut self.lists().incidents {
            // Nobody goes on with what a run before left open.
            account.incident.state = State::Closed;
        }
        self.compact(path)
    }

    fn read(&self, path: &Path) -> std::io::Result<()> {
        let mut reader = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(cause),
        };
        let (mut line, mut n_bad, mut lists) = (Vec::new(), 0u64, self.lists());
        while (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            match Record::read(&line) {
                Ok(Some(record)) => lists.add(&record),
                Ok(None) => {}
                Err(_bad) => n_bad += 1,
            }
            line.clear();
        }
        if n_bad > 0 {
            warn!(path = %path.display(), n_bad, "lines of incidents before can't be read");
        }
        Ok(())
    }

    /// Writes all that is kept into a new file in the place of the old one, and opens it for more.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn compact(&self, path: &Path) -> Result<File> {
        let all: Vec<Account> = self.lists().incidents.iter().cloned().collect();
        let beside = path.with_extension("new");
        let write = || -> std::io::Result<File> {
            make_folder(path.parent().unwrap_or(Path::new(".")))?;
            let _left_over = fs::remove_file(&beside);
            let mut options = OpenOptions::new();
            let file = options
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&beside)?;
            let mut out = BufWriter::new(file);
            for account in &all {
                json::write_line(&mut out, &account.incident)?;
                for decision in &account.decided.decisions {
                    json::write_line(&mut out, decision)?;
                }
                if let Some(feedback) = &account.feedback {
                    json::write_line(&mut out, &given(&account.incident, feedback))?;
                }
            }
            let file = out.into_inner().map_err(|cause| cause.into_error())?;
            fs::rename(&beside, path)?;
            Ok(file)
        };
        write()
            .inspect_err(|_| {
                let _absent = fs::remove_file(&beside);
            })
            .with_context(|| path.display().to_string())
    }

    /// Incidents that match, the newest first.
    pub fn incidents(&self, query: &IncidentQuery) -> Vec<Incident> {
        let lists = self.lists();
        let newest = lists.incidents.iter().rev();
        let wanted = newest.filter(|account| query.matches(&account.incident));
        let wanted = wanted.take(query.limit.min(MAX_LISTED));
        wanted.map(|account| account.incident.clone()).collect()
    }

    /// The last `n` decisions, the newest first.
    pub fn decisions(&self, n: usize) -> Vec<Decision> {
        let lists = self.lists();
        lists.decisions.iter().rev().take(n).cloned().collect()
    }

    /// Finds the account of one incident: by its identifier, a number, a beginning that no other has,
    /// or the last one.
    ///
    /// # Errors
    /// With the nearest identifiers.
    pub fn account(&self, id: &str) -> Result<Account, Missing> {
        let mut lists = self.lists();
        if let Some(account) = lists.find(id) {
            return Ok(account.clone());
        }
        let mut newest = lists.incidents.iter().rev();
        let is_named = |account: &&Account| id == LAST || has_number(account.id(), id);
        if let Some(account) = newest.find(is_named) {
            return Ok(account.clone());
        }
        let begins = |account: &&Account| !id.is_empty() && account.id().starts_with(id);
        let begins: Vec<&Account> = lists.incidents.iter().filter(begins).take(2).collect();
        if let [one] = begins.as_slice() {
            return Ok((*one).clone());
        }
        let ids = lists.incidents.iter().map(Account::id);
        Err(Missing::new(id, ids))
    }

    /// Incidents that gave way to newer ones.
    pub fn n_forgotten(&self) -> u64 {
        self.lists().n_forgotten
    }
}

/// The record of what was said of an incident.
fn given(incident: &Incident, feedback: &Feedback) -> FeedbackGiven {
    let at_ns = feedback.until.0.saturating_sub(FEEDBACK_NS);
    FeedbackGiven {
        head: incident.head.sensor.head(at_ns),
        feedback: feedback.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use sensor_record::example;

    use super::*;

    fn incident(id: &str, score: f64) -> Arc<Record> {
        let id = id.to_owned();
        Arc::new(Record::from(Incident {
            id,
            score,
            ..example::incident()
        }))
    }

    fn all() -> IncidentQuery {
        IncidentQuery {
            limit: usize::MAX,
            ..IncidentQuery::default()
        }
    }

    #[test]
    fn keeps_the_latest_state_of_the_latest_incidents() {
        let recent = Recent::default();
        for id in 0..N_KEPT + 1 {
            recent.add(&incident(&id.to_string(), 0.0));
        }
        recent.add(&incident("7", 1.0));
        recent.add(&Arc::new(example::flow().into()));
        let all = recent.incidents(&all());
        assert_eq!((all.len(), recent.n_forgotten()), (N_KEPT, 1));
        assert_eq!(all[0].id, N_KEPT.to_string());
        assert_eq!(all.iter().find(|i| i.id == "7").unwrap().score, 1.0);
    }

    #[test]
    fn an_incident_is_remembered_with_what_was_decided() {
        let recent = Recent::default();
        recent.add(&incident("000001-aa", 1.0));
        recent.add(&incident("000002-ab", 1.0));
        for _ in 0..20 {
            recent.add(&Arc::new(Record::from(Decision {
                incident_id: "000001-aa".to_owned(),
                ..example::decision()
            })));
        }
        let decided = recent.account("000001").unwrap().decided;
        assert_eq!((decided.decisions.len(), decided.n_decisions), (10, 20));
        let other = recent.account("000002-ab").unwrap();
        assert_eq!(other.decided.n_decisions, 0);
        assert_eq!(recent.account("1").unwrap().id(), "000001-aa");
        assert_eq!(recent.account("last").unwrap().id(), "000002-ab");
        assert_eq!(recent.account("00000").unwrap_err().nearest.len(), 2);
        let missing = recent.account("000003-aa").unwrap_err();
        assert_eq!(missing.nearest[0], "000001-aa");
    }

    #[test]
    fn incidents_are_found_by_host_family_severity_and_time() {
        let recent = Recent::default();
        recent.add(&incident("000001-aa", 1.0));
        let one = example::incident();
        let found = |change: &dyn Fn(&mut IncidentQuery)| {
            let mut query = all();
            change(&mut query);
            recent.incidents(&query).len()
        };
        let network = |text: &str| Some(Network(text.parse().unwrap()));
        assert_eq!(found(&|_| ()), 1);
        assert_eq!(found(&|q| q.host = Some(Network(one.sources[0].into()))), 1);
        assert_eq!(found(&|q| q.host = network("192.0.2.255/32")), 0);
        assert_eq!(found(&|q| q.family = one.family.parse().ok()), 1);
        assert_eq!(found(&|q| q.family = "beacon".parse().ok()), 0);
        assert_eq!(found(&|q| q.severity = Some(one.severity)), 1);
        assert_eq!(found(&|q| q.since = Some(one.end)), 1);
        assert_eq!(found(&|q| q.since = Some(Timestamp(one.end.0 + 1))), 0);
        assert_eq!(found(&|q| q.until = Some(one.start)), 1);
        assert_eq!(found(&|q| q.until = Some(Timestamp(one.start.0 - 1))), 0);
        assert_eq!(found(&|q| q.limit = 0), 0);
    }

    #[test]
    fn incidents_come_back_after_a_restart() {
        let folder = std::env::temp_dir().join(format!("sensor-recent-{}", std::process::id()));
        let path = folder.join("incidents.jsonl");
        let before = Recent::default();
        let mut file = before.open(&path).unwrap();
        for record in [
            incident("000001-aa", 1.0),
            incident("000001-aa", 2.0),
            incident("000002-ab", 1.0),
        ] {
            json::write_line(&mut file, &record).unwrap();
        }
        json::write_line(
            &mut file,
            &Record::from(Decision {
                incident_id: "000002-ab".to_owned(),
                ..example::decision()
            }),
        )
        .unwrap();
        let said = FeedbackGiven {
            feedback: Feedback {
                incident_id: "000001-aa".to_owned(),
                ..example::feedback()
            },
            ..example::given()
        };
        json::write_line(&mut file, &Record::from(said.clone())).unwrap();
        // Cut by a crash.
        file.write_all(b"{\"kind\":\"incid").unwrap();
        let after = Recent::default();
        after.open(&path).unwrap();
        let found = after.incidents(&all());
        assert_eq!((found.len(), found[1].score), (2, 2.0));
        assert!(found.iter().all(|incident| incident.state == State::Closed));
        assert_eq!(after.account("2").unwrap().decided.n_decisions, 1);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4);
        // And after one more, of the file that the last one wrote.
        for recent in [&after, &Recent::default()] {
            recent.open(&path).unwrap();
            let account = recent.account("1").unwrap();
            assert_eq!(account.feedback.as_ref(), Some(&said.feedback));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
