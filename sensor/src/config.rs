//! Configuration: files, environment and flags are laid over one another key by key, checked
//! against the schema of [`Settings`], and turned into it. Every fault is reported, not only the
//! first.

mod alert_input;
mod check;
mod detect;
mod export;
mod fault;
mod feed;
mod flow_input;
mod layers;
mod leaf;
mod networks;
mod page;
mod policy;
mod read;
mod reload;
mod schema;
mod settings;
mod sinks;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::is_current;

use std::collections::BTreeMap;
use std::path::PathBuf;

use sensor_record::Timestamp;
use serde_json::{Map, Value};
use tracing::warn;

use check::Checked;
use layers::Layers;
use read::Reader;
use schema::Schema;

pub use alert_input::{AlertInputSettings, AlertKind};
pub use detect::{DetectSettings, ExceptSettings};
pub use export::{ExportProtocol, ExportSettings};
pub use fault::{Fault, Faults};
pub use feed::{FeedKind, FeedSettings};
pub use flow_input::FlowInputSettings;
pub use leaf::Origin;
pub use networks::{NetworkSettings, Promote};
pub use page::{example, reference};
pub use policy::{GroupSettings, PolicySettings, Preset};
pub use reload::{Changes, live_part};
pub use schema::{Kind, Setting, json_schema, settings};
pub use settings::{
    AttachChoice, Capture, DEFAULT_SOCKET, EgressChoice, HttpSettings, LogFormat, LogSettings,
    MetricsSettings, OutputSettings, RespondSettings, RingSettings, Settings, SocketSettings,
    StoreSettings, TickSettings, Tunnel, TunnelPeerSettings,
};

/// Read when no other file is named.
pub const DEFAULT_FILE: &str = "/etc/sensor/sensor.toml";
/// Read after it, in the order of their names.
pub const DEFAULT_FOLDER: &str = "/etc/sensor/conf.d";
/// `SENSOR__OUTPUT__FORMAT` sets `output.format`.
pub const ENVIRONMENT_PREFIX: &str = "SENSOR__";

/// A setting given on the command line: wins over everything else.
#[derive(Clone, Debug)]
pub struct Override {
    /// Flag as the user wrote it, for example `--mode`.
    pub flag: &'static str,
    pub path: &'static str,
    pub value: Value,
}

/// Sources of settings, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Read instead of [`DEFAULT_FILE`] and [`DEFAULT_FOLDER`].
    pub file: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
    /// Keys and texts of `--set`.
    pub assignments: Vec<(String, String)>,
    pub overrides: Vec<Override>,
}

impl Sources {
    /// Makes sources with the environment of this process.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<Override>) -> Self {
        // Only ours: another program's variable may not even be text.
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, _)| key.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        Self {
            file,
            environment,
            assignments: Vec::new(),
            overrides,
        }
    }
}

/// Checked settings, and where each one that isn't a default came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Origins by path; tables of lists and their keys as `detect.except[0].reason`.
    pub origins: BTreeMap<String, Origin>,
    /// Faults that don't prevent a start: accepted, but to be written otherwise.
    pub warnings: Vec<Fault>,
}

impl Loaded {
    /// Logs the warnings.
    pub fn warn(&self) {
        for warning in &self.warnings {
            warn!("config: {warning}");
        }
    }
}

/// Reads and checks everything.
///
/// # Errors
/// All faults together, each with place, key and remedy.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let (mut checked, mut warnings) = check(&Schema::of::<Settings>(), sources);
    let tree = Value::Object(std::mem::take(&mut checked.tree));
    let mut settings = match serde_json::from_value::<Settings>(tree) {
        Ok(settings) => settings,
        Err(cause) => {
            checked.faults.push(Fault::anywhere(cause.to_string()));
            return Err(Faults(checked.faults));
        }
    };
    settings.complete();
    let models = [settings.read_naming().err(), settings.read_windows().err()];
    let conflicts = settings
        .conflicts()
        .into_iter()
        .chain(models.into_iter().flatten());
    checked.add_conflicts(conflicts.collect());
    if !checked.faults.is_empty() {
        return Err(Faults(checked.faults));
    }
    for (path, message) in settings.warnings(Timestamp::now()) {
        warnings.push(Fault::at(&checked.origin_of(&path), &path, message));
    }
    Ok(Loaded {
        settings,
        origins: checked.origins,
        warnings,
    })
}

/// Reads all layers and holds them against a schema; the second are warnings.
fn check(schema: &Schema, sources: &Sources) -> (Checked, Vec<Fault>) {
    let mut checked = Checked::default();
    let mut warnings = Vec::new();
    let mut reader = Reader {
        settings: &schema.settings,
        faults: &mut checked.faults,
        warnings: &mut warnings,
    };
    let layers = Layers::read(sources, &mut reader);
    checked.take(schema, layers.into_leaves());
    (checked, warnings)
}

/// Puts a value at a dotted path.
fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            tree.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = tree
                .entry(section)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Value at a dotted path.
fn get<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |tree, key| tree.get(key))
}

impl Settings {
    /// Converts the settings into a tree of plain values.
    pub fn tree(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Stable hash of every effective value.
    pub fn hash(&self) -> u64 {
        let text = self.tree().to_string();
        text.bytes()
            .fold(0, |hash, byte| sensor_common::mix(hash, u64::from(byte), 0))
    }
}
