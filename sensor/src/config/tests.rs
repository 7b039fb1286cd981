use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

/// A file for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sensor-config-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

fn sources(name: &str, text: &str) -> Sources {
    Sources {
        file: Some(file(name, text)),
        ..Sources::default()
    }
}

fn faults(name: &str, text: &str) -> Vec<Fault> {
    load(&sources(name, text)).unwrap_err().0
}

#[test]
fn nothing_set_gives_the_defaults() {
    let loaded = load(&sources("empty", "")).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.origins.is_empty());
}

#[test]
fn later_layers_win() {
    let mut sources = sources(
        "layers",
        "[tick]\nhosts_ms = 200\n[engine.scan]\nfast_ports = 7\n",
    );
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    sources.environment = vec![
        variable("SENSOR__TICK__HOSTS_MS", "50"),
        variable("SENSOR__CAPTURE__INTERFACES", "eth1, eth2"),
        variable("SENSOR__ENGINE__SCAN__AUTH_PORTS", "22,23"),
        variable("SENSOR__RESPOND__MODE", "monitor"),
    ];
    sources.overrides = vec![Override {
        flag: "--mode",
        path: "respond.mode",
        value: json!("enforce"),
    }];
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.tick.hosts_ms, 50);
    assert_eq!(loaded.settings.engine.scan.fast_ports, 7);
    assert_eq!(loaded.settings.engine.scan.auth_ports, [22, 23]);
    assert_eq!(loaded.settings.capture.interfaces, ["eth1", "eth2"]);
    assert_eq!(loaded.settings.respond.mode, crate::respond::Mode::Enforce);
    assert_eq!(loaded.origins["respond.mode"], Origin::Flag("--mode"));
    let from_file = loaded.origins["engine.scan.fast_ports"].to_string();
    assert!(from_file.ends_with("layers:4"), "{from_file}");
}

#[test]
fn every_fault_is_told_with_place_key_and_remedy() {
    let text = "[tick]\nhosts_ms = \"fast\"\n\n[engine.flod]\nsyn_pps = 1.0\n\
                [engine.flood]\nsyn_psp = 1.0\nheavy_share = 1.5\n\
                [respond]\nmode = \"enforced\"\nallow = [\"here\"]\n";
    let faults = faults("faults", text);
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "faults:2: tick.hosts_ms: \"fast\" is not an integer; the default is 100",
        "faults:4: engine.flod: unknown key; did you mean `engine.flood`?",
        "faults:7: engine.flood.syn_psp: unknown key; did you mean `engine.flood.syn_pps`?",
        "faults:8: engine.flood.heavy_share: 1.5 is too large; at most 1",
        "faults:10: respond.mode: \"enforced\" is not one of: monitor, enforce",
        "faults:11: respond.allow: \"here\" is neither an address nor a network, as 192.0.2.7 or 2001:db8::/48",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(faults.len(), 6, "{all}");
}

#[test]
fn a_key_in_the_wrong_section_is_found() {
    let faults = faults("wrong-section", "mode = \"enforce\"\n");
    assert!(faults[0].message.contains("`respond.mode`"), "{faults:?}");
}

#[test]
fn bad_syntax_is_told_with_its_line() {
    let faults = faults("syntax", "[tick]\nhosts_ms = = 5\n");
    assert!(faults[0].place.ends_with("syntax:2"), "{faults:?}");
}

#[test]
fn values_below_zero_and_without_end_are_refused() {
    for value in ["-1.0", "inf", "nan", "true"] {
        let text = format!("[engine.flood]\nsyn_pps = {value}\n");
        assert_eq!(faults("range", &text).len(), 1, "{value}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let faults = faults("conflict", "[tick]\nflows_ms = 1050\n");
    assert_eq!(faults[0].path, "tick.flows_ms");
    assert!(faults[0].place.ends_with("conflict:2"));
}

#[test]
fn metrics_stay_on_loopback_unless_told() {
    let open = "[metrics]\nlisten = \"0.0.0.0:9469\"\n";
    let faults = faults("metrics", open);
    assert!(
        faults[0].message.contains("metrics.allow_remote"),
        "{faults:?}"
    );
    let told = format!("{open}allow_remote = true\n");
    assert!(load(&sources("metrics-told", &told)).is_ok());
    assert!(
        load(&sources(
            "metrics-v6",
            "[metrics]\nlisten = \"[::1]:9469\"\n"
        ))
        .is_ok()
    );
}

#[test]
fn a_named_file_must_be_there() {
    let sources = Sources {
        file: Some(PathBuf::from("/nonexistent/sensor.toml")),
        ..Sources::default()
    };
    let faults = load(&sources).unwrap_err().0;
    assert!(faults[0].message.contains("can't be read"), "{faults:?}");
}

#[test]
fn a_reload_keeps_what_needs_a_restart() {
    let running = Settings::default();
    let mut new = running.clone();
    new.engine.flood.syn_pps = 42.0;
    new.engine.flow.max_flows = 5;
    new.capture.precise_clock = true;
    let (live, changes) = live_part(&running, &new);
    assert_eq!(live.engine.flood.syn_pps, 42.0);
    assert_eq!(live.engine.flow, running.engine.flow);
    assert_eq!(live.capture, running.capture);
    assert_eq!(changes.applied, ["engine.flood.syn_pps"]);
    let needs_restart = ["capture.precise_clock", "engine.flow.max_flows"];
    assert_eq!(changes.need_restart, needs_restart);
}

#[test]
fn every_setting_is_explained() {
    let silent: Vec<String> = settings()
        .into_iter()
        .filter(|setting| setting.help.is_empty())
        .map(|setting| setting.path)
        .collect();
    assert!(silent.is_empty(), "no doc comment: {silent:?}");
}

/// Compares a file of the repository with what is generated; `SENSOR_BLESS=1` writes it.
pub(crate) fn is_current(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    if std::env::var_os("SENSOR_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{name} is not current: `SENSOR_BLESS=1 cargo test -p sensor current` writes it"
    );
}

#[test]
fn the_reference_page_is_current() {
    is_current("docs/configuration.md", &reference());
}

#[test]
fn the_example_is_current_and_holds_the_defaults() {
    is_current("deploy/sensor.toml", &example());
    // Settings are commented out without a space after the sign.
    let is_setting = |line: &&str| line.strip_prefix('#').is_some_and(|l| !l.starts_with(' '));
    let n_settings = example().lines().filter(is_setting).count();
    assert_eq!(n_settings, settings().len());
    let live: String = example()
        .lines()
        .map(|line| format!("{}\n", if is_setting(&line) { &line[1..] } else { line }))
        .collect();
    let loaded = load(&sources("example", &live)).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.origins.len(), settings().len());
}
