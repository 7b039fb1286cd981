//! Contradictions of the sinks, by themselves and with each other.

use sensor_deliver::SinkSettings;
use sensor_engine::Family;

/// Finds them: key and message. Without a folder of state there is none for spools.
pub(super) fn conflicts(sinks: &[SinkSettings], has_spool: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (i, sink) in sinks.iter().enumerate() {
        let mut add = |key: &str, message| found.push((format!("sink[{i}].{key}"), message));
        for (key, message) in sink.conflicts() {
            add(key, message);
        }
        if sinks.iter().take(i).any(|before| before.name == sink.name) {
            let message = format!("\"{}\" is the name of a sink above, too", sink.name);
            add("name", message);
        }
        let families = Family::ALL.map(Family::label);
        for family in &sink.families {
            if !families.contains(&family.as_str()) {
                let message = format!("\"{family}\" is not one of: {}", families.join(", "));
                add("families", message);
            }
        }
        if sink.enabled && !has_spool {
            let message = "needs respond.state_folder for its spool".to_owned();
            add("name", message);
        }
    }
    found
}
