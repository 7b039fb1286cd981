//! Files that go with the program: written by it, or taken from `deploy/`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::proc::{self, Result};

/// Options of tar that leave nothing of the machine or the hour in an archive.
pub const REPRODUCIBLE: [&str; 4] = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"];

/// From `deploy/`, with the place on a host.
const TAKEN: &[(&str, &str)] = &[
    (
        "deploy/sensor.service",
        "usr/lib/systemd/system/sensor.service",
    ),
    (
        "deploy/packages/sensor.sysusers",
        "usr/lib/sysusers.d/sensor.conf",
    ),
    (
        "deploy/packages/sensor.tmpfiles",
        "usr/lib/tmpfiles.d/sensor.conf",
    ),
    ("deploy/sensor.logrotate", "etc/logrotate.d/sensor"),
    ("deploy/sensor.toml", "etc/sensor/sensor.toml"),
    (
        "deploy/prometheus/sensor.rules.yml",
        "usr/share/sensor/prometheus/sensor.rules.yml",
    ),
    (
        "deploy/grafana/dashboards/overview.json",
        "usr/share/sensor/grafana/dashboards/overview.json",
    ),
    (
        "deploy/grafana/dashboards/incidents.json",
        "usr/share/sensor/grafana/dashboards/incidents.json",
    ),
    (
        "deploy/grafana/dashboards/response.json",
        "usr/share/sensor/grafana/dashboards/response.json",
    ),
    (
        "deploy/grafana/dashboards/health.json",
        "usr/share/sensor/grafana/dashboards/health.json",
    ),
    (
        "deploy/hooks/darktrace-intelfeed",
        "usr/share/sensor/hooks/darktrace-intelfeed",
    ),
    (
        "deploy/hooks/sensor-extcap",
        "usr/share/sensor/hooks/sensor-extcap",
    ),
    ("README.md", "usr/share/doc/sensor/README.md"),
    ("docs/operating.md", "usr/share/doc/sensor/operating.md"),
    (
        "docs/configuration.md",
        "usr/share/doc/sensor/configuration.md",
    ),
    ("LICENSE-MIT", "usr/share/doc/sensor/LICENSE-MIT"),
    ("LICENSE-APACHE", "usr/share/doc/sensor/LICENSE-APACHE"),
];

const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/sensor"),
    ("zsh", "usr/share/zsh/vendor-completions/_sensor"),
    ("fish", "usr/share/fish/vendor_completions.d/sensor.fish"),
];

/// Writes everything but the program to `folder/files`, as it lies on a host.
pub fn write(folder: &Path, commit: &str) -> Result {
    let stage = folder.join("files");
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(|error| format!("{}: {error}", stage.display()))?;
    }
    for (from, to) in TAKEN {
        copy(&proc::workspace_root().join(from), &stage.join(to))?;
    }
    println!("== manual pages and completions");
    let mut build = proc::cargo();
    build
        .args(["build", "--quiet", "--package", "sensor", "--bin", "sensor"])
        .env("SENSOR_COMMIT", commit);
    proc::run(&mut build)?;
    let sensor = proc::target_dir()?.join("debug/sensor");
    for (shell, to) in COMPLETIONS {
        let script = proc::capture(proc::command(&sensor).args(["completions", shell]))?;
        put(&stage.join(to), &script)?;
    }
    let man = stage.join("usr/share/man/man1");
    put(
        &man.join("sensor.1"),
        &proc::capture(proc::command(&sensor).arg("man"))?,
    )?;
    for name in commands(&sensor)? {
        let page = proc::capture(proc::command(&sensor).args(["man", &name]))?;
        put(&man.join(format!("sensor-{name}.1")), &page)?;
    }
    let pages = fs::read_dir(&man).map_err(|error| format!("{}: {error}", man.display()))?;
    let mut gzip = proc::command("gzip");
    gzip.args(["-9", "-n", "--force"])
        .args(pages.flatten().map(|page| page.path()));
    proc::run(&mut gzip)
}

/// The commands that the help of the program lists.
fn commands(sensor: &Path) -> Result<Vec<String>> {
    let help = proc::capture(proc::command(sensor).arg("--help"))?;
    Ok(listed(&help))
}

fn listed(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Time of the commit, in seconds: what archives say of every file.
pub fn source_date() -> Result<String> {
    let mut git = proc::command("git");
    git.args(["log", "-1", "--format=%ct"]);
    proc::capture(&mut git).map(|printed| printed.trim().to_owned())
}

/// The option of tar for that time.
pub fn mtime() -> Result<String> {
    Ok(format!("--mtime=@{}", source_date()?))
}

fn put(path: &Path, text: &str) -> Result {
    make_folder(path)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

pub fn copy(from: &Path, to: &Path) -> Result {
    make_folder(to)
        .and_then(|()| fs::copy(from, to).map(drop))
        .map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

pub fn copy_tree(from: &Path, to: &Path) -> Result {
    let entries = fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name: PathBuf = path.file_name().unwrap_or_default().into();
        if path.is_dir() {
            copy_tree(&path, &to.join(name))?;
        } else {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_the_help() {
        let help = "A sensor\n\nCommands:\n  run     Monitor\n  replay  Replay\n  help    Print\n\n\
                    Options:\n  -h  Print help\n";
        assert_eq!(listed(help), ["run", "replay"]);
    }

    #[test]
    fn what_is_taken_is_there() {
        for (from, _) in TAKEN {
            assert!(proc::workspace_root().join(from).is_file(), "{from}");
        }
    }
}
