//! Settings as the datapath and the loop that drives the engine take them: one translation for the
//! running sensor and for replays under its configuration.

use sensor_capture::drive::Pace;
use sensor_capture::kernel::LoadOptions;
use sensor_capture::player::Conditions;
use sensor_common::datapath::{Clock, Events};

use crate::config::{Settings, TickSettings};

/// Times between looks.
pub const fn pace(tick: &TickSettings) -> Pace {
    Pace::new(
        tick.hosts_ms.saturating_mul(1_000_000),
        tick.n_hosts_per_flows(),
    )
}

/// What the datapath is loaded with, hashing under `seed`.
pub fn load_options(settings: &Settings, seed: u64) -> LoadOptions {
    let capture = &settings.capture;
    let mut events = Events::DEFAULT;
    if settings.output.events {
        events.0 |= Events::FLOW_STARTED;
    }
    LoadOptions {
        seed,
        events,
        flow_buckets_per_cpu: capture.flow_buckets_per_cpu,
        admit_per_second: capture.admitted_flows_per_s,
        tunnels: capture.decapsulate(),
        clock: if capture.precise_clock {
            Clock::Precise
        } else {
            Clock::Coarse
        },
        ..LoadOptions::fixed()
    }
}

/// Conditions of a replay: the same settings give the same verdicts every time, so the secret of the
/// hashes is a known one.
pub fn of_replay(settings: &Settings) -> Conditions {
    Conditions {
        load: load_options(settings, LoadOptions::fixed().seed),
        pace: pace(&settings.tick),
        engine: settings.engine.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_are_the_default_conditions() {
        let (ours, default) = (of_replay(&Settings::default()), Conditions::default());
        assert_eq!(ours.pace, default.pace);
        assert_eq!(format!("{:?}", ours.load), format!("{:?}", default.load));
        assert_eq!(ours.engine, default.engine);
    }
}
