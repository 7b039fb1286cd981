//! One round: a fresh network, a fresh sensor, one thing done to the server.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use sensor_tests::{Background, Network, Running, Sender, wait_until};
use serde_json::Value;

use crate::cases::{Case, Family, Forged, Means, SSH};
use crate::flood::{Flood, receive_natively};
use crate::innocent::{Account, Innocent};
use crate::services::Service;

/// Mode in which there is no sensor.
pub const NO_SENSOR: &str = "none";
/// Time that it goes on after the sensor acted on it, and the most where it never does.
const GOES_ON: Duration = Duration::from_secs(3);
const MOST: Duration = Duration::from_secs(40);
/// Peace before and after, for the client's usual.
const PEACE: Duration = Duration::from_secs(2);

/// Figures of a round. Times are those of packets: from the first of the attacker, s.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// To the first incident that names the attacker, or, where nobody is to be blamed, to any.
    pub to_incident_s: Option<f64>,
    pub to_decision_s: Option<f64>,
    /// To the first packet that met an entry, dropped or, in monitor mode, counted.
    pub to_drop_s: Option<f64>,
    pub families: Vec<String>,
    /// Strongest action that was carried out, or would have been, on the attacker.
    pub action: Option<String>,
    /// Actions on anybody who is innocent, with whom.
    pub on_innocents: Vec<String>,
    /// Packets that met an entry or a shield and were, or would have been, dropped or answered.
    pub n_dropped: u64,
    /// Packets that came by the attacker's link.
    pub n_arrived: u64,
    /// Time that it went on, s.
    pub lasted_s: f64,
    pub client: Account,
}

pub fn run(case: &Case, family: Family, mode: &str) -> Result<Outcome> {
    let folder = scratch(case.name)?;
    let outcome = run_in(case, family, mode, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    outcome.with_context(|| format!("{} {} {mode}", case.name, family.label()))
}

fn run_in(case: &Case, family: Family, mode: &str, folder: &Path) -> Result<Outcome> {
    let network = Network::new()?;
    let mut services = vec![Service::Echo(case.port).start(&network, folder)?];
    for service in case.services {
        services.push(service.start(&network, folder)?);
    }
    let start = || Innocent::start(&network, folder, family, case);
    // An administrator's session counts as one that was there before.
    let before = (case.port == SSH).then(start).transpose()?;
    wait_served(before.as_ref())?;
    let mut sensor = guard(case, &network, mode)?;
    let innocent = match before {
        Some(innocent) => innocent,
        None => start()?,
    };
    wait_served(Some(&innocent))?;
    sleep(PEACE);

    let arrived = || network.counter("server", "attacker", "rx_packets");
    let n_before = arrived()?;
    let begin_s = now_s();
    let acted = Acted::start(case, family, &network, folder)?;
    let attacker = family.address(2, 2);
    let is_acted_on = |v: &Value| v["kind"] == "decision";
    // The innocent are watched for as long as the worst would take.
    let limit = if case.is_offender { MOST } else { MOST / 4 };
    match &sensor {
        Some(sensor) => _ = sensor.wait_for(limit, is_acted_on),
        None => sleep(MOST / 4),
    }
    sleep(GOES_ON);
    acted.end()?;
    network.end_processes("attacker");
    let end_s = now_s();
    let n_arrived = arrived()?.saturating_sub(n_before);
    sleep(PEACE);
    let client = innocent.account(begin_s, end_s, now_s());
    let told = match &mut sensor {
        Some(sensor) => {
            let summary = sensor.stop()?;
            read(case, sensor, &summary, &attacker)
        }
        None => Outcome::default(),
    };
    Ok(Outcome {
        client,
        n_arrived,
        lasted_s: end_s - begin_s,
        ..told
    })
}

/// Starts the sensor, unless there is to be none.
fn guard(case: &Case, network: &Network, mode: &str) -> Result<Option<Running>> {
    let is_flood = matches!(case.means, Means::Flood { .. });
    if is_flood {
        for host in ["client", "attacker"] {
            receive_natively(network, host, &["eth0"])?;
        }
    }
    if mode == NO_SENSOR {
        if is_flood {
            receive_natively(network, "server", &["client", "attacker"])?;
        }
        return Ok(None);
    }
    // Answers that a native program sends get lost on a veth whose other end has none.
    let attach = if is_flood { "native" } else { "generic" };
    // An event for each of a million flows a second is more than anybody reads.
    let events = if is_flood { "" } else { "--events" };
    let arguments = format!("--mode {mode} --attach {attach} {events}");
    Running::start(network, &arguments).map(Some)
}

/// Waits until the client is served.
fn wait_served(innocent: Option<&Innocent>) -> Result<()> {
    let Some(innocent) = innocent else {
        return Ok(());
    };
    let n_before = innocent.n_lines();
    let is_talking = || (innocent.n_lines() > n_before + 5).then_some(());
    wait_until(Duration::from_secs(10), is_talking).context("the client is not served")
}

/// Attack under way; it ends with the value.
enum Acted {
    Tool { _program: Background },
    Frames { _senders: Vec<Sender> },
    Flood(Flood),
}

/// Frames a second that one thread sends.
const PER_SENDER: u64 = 200_000;

impl Acted {
    fn start(case: &Case, family: Family, network: &Network, folder: &Path) -> Result<Self> {
        match &case.means {
            Means::Tool { v4, v6 } => {
                let line = if family == Family::V4 { v4 } else { v6 };
                let script = script(line.context("no command")?, family, folder)?;
                let program = network.start("attacker", &format!("sh {}", script.display()))?;
                Ok(Self::Tool { _program: program })
            }
            Means::Frames(Forged { rate, v4, v6 }) => {
                let frame = match family {
                    Family::V4 => *v4,
                    Family::V6 => v6.context("no frames")?,
                };
                let head = head(network)?;
                let n_senders = rate.div_ceil(PER_SENDER);
                let start = |first| {
                    let head = head.clone();
                    let made = move |n| {
                        let mut made = frame(n * n_senders + first);
                        made[..12].copy_from_slice(&head);
                        made
                    };
                    Sender::start(network, "attacker", rate / n_senders, u64::MAX, made)
                };
                let senders = (0..n_senders).map(start).collect::<Result<_>>()?;
                Ok(Self::Frames { _senders: senders })
            }
            Means::Flood { rate, v4, v6 } => {
                let mut made = if family == Family::V4 { v4 } else { v6 }(0);
                made[..12].copy_from_slice(&head(network)?);
                Flood::start(network, *rate, made).map(Self::Flood)
            }
        }
    }

    fn end(self) -> Result<()> {
        match self {
            Self::Flood(flood) => flood.end(),
            Self::Tool { .. } | Self::Frames { .. } => Ok(()),
        }
    }
}

/// Link-layer addresses of what the attacker sends.
fn head(network: &Network) -> Result<Vec<u8>> {
    let mut head = network.mac("server", "attacker")?;
    head.extend(network.mac("attacker", "eth0")?);
    Ok(head)
}

/// Writes the command with its words filled in; `exec`, so that its end is the tool's.
fn script(line: &str, family: Family, folder: &Path) -> Result<PathBuf> {
    let server = family.address(2, 1);
    let bracketed = match family {
        Family::V4 => server.clone(),
        Family::V6 => format!("[{server}]"),
    };
    let words = folder.join("words");
    let guesses: Vec<String> = (0..5_000).map(|n| format!("guess{n}")).collect();
    std::fs::write(&words, guesses.join("\n"))?;
    let line = line
        .replace("$SERVER", &server)
        .replace("$BRACKETED", &bracketed)
        .replace("$URL", &format!("http://{bracketed}/"))
        .replace("$WORDS", &words.display().to_string());
    let script = folder.join("attack.sh");
    std::fs::write(&script, format!("cd {}\nexec {line}\n", folder.display()))?;
    Ok(script)
}

/// Figures from what the sensor said.
fn read(case: &Case, sensor: &Running, summary: &Value, attacker: &str) -> Outcome {
    let from = |v: &Value| v["source.ip"] == attacker;
    let first = |is_it: &dyn Fn(&Value) -> bool| {
        let found = sensor.lines(is_it).into_iter().next()?;
        seconds(&found["@timestamp"])
    };
    let start_s = first(&|v| v["event.action"] == "flow_started" && from(v));
    // Another incident may be open by then: of the client's first minute, or of the tool's own look-ups.
    let is_about = |v: &Value| {
        let sources = v["source.ips"].as_array();
        !case.is_offender || sources.is_some_and(|all| all.iter().any(|ip| ip == attacker))
    };
    let since = |at_s: Option<f64>| Some(at_s? - start_s?);
    let decisions = sensor.lines(|v| v["kind"] == "decision");
    let on = |v: &Value| v["decision.target"].as_str().unwrap_or_default().to_owned();
    let is_offender = |v: &Value| case.is_offender && on(v) == attacker;
    let is_done = |v: &&Value| {
        let outcome = v["decision.outcome"].as_str().unwrap_or_default();
        matches!(outcome, "applied" | "monitored")
    };
    let told = |v: &Value| v["decision.action"].as_str().unwrap_or_default().to_owned();
    let done = decisions.iter().filter(is_done);
    let strongest = done.clone().filter(|v| is_offender(v)).map(told);
    let count = |event: &str| summary["events"][event].as_u64().unwrap_or(0);
    Outcome {
        to_incident_s: since(first(&|v| v["incident.state"] == "opened" && is_about(v))),
        to_decision_s: since(first(&|v| v["kind"] == "decision" && is_offender(v))),
        to_drop_s: since(first(&|v| v["event.action"] == "block_hit" && from(v))),
        families: sensor.families(),
        action: strongest.max_by_key(|action| strength(action)),
        on_innocents: done
            .filter(|v| !is_offender(v))
            .map(|v| format!("{} {}", told(v), on(v)))
            .collect(),
        n_dropped: DROPPED.iter().map(|event| count(event)).sum(),
        n_arrived: 0,
        lasted_s: 0.0,
        client: Account::default(),
    }
}

/// Counters of packets that met an entry or a shield and did not reach the stack, or would not have.
const DROPPED: [&str; 11] = [
    "dropped",
    "rate_limited",
    "challenged",
    "quarantined",
    "would_drop",
    "would_challenge",
    "shield_answered",
    "shield_out_of_state",
    "shield_unasked",
    "shield_over_rate",
    "shield_would_hold",
];

/// Order of the actions, weakest first.
fn strength(action: &str) -> usize {
    const ACTIONS: [&str; 5] = ["observe", "limit", "challenge", "quarantine", "drop"];
    ACTIONS
        .iter()
        .position(|known| *known == action)
        .unwrap_or(0)
}

/// Seconds of the day, of a time in RFC 3339.
fn seconds(time: &Value) -> Option<f64> {
    let (_, clock) = time.as_str()?.trim_end_matches('Z').split_once('T')?;
    clock.split(':').try_fold(0.0, |sum, part| {
        Some(sum * 60.0 + part.parse::<f64>().ok()?)
    })
}

fn now_s() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn scratch(name: &str) -> Result<PathBuf> {
    let name = format!("sensor-drill-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
