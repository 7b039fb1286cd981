//! Changes of a running sensor by a new configuration.

use serde_json::{Map, Value};

use super::{Settings, get, put, settings};

/// Keys that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub applied: Vec<String>,
    /// Keys whose new values take effect at the next start.
    pub need_restart: Vec<String>,
}

/// The new settings, except for what only a restart can change.
pub fn live_part(running: &Settings, new: &Settings) -> (Settings, Changes) {
    let (old_tree, new_tree) = (running.tree(), new.tree());
    let mut changes = Changes::default();
    let mut tree = Map::new();
    for setting in settings() {
        let old = get(&old_tree, &setting.path).unwrap_or(&Value::Null);
        let new = get(&new_tree, &setting.path).unwrap_or(&Value::Null);
        let kept = if setting.needs_restart { old } else { new };
        put(&mut tree, &setting.path, kept.clone());
        if old != new {
            let list = if setting.needs_restart {
                &mut changes.need_restart
            } else {
                &mut changes.applied
            };
            list.push(setting.path);
        }
    }
    let mut live: Settings =
        serde_json::from_value(Value::Object(tree)).unwrap_or_else(|_| running.clone());
    live.complete();
    live.engine.hash_seed = running.engine.hash_seed;
    (live, changes)
}
