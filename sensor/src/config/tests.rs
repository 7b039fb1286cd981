use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use sensor_engine::Time;
use serde::{Deserialize, Serialize};
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
        "[tick]\nhosts_interval = \"200ms\"\n[engine.scan]\nfast_ports = 7\n",
    );
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    sources.environment = vec![
        variable("SENSOR__TICK__HOSTS_INTERVAL", "50ms"),
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
    assert_eq!(loaded.settings.respond.mode, sensor_respond::Mode::Enforce);
    assert_eq!(loaded.origins["respond.mode"], Origin::Flag("--mode"));
    let from_file = loaded.origins["engine.scan.fast_ports"].to_string();
    assert!(from_file.ends_with("layers:4"), "{from_file}");
}

#[test]
fn every_fault_is_told_with_place_key_and_remedy() {
    let text = "[tick]\nhosts_interval = \"fast\"\n\n[engine.flod]\nsyn_pps = 1.0\n\
                [engine.flood]\nsyn_psp = 1.0\nheavy_share = 1.5\n\
                [respond]\nmode = \"enforced\"\nallow = [\"192.0.2.1\",\n\"here\", \"there\"]\n";
    let faults = faults("faults", text);
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "faults:2: tick.hosts_interval: \"fast\" is not a time, as \"250ms\", \"15m\" or \"1h 30m\"; the default \
         is \"100ms\"",
        "faults:4: engine.flod: unknown key; did you mean `engine.flood`?",
        "faults:7: engine.flood.syn_psp: unknown key; did you mean `engine.flood.syn_pps`?",
        "faults:8: engine.flood.heavy_share: 1.5 is too large; at most 1",
        "faults:10: respond.mode: \"enforced\" is not one of: monitor, enforce",
        "faults:12: respond.allow[1]: \"here\" is neither an address nor a network, as 192.0.2.7 or 2001:db8::/48",
        "faults:12: respond.allow[2]: \"there\" is neither",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(faults.len(), 7, "{all}");
}

#[test]
fn a_key_in_the_wrong_section_is_found() {
    let faults = faults("wrong-section", "mode = \"enforce\"\n");
    assert!(faults[0].message.contains("`respond.mode`"), "{faults:?}");
}

#[test]
fn bad_syntax_is_told_with_its_line() {
    let faults = faults("syntax", "[tick]\nhosts_interval = = 5\n");
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
fn settings_that_contradict_each_other_are_refused() {
    let faults = faults("conflict", "[tick]\nflows_interval = \"1050ms\"\n");
    assert_eq!(faults[0].path, "tick.flows_interval");
    assert!(faults[0].place.ends_with("conflict:2"));
}

#[test]
fn the_api_is_on_loopback_unless_there_is_a_certificate() {
    let open = "[http]\nenabled = true\nlisten = \"0.0.0.0:9470\"\n";
    let found = faults("http", open);
    assert!(found[0].message.contains("http.cert_file"), "{found:?}");
    let half = faults("http-half", "[http]\ncert_file = \"/c.pem\"\n");
    assert!(half[0].message.contains("go together"), "{half:?}");
    let told = format!("{open}cert_file = \"/c.pem\"\nkey_file = \"/k.pem\"\n");
    assert!(load(&sources("http-told", &told)).is_ok());
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

/// Settings and the keys of their tables.
fn all_settings() -> Vec<Setting> {
    let mut all = settings();
    let columns: Vec<Setting> = all.iter().flat_map(|s| s.columns.clone()).collect();
    all.extend(columns);
    all
}

#[test]
fn every_setting_has_a_description_that_begins_with_a_noun_or_a_verb() {
    let unwanted = [
        "a", "an", "the", "what", "where", "when", "who", "how", "that", "whether", "which",
        "their", "its", "it", "if", "at", "so",
    ];
    let begins_badly = |help: &str| {
        let first = help.split_whitespace().next().unwrap_or_default();
        help.is_empty() || unwanted.contains(&first.to_lowercase().as_str())
    };
    let settings = all_settings()
        .into_iter()
        .map(|setting| (setting.path, setting.help));
    let bad: Vec<_> = settings
        .chain(schema::sections())
        .filter(|(_, help)| begins_badly(help))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
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
    let live: String = example()
        .lines()
        .map(|line| format!("{}\n", if is_setting(&line) { &line[1..] } else { line }))
        .collect();
    let mut loaded = load(&sources("example", &live)).unwrap();
    // Lists of tables are empty by default, and have one table there.
    let (lists, plain): (Vec<_>, Vec<_>) = settings()
        .into_iter()
        .partition(|setting| setting.kind == Kind::Tables);
    let together = |list: &Setting| {
        list.columns
            .iter()
            .filter(|column| !column.is_apart)
            .count()
    };
    let n_columns: usize = lists.iter().map(|list| 2 + together(list)).sum();
    assert_eq!(loaded.origins.len(), plain.len() + n_columns);
    let mut tree = loaded.settings.tree();
    for list in &lists {
        let items = get(&tree, &list.path).and_then(|list| list.as_array());
        assert_eq!(items.map(Vec::len), Some(1), "{}", list.path);
        let Value::Object(tree) = &mut tree else {
            panic!("no table");
        };
        put(tree, &list.path, json!([]));
    }
    loaded.settings = serde_json::from_value(tree).unwrap();
    assert_eq!(loaded.settings, Settings::default());
}

#[test]
fn a_plain_number_under_a_former_name_holds_with_a_warning() {
    let text = "[tick]\nhosts_ms = 50\n[engine.flow]\nidle_timeout_ns = 90_000_000_000\n\
                [engine.exfiltration]\nleast_bytes = 64_000_000\n[engine.decide]\nttl_s = 600\n";
    let mut sources = sources("former", text);
    sources.environment = vec![("SENSOR__TICK__FLOWS_MS".to_owned(), "500".to_owned())];
    let loaded = load(&sources).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.tick.hosts_ms, settings.tick.flows_ms), (50, 500));
    assert_eq!(settings.engine.flow.idle_timeout_ns, 90_000_000_000);
    assert_eq!(settings.engine.exfiltration.least_bytes, 64_000_000);
    assert_eq!(settings.engine.decide.ttl_s, 600);
    let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "former:2: tick.hosts_ms: is now `hosts_interval` and has a unit; write `hosts_interval = \"50ms\"`",
        "former:4: engine.flow.idle_timeout_ns: is now `idle_timeout` and has a unit; write \
         `idle_timeout = \"1m 30s\"`",
        "former:6: engine.exfiltration.least_bytes: is now `min_upload`",
        "write `ttl = \"10m\"`",
        "SENSOR__TICK__FLOWS_MS: tick.flows_ms: is now `flows_interval`",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(told.len(), 5, "{all}");
}

#[test]
fn times_and_sizes_are_checked_as_such() {
    let text = "[tick]\nhosts_interval = 50\nflows_interval = \"11s\"\n[engine.decide]\n\
                ttl = \"1500ms\"\n[engine.flow]\nidle_timeout_ns = \"15s\"\nlinger = \"1s\"\nlinger_ns = 5\n\
                [engine.exfiltration]\nmin_upload = \"20 parsecs\"\n";
    let faults = faults("words", text);
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "words:2: tick.hosts_interval: 50 has no unit; write \"50s\" for seconds",
        "words:3: tick.flows_interval: \"11s\" is too large; at most 10s",
        "words:5: engine.decide.ttl: \"1500ms\" is not a multiple of 1s; the default is \"5m\"",
        "words:7: engine.flow.idle_timeout_ns: \"15s\" is not a number of ns; write `idle_timeout = \"15s\"`",
        "words:9: engine.flow.linger_ns: is the former name of `engine.flow.linger`, which is set, too",
        "words:11: engine.exfiltration.min_upload: \"20 parsecs\" is not a size",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(faults.len(), 6, "{all}");
}

#[test]
fn every_time_and_size_is_in_words() {
    for setting in all_settings() {
        let key = setting.path.rsplit('.').next().unwrap_or_default();
        let unit = key.rsplit('_').next().unwrap_or_default();
        let is_plain =
            matches!(unit, "ns" | "us" | "ms" | "s" | "bytes") && !key.ends_with("_per_s");
        // Of information in a name, on average.
        let is_mean = key.ends_with("name_bytes");
        assert!(
            !is_plain || is_mean,
            "{} has its unit in its name",
            setting.path
        );
    }
}

/// Settings with lists of tables within lists of tables.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Probe {
    sinks: Vec<Sink>,
}

/// A receiver.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sink {
    /// Address.
    #[schemars(example = "192.0.2.1:514")]
    listen: std::net::SocketAddr,
    /// Timeout.
    #[serde(default, with = "Time::<1>")]
    #[schemars(extend("x-former" = "timeout_ms", "x-minimum" = "1ms"))]
    timeout: u64,
    /// TLS.
    #[serde(default)]
    tls: Tls,
    /// Routes.
    #[serde(default)]
    routes: Vec<Route>,
}

/// TLS.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    /// File.
    ca_file: PathBuf,
}

/// Filter.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Ports.
    #[schemars(example = [514], length(min = 1, max = 4), inner(range(min = 1)))]
    ports: Vec<u16>,
    /// Weight.
    #[serde(default)]
    #[schemars(range(max = 10))]
    weight: u8,
}

/// Reads files one after the other.
fn probe(files: &[(&str, &str)], sources: &Sources) -> (Checked, Vec<Fault>) {
    let schema = Schema::of::<Probe>();
    let mut checked = Checked::default();
    let mut warnings = Vec::new();
    let mut reader = Reader {
        settings: &schema.settings,
        faults: &mut checked.faults,
        warnings: &mut warnings,
    };
    let mut layers = Layers::default();
    for (name, text) in files {
        layers.add_file(Path::new(name), text, &mut reader);
    }
    layers.add_assigned(sources, &mut reader);
    checked.take(&schema, layers.into_leaves());
    (checked, warnings)
}

#[test]
fn tables_of_all_files_are_one_list() {
    let files = [
        (
            "a.toml",
            "[[sinks]]\nlisten = \"192.0.2.1:1\"\ntls.ca_file = \"/ca\"\n\
             [[sinks.routes]]\nports = [1, 2]\n[[sinks.routes]]\nports = [3]\nweight = 4\n",
        ),
        (
            "b.toml",
            "[[sinks]]\nlisten = \"192.0.2.2:1\"\ntimeout_ms = 1500\n[[sinks]]\nlisten = \"192.0.2.3:1\"\n",
        ),
    ];
    let (checked, warnings) = probe(&files, &Sources::default());
    assert_eq!(checked.faults, []);
    let told = warnings[0].to_string();
    assert_eq!(
        told,
        "b.toml:3: sinks[1].timeout_ms: is now `timeout` and has a unit; write `timeout = \"1s 500ms\"`"
    );
    assert_eq!(
        checked.origins["sinks[0].routes[1].weight"].to_string(),
        "a.toml:8"
    );
    assert_eq!(checked.origins["sinks[2].listen"].to_string(), "b.toml:5");
    let read: Probe = serde_json::from_value(Value::Object(checked.tree)).unwrap();
    let ports: Vec<u16> = read.sinks.iter().map(|sink| sink.listen.port()).collect();
    assert_eq!(ports, [1, 1, 1]);
    assert_eq!(read.sinks[0].routes[1].weight, 4);
    assert_eq!(read.sinks[0].tls.ca_file, Path::new("/ca"));
    assert_eq!(read.sinks[1].timeout, 1_500_000_000);
    // A stronger layer replaces them all.
    let sources = Sources {
        environment: vec![(
            "SENSOR__SINKS".to_owned(),
            "[{ listen = \"192.0.2.9:9\", routes = [{ ports = [9] }] }]".to_owned(),
        )],
        ..Sources::default()
    };
    let (checked, _) = probe(&files, &sources);
    assert_eq!(checked.faults, []);
    assert_eq!(
        checked.origins["sinks[0].routes[0].ports"].to_string(),
        "SENSOR__SINKS"
    );
    let read: Probe = serde_json::from_value(Value::Object(checked.tree)).unwrap();
    assert_eq!(read.sinks.len(), 1);
    assert_eq!(read.sinks[0].routes[0].ports, [9]);
}

#[test]
fn every_fault_of_every_table_is_told_with_its_line() {
    let first = "[[sinks]]\ntimeout = \"1us\"\n[sinks.tls]\nca_fil = 1\n\
                 [[sinks.routes]]\nweight = 11\n[[sinks.routes]]\nports = [0, 70000, \"x\"]\n\
                 [[sinks.routes]]\nports = []\n[[sinks.routes]]\nports = [1, 2, 3, 4, 5]\n";
    let second = "[[sinks]]\nlisten = \"here\"\ntimeuot = \"1s\"\nroutes = [5]\n";
    let files = [("a.toml", first), ("b.toml", second)];
    let (checked, _) = probe(&files, &Sources::default());
    let told: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "a.toml:1: sinks[0].listen: missing: Address.",
        "a.toml:2: sinks[0].timeout: \"1us\" is too small; at least 1ms",
        "a.toml:4: sinks[0].tls.ca_fil: unknown key; did you mean `tls.ca_file`?",
        "a.toml:5: sinks[0].routes[0].ports: missing: Ports.",
        "a.toml:6: sinks[0].routes[0].weight: 11 is too large; at most 10",
        "a.toml:8: sinks[0].routes[1].ports[0]: 0 is too small; at least 1",
        "a.toml:8: sinks[0].routes[1].ports[1]: 70000 is too large; at most 65535",
        "a.toml:8: sinks[0].routes[1].ports[2]: ",
        "a.toml:10: sinks[0].routes[2].ports: has 0 items; at least 1",
        "a.toml:12: sinks[0].routes[3].ports: has 5 items; at most 4",
        "b.toml:2: sinks[1].listen: invalid socket address",
        "b.toml:3: sinks[1].timeuot: unknown key; did you mean `timeout`?",
        "b.toml:4: sinks[1].routes[0]: is not a table; write { key = value",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(told.len(), 13, "{all}");
    for (text, part) in [
        (
            "[sinks]\nlisten = \"192.0.2.1:1\"\n",
            "1: sinks: is a list of tables; write [[sinks]]",
        ),
        (
            "sinks = 5\n",
            "1: sinks: is a list of tables; write [[sinks]]",
        ),
        ("sinks = [\n{ },\n{ }]\n", "3: sinks[1].listen: missing"),
    ] {
        let (checked, _) = probe(&[("c.toml", text)], &Sources::default());
        let told = Faults(checked.faults).to_string();
        assert!(told.contains(part), "{part} missing in:\n{told}");
    }
    let sources = Sources {
        assignments: vec![("sinks".to_owned(), "[{ listen = }]".to_owned())],
        ..Sources::default()
    };
    let (checked, _) = probe(&[], &sources);
    let told = checked.faults[0].to_string();
    assert!(told.starts_with("--set: sinks: is not TOML: "), "{told}");
}

#[test]
fn exceptions_reach_the_engine() {
    let text = "[[detect.except]]\nfamily = \"port_scan\"\nsource = \"192.0.2.7\"\nprotocol = \"TCP\"\n\
                port = 22\nuntil = 2099-01-01\nreason = \"audit\"\n\
                [[detect.except]]\ndetector = \"models\"\ndestination = \"198.51.100.0/24\"\nreason = \"lab\"\n";
    let loaded = load(&sources("except", text)).unwrap();
    let [first, second] = &loaded.settings.engine.exceptions[..] else {
        panic!("{:?}", loaded.settings.engine.exceptions);
    };
    assert_eq!(first.family, Some(sensor_engine::Family::PortScan));
    assert_eq!(first.source, "192.0.2.7/32".parse().ok());
    assert_eq!((first.protocol, first.port), (Some(6), Some(22)));
    assert_eq!(first.until_ns, Some(4_070_908_800_000_000_000));
    assert_eq!(first.reason, "audit");
    assert_eq!(second.detector, Some(sensor_engine::Detector::Models));
    assert_eq!(second.until_ns, None);
    assert_eq!(loaded.warnings, []);
    let (live, changes) = live_part(&Settings::default(), &loaded.settings);
    assert_eq!(live.engine.exceptions, loaded.settings.engine.exceptions);
    assert_eq!(changes.applied, ["detect.except"]);
}

#[test]
fn every_fault_of_every_exception_is_told() {
    let text = "[[detect.except]]\nfamily = \"portscan\"\nsource = \"here\"\nport = 0\n\
                [[detect.except]]\nreason = \"all\"\n\
                [[detect.except]]\nprotocol = \"icmp\"\nport = 7\nreason = \"no ports\"\n\
                [[detect.except]]\nport = 7\nuntil = \"soon\"\nreason = \" \"\n\
                [[detect.except]]\nport = 7\nreason = \" \"\n";
    let faults = faults("except-faults", text);
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "faults:1: detect.except[0].reason: missing: Reason of the exception",
        "faults:2: detect.except[0].family: \"portscan\" is not one of: syn_flood, ",
        "faults:3: detect.except[0].source: \"here\" is neither an address nor a network",
        "faults:4: detect.except[0].port: 0 is too small; at least 1",
        "faults:5: detect.except[1]: covers every finding; name a detector",
        "faults:9: detect.except[2].port: icmp has no ports; leave it out",
        "faults:13: detect.except[3].until: \"soon\" is not a time",
        "faults:17: detect.except[4].reason: is empty",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert_eq!(told.len(), 8, "{all}");
    let many = "[[detect.except]]\nport = 7\nreason = \"x\"\n".repeat(1_001);
    let faults = self::faults("except-many", &many);
    assert!(
        faults[0].message.contains("1001 items; at most 1000"),
        "{faults:?}"
    );
}

#[test]
fn an_expired_exception_is_told() {
    let text = "[[detect.except]]\nport = 7\nuntil = 2020-01-01T00:00:00Z\nreason = \"old\"\n";
    let loaded = load(&sources("except-old", text)).unwrap();
    let told = loaded.warnings[0].to_string();
    assert!(
        told.contains("old:3: detect.except[0].until: expired at 2020-01-01T00:00:00"),
        "{told}"
    );
}

/// Markdown files of the repository, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("docs")];
    let mut files = vec![root.join("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                files.push(path);
            }
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn pages_name_keys_by_their_present_names() {
    let former: Vec<String> = settings().into_iter().filter_map(|s| s.former).collect();
    assert!(!former.is_empty());
    // Records and requests have fields of such names.
    let of_records = ["docs/records.md", "docs/api.md"];
    let is_about_settings = |path: &Path| !of_records.iter().any(|page| path.ends_with(page));
    for (path, text) in pages().iter().filter(|(path, _)| is_about_settings(path)) {
        for key in &former {
            let last = key.rsplit('.').next().unwrap_or_default();
            for form in [
                format!("`{last}`"),
                format!(".{last}`"),
                format!("{last} ="),
            ] {
                // The page says what former keys looked like.
                let is_told = path.ends_with("configuration.md") && text.contains("used to end");
                let found = text.contains(&form) && !is_told;
                assert!(!found, "{}: {form}", path.display());
            }
        }
    }
}

#[test]
fn every_kind_of_sink_has_a_page_with_an_example_that_holds() {
    let pages = pages();
    for row in sensor_deliver::KINDS {
        let name = format!("docs/sinks/{}.md", row.label);
        let page = pages.iter().find(|(path, _)| path.ends_with(&name));
        let (_, text) = page.unwrap_or_else(|| panic!("{name} is missing"));
        let blocks = text.split("```toml\n").skip(1);
        let examples: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        let kind = format!("kind = \"{}\"", row.label);
        assert!(examples.iter().any(|text| text.contains(&kind)), "{name}");
        for example in examples {
            let loaded = load(&sources("sink-example", example));
            let loaded = loaded.unwrap_or_else(|faults| panic!("{name}: {faults}"));
            assert!(!loaded.settings.sink.is_empty(), "{name}");
        }
    }
}

#[test]
fn every_fault_of_a_sink_is_told_with_its_line() {
    let text = "[[sink]]\nname = \"a\"\nkind = \"webhok\"\n\
                [[sink]]\nname = \"a\"\nkind = \"webhook\"\nurll = \"https://192.0.2.1/\"\n\
                [[sink]]\nname = \"b\"\nkind = \"file\"\ntoken = \"hunter2\"\n\
                [[sink]]\nname = \"b c\"\nkind = \"stdout\"\nfamilies = [\"scan\"]\nurl = \"https://192.0.2.1/\"\n";
    let faults = faults("sinks", text);
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "sinks:3: sink[0].kind: \"webhok\" is not one of: webhook, exec",
        "sinks:7: sink[1].urll: unknown key; did you mean `url`?",
        "sinks:11: sink[2].token: a secret does not stand in the configuration",
        "sinks:13: sink[3].name: is no name",
        "sinks:15: sink[3].families: \"scan\" is not one of: ",
        "sinks:16: sink[3].url: is nothing for a sink of kind stdout",
    ] {
        assert!(all.contains(part), "{part} missing in:\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut n_links = 0;
    for (path, text) in pages() {
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            let leads = folder.join(target).exists();
            assert!(leads, "{}: {target}", path.display());
            n_links += 1;
        }
    }
    assert!(n_links > 20, "{n_links}");
}

#[test]
fn rows_of_the_policy_come_before_those_of_the_preset() {
    let text = "[respond]\npreset = \"edge\"\nbalancers = [\"192.0.2.0/28\"]\n\
        [[respond.group]]\nname = \"partners\"\nnetworks = [\"198.51.100.0/24\"]\n\
        [[respond.policy]]\nname = \"mail\"\nfamily = [\"brute_force\"]\nseverity = \"medium\"\n\
        evidence = [\"outcome\"]\nsource = \"partners\"\nprotocol = \"tcp\"\nport = [25, 587]\n\
        action = \"limit\"\nttl = \"10m\"\nttl_max = \"1h\"\ndecay = \"2h\"\napproval = true\n\
        [[respond.policy]]\nname = \"games\"\nport = [27015]\naction = \"shield\"\n\
        [[respond.policy]]\nname = \"lab\"\nport = [9]\naction = \"observe\"\n";
    let respond = load(&sources("policy", text)).unwrap().settings.respond;
    let rows = respond.rows().0;
    assert_eq!(rows.len(), 3 + sensor_engine::Preset::Edge.rows().len());
    let shields: Vec<bool> = rows.iter().map(|row| row.shields).collect();
    assert_eq!(shields[..4], [true, true, false, true]);
    let row = &rows[0];
    assert_eq!(
        (row.ttl_s, row.ports.as_slice()),
        (Some(600), &[25, 587][..])
    );
    let network = "198.51.100.0/24".parse().unwrap();
    let whom = sensor_engine::Whom::Group {
        name: "partners".to_owned(),
        networks: vec![network],
    };
    assert_eq!(row.whom, whom);
    // What is listed can be written in a file, and means the same there.
    for row in &rows {
        let told = PolicySettings::of(row);
        let read: PolicySettings =
            serde_json::from_value(serde_json::to_value(&told).unwrap()).unwrap();
        assert_eq!(&read.row(&respond.groups()), row);
    }
}

#[test]
fn rows_that_make_no_sense_are_named() {
    let fault = |name: &str, text: &str| {
        let faults = faults(name, text);
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let row =
        |more: &str| format!("[[respond.policy]]\nname = \"a\"\naction = \"limit\"\n{more}\n");
    for (name, text, part) in [
        ("group", row("source = \"nobody\""), "no group"),
        (
            "ports",
            row("protocol = \"icmp\"\nport = [1]"),
            "has no ports",
        ),
        ("decay", row("decay = \"1h\""), "without ttl_max"),
        ("family", row("family = [\"rain\"]"), "not one of"),
        (
            "action",
            "[[respond.policy]]\nname = \"a\"\n".to_owned(),
            "action",
        ),
        (
            "taken",
            "[[respond.group]]\nname = \"balancers\"\nnetworks = []\n".to_owned(),
            "taken",
        ),
    ] {
        let told = fault(name, &text);
        assert!(told.contains(part), "{name}: {told}");
    }
}
