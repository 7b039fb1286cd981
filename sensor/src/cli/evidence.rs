//! `sensor evidence`.

mod gather;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use sensor_deliver::stix_bundle;
use sensor_record::answer::Explanation;
use sensor_record::{Account, Accounts, Name, Record, Timestamp, Zone, json, text};
use serde_json::{Map, Value, json};

use super::client::{Fetched, PacketsOf, Reach};
use super::out::say;
use super::site::Site;
use super::{EXIT_BAD_INPUT, config, explain, version};
use crate::agent::protocol::Request;
use crate::config::Loaded;
use crate::evidence::{
    Collected, Custody, Folder, Input, Labels, Selector, Tool, Who, make_image, verify,
};
use crate::identity;
use gather::Gathered;
use sensor_capture::pcap::STANDARD_INPUT;

/// Keys of sinks that may hold secrets, or say where they are.
const SECRET_KEYS: [&str; 8] = [
    "url",
    "proxy",
    "headers",
    "command",
    "template",
    "token",
    "user",
    "client_key",
];

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "With --from alone the captures are replayed, and ID is an incident of that replay. With --records \
    the incident is one of the output of `sensor run --json` or `sensor replay --json`. With neither it is one \
    of the running agent, with samples of packets as far as its ring has some.\n\n\
    Example: sensor evidence last --from office.pcap.zst --examiner 'A. Lovelace'\n\
    Example: sensor evidence 000007 --records sensor.jsonl --from ring.pcapng --e01\n\
    Example: sensor evidence verify evidence-000007-00000000000000aa"
)]
pub struct Evidence {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    collect: Option<Collect>,
    #[command(flatten)]
    site: Site,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Command {
    /// Check that nothing of a folder of evidence was changed, taken out or added.
    #[command(
        after_help = "Whoever may write the folder can write its list of hashes anew: compare the hash that \
        this command prints with the one that was noted when the evidence was collected.\n\n\
        Example: sensor evidence verify evidence-000007-00000000000000aa"
    )]
    Verify {
        /// Folder of evidence.
        folder: PathBuf,
    },
}

#[derive(Args)]
struct Collect {
    /// Identifier of the incident, a unique beginning of one, its number, or `last`.
    id: Name,
    /// Capture that its packets are in; may be repeated, in the order of their times.
    #[arg(long, value_name = "CAPTURE")]
    from: Vec<PathBuf>,
    /// File of JSON lines that the incident is in.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Folder to make. Default: evidence-ID in the current one.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Make an image of the folder in the Expert Witness format as well (EnCase, FTK, sleuthkit), by
    /// ewfacquire and mke2fs.
    #[arg(long)]
    e01: bool,
    /// Greatest number of packets to copy; the rest is counted.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_packets: u64,
    /// Name of the case.
    #[arg(long)]
    case: Option<Name>,
    /// Number of the evidence.
    #[arg(long)]
    number: Option<Name>,
    /// Name of the person that collects it.
    #[arg(long)]
    examiner: Option<Name>,
    /// Note on the circumstances.
    #[arg(long)]
    note: Option<Name>,
}

impl Evidence {
    pub fn execute(self) -> Result<ExitCode> {
        match (self.command, self.collect) {
            (Some(Command::Verify { folder }), _) => check(&folder, self.reach.json),
            (None, Some(collect)) => collect.execute(&self.site, &self.reach),
            (None, None) => bail!("name an incident"),
        }
    }
}

fn check(folder: &Path, is_json: bool) -> Result<ExitCode> {
    let verified = verify(folder)?;
    if is_json {
        let whole = verified.faults.is_empty();
        let line = json!({
            "kind": "evidence_verified",
            "whole": whole,
            "files": verified.n_files,
            "sha256sums": verified.sums,
            "faults": verified.faults,
        });
        say!("{line}")?;
    } else {
        for fault in &verified.faults {
            say!("{}", sensor_record::escape(fault))?;
        }
        let told = match verified.faults.len() {
            0 => "whole".to_owned(),
            n => format!("{n} faults"),
        };
        say!("{} files: {told}", verified.n_files)?;
        say!("SHA-256 of SHA256SUMS: {}", verified.sums)?;
    }
    Ok(if verified.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Place that the incident is known from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Replay,
    Records,
    Agent,
}

impl Collect {
    fn execute(self, site: &Site, reach: &Reach) -> Result<ExitCode> {
        let began = Timestamp::now();
        if self
            .from
            .iter()
            .any(|path| path.as_os_str() == STANDARD_INPUT)
        {
            bail!("captures are read twice: name files");
        }
        let origin = match (&self.records, self.from.is_empty()) {
            (Some(_), _) => Origin::Records,
            (None, false) => Origin::Replay,
            (None, true) => Origin::Agent,
        };
        let loaded = match origin {
            Origin::Replay => site.loaded()?,
            Origin::Records | Origin::Agent => site.of_machine()?,
        };
        let (account, is_good) = self.account(origin, &loaded, reach)?;
        let out = match &self.out {
            Some(out) => out.clone(),
            None => format!("evidence-{}", account.id()).into(),
        };
        let folder = Folder::create(&out)?;
        let ring = match origin {
            Origin::Agent => reach.connect()?.packets(&PacketsOf::Incident(account.id())),
            Origin::Replay | Origin::Records => Err(anyhow!("not asked")),
        };
        let collected = self.fill(folder, &account, (origin, &loaded, ring), began);
        let (sums, n_packets) = collected.inspect_err(|_| {
            let _left = std::fs::remove_dir_all(&out);
        })?;
        let image = match self.e01 {
            true => Some(make_image(&out, &self.labels(&account))?),
            false => None,
        };
        if reach.json {
            let image = image.map(|path| path.display().to_string());
            let line = json!({
                "kind": "evidence",
                "incident.id": account.id(),
                "folder": out.display().to_string(),
                "packets": n_packets,
                "sha256sums": sums,
                "image": image,
            });
            say!("{line}")?;
        } else {
            say!(
                "{}: incident {}, {n_packets} packets",
                out.display(),
                account.id()
            )?;
            say!("SHA-256 of SHA256SUMS: {sums}   note it down elsewhere")?;
            if let Some(image) = image {
                say!("{}: made and verified by ewfverify", image.display())?;
            }
        }
        Ok(match is_good {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_BAD_INPUT),
        })
    }

    /// Finds the incident. `false`: part of the input was bad.
    fn account(&self, origin: Origin, loaded: &Loaded, reach: &Reach) -> Result<(Account, bool)> {
        let id = self.id.as_str();
        match (origin, &self.records) {
            (Origin::Records, Some(path)) => explain::from_file(path, id),
            (Origin::Replay, _) | (_, None) if !self.from.is_empty() => {
                let accounts = Accounts::new(id);
                let (accounts, is_good) = gather::accounts(&loaded.settings, &self.from, accounts)?;
                Ok((accounts.finish()?, is_good))
            }
            _ => {
                let id = self.id.clone();
                let found: Explanation = reach.connect()?.ask(&Request::Explain { id })?;
                Ok((found.into(), true))
            }
        }
    }

    /// Fills the folder; its hash and the number of packets.
    fn fill(
        &self,
        mut folder: Folder,
        account: &Account,
        (origin, loaded, ring): (Origin, &Loaded, Result<Fetched>),
        began: Timestamp,
    ) -> Result<(String, u64)> {
        let zone = Zone::named("UTC").unwrap_or_else(Zone::local);
        let selector = Selector::new(&account.incident, &account.decided.decisions);
        let mut gathered = Gathered::new(account, &selector, self.max_packets);
        match (origin, &self.records) {
            (Origin::Replay, _) => gathered.replay(&loaded.settings, &self.from, &mut folder)?,
            (Origin::Records, Some(records)) => {
                explain::read(records, |record| gathered.take(record))?;
                gathered.copy(&self.from, &mut folder)?;
            }
            _ => {
                gathered.take_account();
                if let Ok(packets) = &ring {
                    gathered.take_packets(packets, &mut folder)?;
                }
            }
        }
        folder.write("incident.json", &(json::line(&account.incident) + "\n"))?;
        folder.write(
            "stix.json",
            &format!("{:#}\n", stix_bundle(&account.incident)),
        )?;
        let sentences = text::explain::sentences(account, &zone);
        folder.write("explanation.txt", &(sentences.join("\n") + "\n"))?;
        let (lines, told) = timeline(&gathered.timeline, &zone);
        folder.write("timeline.jsonl", &lines)?;
        folder.write("timeline.txt", &told)?;
        if !gathered.flows.is_empty() {
            let flows: Vec<String> = gathered.flows.iter().map(json::line).collect();
            folder.write("flows.jsonl", &(flows.join("\n") + "\n"))?;
        }
        let settings = without_secrets(config::rows(loaded, false));
        folder.write("configuration.json", &format!("{settings:#}\n"))?;
        folder.write("versions.json", &format!("{:#}\n", versions()))?;
        let n_packets = gathered.n_packets;
        let collected = self.collected(origin, &gathered, (&selector, ring));
        let custody = self.custody(account, (loaded, began), collected, &folder)?;
        folder.write("custody.txt", &custody.text())?;
        let as_json = serde_json::to_value(&custody)?;
        folder.write("custody.json", &format!("{as_json:#}\n"))?;
        Ok((folder.seal()?, n_packets))
    }

    fn collected(
        &self,
        origin: Origin,
        gathered: &Gathered<'_>,
        (of, ring): (&Selector, Result<Fetched>),
    ) -> Collected {
        let packets = match (self.from.is_empty(), origin, ring) {
            (true, Origin::Agent, Ok(_)) => format!(
                "packet samples of the agent's ring {}: a packet in a few, headers made anew, payloads cut",
                of.told()
            ),
            (true, Origin::Agent, Err(cause)) => {
                format!("none: {cause:#}; name a capture of the time with --from")
            }
            (true, ..) => "none: name a capture of the time with --from".to_owned(),
            (false, ..) => format!(
                "frames of the captures {}, as they were captured: bytes, lengths and stamps; a capture with a \
                 snapshot length holds the beginnings alone",
                of.told()
            ),
        };
        let flows = match origin {
            Origin::Replay => "flows of the replay that belong to the incident",
            Origin::Records => {
                "flows of the records that belong to it, where there are any (--flows)"
            }
            Origin::Agent => "none: `sensor flows` lists those that are active",
        };
        let incident_from = match origin {
            Origin::Replay => "replay of the captures with this program and the configuration here",
            Origin::Records => "records that a sensor wrote",
            Origin::Agent => "memory of the running agent",
        };
        let timeline = match origin {
            Origin::Agent => "the incident as it stands, and the first decisions about it",
            Origin::Replay | Origin::Records => {
                "every publication of the incident, findings, decisions and feedback about it"
            }
        };
        let configuration = match origin {
            Origin::Replay => "that of the replay",
            Origin::Records | Origin::Agent => {
                "as files and environment of this machine say now; the records name the hash of the one in force"
            }
        };
        Collected {
            incident_from: incident_from.to_owned(),
            packets,
            n_packets: gathered.n_packets,
            n_packets_left_out: gathered.n_packets_left_out,
            flows: flows.to_owned(),
            n_flows: gathered.flows.len() as u64,
            n_flows_left_out: gathered.n_flows_left_out,
            timeline: timeline.to_owned(),
            configuration: format!("{configuration}; what may be a secret of a sink is left out"),
        }
    }

    fn custody(
        &self,
        account: &Account,
        (loaded, began): (&Loaded, Timestamp),
        collected: Collected,
        folder: &Folder,
    ) -> Result<Custody> {
        let text = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned());
        let sensor = identity::of_replay(&loaded.settings);
        let inputs = self.from.iter().chain(&self.records);
        Ok(Custody {
            incident: account.id().to_owned(),
            case: text(&self.case),
            number: text(&self.number),
            note: text(&self.note),
            who: Who::now(text(&self.examiner)),
            host: sensor.host_name.clone(),
            sensor_id: account.incident.head.sensor.id.clone(),
            kernel: kernel(),
            tool: Tool::this(version())?,
            began,
            ended: Timestamp::now(),
            inputs: inputs.map(|path| Input::of(path)).collect::<Result<_>>()?,
            collected,
            items: folder.items().to_vec(),
        })
    }

    fn labels<'a>(&'a self, account: &'a Account) -> Labels<'a> {
        let or = |name: &'a Option<Name>, other| name.as_ref().map_or(other, |name| name.as_str());
        Labels {
            case: or(&self.case, "sensor"),
            number: or(&self.number, account.id()),
            examiner: or(&self.examiner, "not given"),
            description: &account.incident.family,
            note: or(&self.note, "not given"),
        }
    }
}

/// Records as lines, and as a person reads them.
fn timeline(records: &[Record], zone: &Zone) -> (String, String) {
    let (mut lines, mut told) = (String::new(), String::new());
    for record in records {
        lines.push_str(&json::line(record));
        lines.push('\n');
        if let Some(line) = text::line(record, zone) {
            told.push_str(&line);
            told.push('\n');
        }
    }
    (lines, told)
}

/// Leaves out what may be a secret of a sink.
fn without_secrets(mut rows: Map<String, Value>) -> Value {
    for (path, row) in &mut rows {
        let key = path.rsplit('.').next().unwrap_or_default();
        if path.starts_with("sink[") && SECRET_KEYS.contains(&key) {
            row["value"] = Value::from("left out");
        }
    }
    Value::Object(rows)
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn versions() -> Value {
    json!({
        "sensor": version(),
        "schema.version": sensor_record::SCHEMA_VERSION,
        "schema.hash": format!("{:016x}", sensor_engine::schema_hash()),
        "kernel": kernel(),
        "architecture": std::env::consts::ARCH,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_sinks_are_left_out() {
        let row = |value: &str| json!({"value": value, "origin": "file"});
        let rows = Map::from_iter([
            (
                "sink[0].url".to_owned(),
                row("https://hooks.example.org/T0/SECRET"),
            ),
            ("sink[0].name".to_owned(), row("soc")),
            ("respond.mode".to_owned(), row("monitor")),
        ]);
        let kept = without_secrets(rows);
        assert!(!kept.to_string().contains("SECRET"), "{kept}");
        assert_eq!(kept["sink[0].name"]["value"], "soc");
        assert_eq!(kept["respond.mode"]["value"], "monitor");
    }
}
