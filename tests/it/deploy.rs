//! Files that are deployed beside the program, judged by what reads them there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use sensor_tests::{binary, needs_program, needs_root, run};

fn deployed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A root of a system with nothing in it, removed with the value.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let name = format!("sensor-deploy-{}-{name}", std::process::id());
        let root = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(root.0.join("etc")).unwrap();
        root
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    needs_program("systemd-analyze");
    let root = Root::new("unit");
    let program = binary().unwrap().display().to_string();
    let unit = deployed("sensor.service").replace("/usr/bin/sensor", &program);
    let unit = root.put("sensor.service", &unit);
    let mut verify = Command::new("systemd-analyze");
    let output = verify.arg("verify").arg(unit).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let about: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("sensor.service"))
        .collect();
    assert!(output.status.success() && about.is_empty(), "{told}");
}

#[test]
fn systemd_makes_the_user_and_the_folders() {
    needs_root();
    for program in ["systemd-sysusers", "systemd-tmpfiles"] {
        needs_program(program);
    }
    let root = Root::new("users");
    root.put(
        "usr/lib/sysusers.d/sensor.conf",
        &deployed("packages/sensor.sysusers"),
    );
    root.put(
        "usr/lib/tmpfiles.d/sensor.conf",
        &deployed("packages/sensor.tmpfiles"),
    );
    root.put("etc/sensor/sensor.toml", &deployed("sensor.toml"));
    let of_root = format!("--root={}", root.0.display());
    run(Command::new("systemd-sysusers").args([&of_root, "sensor.conf"])).unwrap();
    run(Command::new("systemd-tmpfiles").args([&of_root, "--create", "sensor.conf"])).unwrap();
    let groups = fs::read_to_string(root.0.join("etc/group")).unwrap();
    let id = |name: &str| -> u32 {
        let line = groups
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:x:")));
        line.unwrap_or_else(|| panic!("{groups}"))
            .trim_end_matches(':')
            .parse()
            .unwrap()
    };
    let (group, _reader) = (id("sensor"), id("sensor-read"));
    for (name, mode) in [
        ("etc/sensor", 0o750),
        ("etc/sensor/sensor.toml", 0o640),
        ("etc/sensor/conf.d", 0o750),
    ] {
        let about = fs::metadata(root.0.join(name)).unwrap();
        let rights = (
            about.permissions().mode() & 0o7777,
            about.uid(),
            about.gid(),
        );
        assert_eq!(rights, (mode, 0, group), "{name}");
    }
}

/// Words of a list after a mark, without what every one begins with.
fn rights<'a>(text: &'a str, mark: &str, of: &str) -> BTreeSet<&'a str> {
    let (_, rest) = text.split_once(mark).unwrap();
    let line = rest.lines().next().unwrap().trim_matches(['[', ']', ' ']);
    let words = line.split([',', ' ']).filter(|word| !word.is_empty());
    words
        .map(|word| word.trim_matches('"').trim_start_matches(of))
        .collect()
}

#[test]
fn a_pod_has_no_more_rights_than_the_unit_and_a_configuration_without_fault() {
    let (pod, unit) = (
        deployed("kubernetes/sensor.yaml"),
        deployed("sensor.service"),
    );
    let mut of_unit = rights(&unit, "CapabilityBoundingSet=", "CAP_");
    // The socket stays within the pod: nobody is given it.
    assert!(of_unit.remove("CHOWN"));
    assert_eq!(rights(&pod, "add: ", ""), of_unit);
    for line in [
        "privileged: false",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "drop: [\"ALL\"]",
        "automountServiceAccountToken: false",
    ] {
        assert!(pod.lines().any(|one| one.trim() == line), "{line}");
    }
    let (_, config) = pod.split_once("  sensor.toml: |\n").unwrap();
    let config: Vec<&str> = config
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(str::trim_start)
        .collect();
    let root = Root::new("pod");
    let path = root.put("sensor.toml", &config.join("\n"));
    let mut check = Command::new(binary().unwrap());
    run(check.args(["config", "check", "--config"]).arg(path)).unwrap();
}
