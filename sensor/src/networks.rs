//! Networks over sequences: files with their manifests, checked before anybody uses them; those that are
//! installed; and how they judge.

mod installed;
mod judge;
mod shadow;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sensor_common::Address;
use sensor_engine::{Judgement, Sequence, SequenceKind, SequenceKinds};
use sensor_networks::{MAX_FILE_BYTES, Network, Plan};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use installed::{Change, Entry, Installed, InstalledFolder};
pub use judge::{Here, Judge};
pub use shadow::{Shadow, Side, Tally};

/// Word of others for or against an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A detector found it.
    Found { at_ns: u64, address: Address },
    /// A person said what it is.
    Said { address: Address, is_attack: bool },
}

/// Judges sequences by networks, at once or later.
pub trait Judging {
    /// Kinds of sequences that are wanted now.
    fn kinds(&self) -> SequenceKinds;
    fn take(&mut self, sequence: &Sequence);
    /// Takes what else speaks for or against an address, for those who compare networks.
    fn note(&mut self, _noted: Noted) {}
    /// Appends what was said since the last call; the number of sequences that nobody had time for.
    fn judged(&mut self, out: &mut Vec<Judgement>) -> u64;
}

/// Longest manifest: a self-test of a minute's sequence is 100 kB.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Difference up to which the self-test's answer is the exporter's.
const NEAR: f32 = 1e-4;
/// Characters of the word for the kind of network.
const MAX_WORD: usize = 32;
/// Sequences judged at once.
const BATCH: usize = 64;
/// Runs and time of the measurement of speed.
const MEASURED: Duration = Duration::from_millis(200);
/// Sequences a second of one core below which a network is refused: a site of a thousand busy pairs hands out some
/// hundreds a second.
pub const LEAST_PER_S: f64 = 1_000.0;

/// Fields of a manifest that the sensor wants; `train/` writes more.
#[derive(Debug, Deserialize)]
struct Manifest {
    format: String,
    version: u32,
    kind: String,
    schema: String,
    input: [usize; 2],
    sha256: String,
    threshold: f32,
    /// Share of ordinary sequences kept out of training that reach the threshold.
    #[serde(default = "unknown_share")]
    false_share: f64,
    self_test: SelfTest,
    #[serde(default)]
    network: String,
}

/// Share of a manifest that names none.
const fn unknown_share() -> f64 {
    0.01
}

#[derive(Debug, Deserialize)]
struct SelfTest {
    input: Vec<f32>,
    answer: f32,
}

/// A network that passed.
#[derive(Debug)]
pub struct Checked {
    pub kind: SequenceKind,
    /// Word of the manifest: gru, cnn.
    pub network: String,
    pub sha256: String,
    pub n_bytes: usize,
    pub threshold: f32,
    /// Share of ordinary sequences kept out of training that reach it.
    pub false_share: f64,
    /// Sequences a second of this machine, by one thread.
    pub per_s: f64,
}

/// A network that passed, with its files' bytes.
pub struct Loaded {
    pub about: Checked,
    network: Network,
    file: Vec<u8>,
    manifest: Vec<u8>,
}

impl Loaded {
    /// Name that records and lists have for it: kind and beginning of its hash.
    pub fn name(&self) -> String {
        name(self.about.kind.label(), &self.about.sha256)
    }
}

/// Name of a network: kind and beginning of its hash.
pub fn name(kind: &str, sha256: &str) -> String {
    format!("{kind}:{}", sha256.get(..8).unwrap_or(sha256))
}

/// Checks a network and its manifest, which has the same name and ends in `.json`.
///
/// # Errors
/// Why it is refused, in a sentence with the remedy.
pub fn check(path: &Path, least_per_s: f64) -> Result<Checked, String> {
    load(path, Some(least_per_s)).map(|loaded| loaded.about)
}

/// Reads a network and its manifest as [`check`] does; without `least_per_s`, its speed is not measured.
///
/// # Errors
/// As [`check`].
pub fn load(path: &Path, least_per_s: Option<f64>) -> Result<Loaded, String> {
    let (manifest, manifest_bytes) = read_manifest(&path.with_extension("json"))?;
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let file = read(path, MAX_FILE_BYTES as u64).map_err(|cause| named(&cause))?;
    let sha256: String = Sha256::digest(&file)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sha256 != manifest.sha256.to_ascii_lowercase() {
        return Err(named(
            &"not the file that its manifest is about (the SHA-256 differs); export both anew",
        ));
    }
    let kind = kind_of(&manifest).map_err(|cause| named(&cause))?;
    let network = Network::read(&file).map_err(|cause| named(&cause))?;
    if network.row_shape() != manifest.input {
        return Err(named(&format!(
            "it takes rows of {:?}, and its manifest says {:?}; export it anew",
            network.row_shape(),
            manifest.input
        )));
    }
    let mut plan = Plan::new(&network, BATCH).map_err(|cause| named(&cause))?;
    if plan.answer_len() != 1 {
        return Err(named(&format!(
            "it answers {} numbers, where one is wanted: how sure it is of an attack",
            plan.answer_len()
        )));
    }
    test(&mut plan, &manifest.self_test).map_err(|cause| named(&cause))?;
    let mut per_s = 0.0;
    if let Some(least_per_s) = least_per_s {
        per_s = speed(&mut plan, &manifest.self_test.input);
        if per_s < least_per_s {
            return Err(named(&format!(
                "{per_s:.0} sequences a second, where {least_per_s:.0} are wanted; train a smaller one"
            )));
        }
    }
    let word = manifest.network.escape_debug().to_string();
    let about = Checked {
        kind,
        network: word.chars().take(MAX_WORD).collect(),
        sha256,
        n_bytes: file.len(),
        threshold: manifest.threshold,
        false_share: manifest.false_share,
        per_s,
    };
    Ok(Loaded {
        about,
        network,
        file,
        manifest: manifest_bytes,
    })
}

/// Reads at most so many bytes, of a file that may be growing.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = fs::File::open(path).map_err(|cause| cause.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|cause| cause.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "more than {most} bytes, which no network of ours has"
        ));
    }
    Ok(bytes)
}

fn read_manifest(path: &Path) -> Result<(Manifest, Vec<u8>), String> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let bytes = read(path, MAX_MANIFEST_BYTES).map_err(|cause| named(&cause))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|cause| {
        named(&format!(
            "no manifest of a network ({cause}); `python -m sensor_train` writes one"
        ))
    })?;
    if manifest.format != "sensor-model" || manifest.version != 1 {
        return Err(named(
            &"no manifest of version 1; train with the sensor's own version",
        ));
    }
    if !manifest.threshold.is_finite() {
        return Err(named(&"a threshold that is no number; export it anew"));
    }
    Ok((manifest, bytes))
}

fn kind_of(manifest: &Manifest) -> Result<SequenceKind, String> {
    let mut kinds = SequenceKind::ALL.into_iter();
    let Some(kind) = kinds.find(|kind| kind.label() == manifest.kind) else {
        return Err(format!(
            "over sequences of {:?}, which there are none of",
            manifest.kind
        ));
    };
    let own = format!("{:016x}", kind.schema_hash());
    if own != manifest.schema {
        return Err(format!(
            "made for other columns: schema {:?}, where sequences of {} have {own}; train it anew",
            manifest.schema,
            kind.label()
        ));
    }
    let wanted = [kind.steps(), kind.columns().len()];
    if manifest.input != wanted {
        return Err(format!(
            "input of {:?}, where sequences of {} have {wanted:?}; train it anew",
            manifest.input,
            kind.label()
        ));
    }
    Ok(kind)
}

/// Asks for the answer that the exporter recorded.
fn test(plan: &mut Plan, test: &SelfTest) -> Result<(), String> {
    if test.input.len() != plan.row_len() {
        return Err(format!(
            "a self-test of {} numbers, where {} go in; export it anew",
            test.input.len(),
            plan.row_len()
        ));
    }
    let answer = plan.run(&test.input).first().copied().unwrap_or(f32::NAN);
    let is_near = (answer - test.answer).abs() <= NEAR;
    if is_near && answer.is_finite() {
        return Ok(());
    }
    Err(format!(
        "it answers {answer} to its self-test, where the exporter had {}; export it anew",
        test.answer
    ))
}

fn speed(plan: &mut Plan, row: &[f32]) -> f64 {
    let rows = row.repeat(plan.batch());
    let (begin, used, mut n) = (Instant::now(), busy(), 0usize);
    while begin.elapsed() < MEASURED {
        n += plan.run(&rows).len();
    }
    let elapsed = begin.elapsed();
    // A machine that is busy with other things is no slower network.
    let own = used.and_then(|used| busy()?.checked_sub(used));
    let own = own.filter(|own| !own.is_zero()).unwrap_or(elapsed);
    n as f64 / own.min(elapsed).as_secs_f64()
}

/// Time that this thread ran for, where the kernel tells.
fn busy() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The manifest of a network that is none of ours, but for what a test changes.
    fn manifest(file: &[u8]) -> Value {
        let kind = SequenceKind::Contacts;
        let digest = Sha256::digest(file);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({
            "format": "sensor-model",
            "version": 1,
            "kind": kind.label(),
            "schema": format!("{:016x}", kind.schema_hash()),
            "input": [64, 12],
            "sha256": sha256,
            "threshold": 0.9,
            "self_test": { "input": vec![1.0; 64 * 12], "answer": ANSWER },
            "network": "cnn",
        })
    }

    const NETWORK: &[u8] = include_bytes!("networks/contacts.onnx");
    /// PyTorch's answer to a sequence of ones.
    const ANSWER: f32 = 0.493_830_2;

    /// Calls with the path of a network that has its manifest beside it.
    pub(super) fn in_folder<T>(call: impl FnOnce(&Path) -> T) -> T {
        changed(|_| {}, call)
    }

    /// Checks the network beside a manifest that `change` was made to.
    fn refusal(least_per_s: f64, change: impl FnOnce(&mut Value)) -> Option<String> {
        changed(change, |path| check(path, least_per_s).err())
    }

    fn changed<T>(change: impl FnOnce(&mut Value), call: impl FnOnce(&Path) -> T) -> T {
        let folder = std::env::temp_dir().join(format!(
            "sensor-networks-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&folder).expect("a folder");
        let mut about = manifest(NETWORK);
        change(&mut about);
        let path = folder.join("a.onnx");
        fs::write(&path, NETWORK).expect("the network");
        fs::write(folder.join("a.json"), about.to_string()).expect("the manifest");
        let found = call(&path);
        fs::remove_dir_all(&folder).expect("cleaning up");
        found
    }

    #[test]
    fn a_network_with_its_manifest_passes() {
        assert_eq!(refusal(0.0, |_| {}), None);
    }

    #[test]
    fn a_network_is_refused_with_the_reason() {
        let cases: [(&str, Value, &str); 8] = [
            ("format", json!("other"), "no manifest of version 1"),
            ("kind", json!("faces"), "which there are none of"),
            ("schema", json!("0"), "made for other columns"),
            (
                "input",
                json!([64, 11]),
                "sequences of contacts have [64, 12]",
            ),
            ("sha256", json!("00"), "the SHA-256 differs"),
            (
                "self_test",
                json!({"input": [1.0], "answer": 0.5}),
                "a self-test of 1 numbers",
            ),
            (
                "self_test",
                json!({"input": vec![1.0; 768], "answer": 2.0}),
                "to its self-test",
            ),
            ("self_test", Value::Null, "no manifest of a network"),
        ];
        for (field, value, wanted) in cases {
            let said = refusal(0.0, |about| about[field] = value).expect("a refusal");
            assert!(said.contains(wanted), "{said}");
        }
        let said = refusal(f64::INFINITY, |_| {}).expect("a refusal");
        assert!(said.contains("train a smaller one"), "{said}");
        let said = check(Path::new("/nonexistent/a.onnx"), 0.0).expect_err("no file");
        assert!(said.starts_with("/nonexistent/a.json: "), "{said}");
    }

    #[test]
    fn no_manifest_makes_it_panic() {
        let whole = manifest(NETWORK).to_string();
        let mut random = 1u64;
        in_folder(|path| {
            for n in 0..400 {
                let mut bytes = whole.clone().into_bytes();
                for _ in 0..=n % 3 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let place = (random >> 33) as usize % bytes.len();
                    bytes[place] = (random >> 24) as u8;
                }
                fs::write(path.with_extension("json"), &bytes).expect("the manifest");
                if let Err(said) = load(path, None).map(|loaded| loaded.about) {
                    assert!(said.starts_with('/') && said.lines().count() == 1, "{said}");
                }
            }
        });
    }
}
