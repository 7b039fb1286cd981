//! Packages: static programs, tar archives, .deb, .rpm and container images, with checksums and a
//! list of what is in them (SBOM).

mod files;
mod image;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    proc::{self, Result},
    setup::{self, TestTools},
};

/// A processor that packages are made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// As Linux names it.
    name: &'static str,
    triple: &'static str,
    /// As Debian and containers name it.
    debian: &'static str,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "x86_64",
        triple: "x86_64-unknown-linux-musl",
        debian: "amd64",
    },
    Architecture {
        name: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        debian: "arm64",
    },
];

/// Largest size of the program, stripped: on x86-64 it has 21 MB, 14 of them code.
const MAX_BYTES: u64 = 24 << 20;

/// `cargo xtask dist [--arch NAME]... [--check]`.
pub fn command(args: &[String]) -> Result {
    let (architectures, is_checked) = parse(args)?;
    setup::ensure(TestTools::No)?;
    let tools = tools::ensure()?;
    let folder = proc::target_dir()?.join("packages");
    let commit = commit()?;
    files::write(&folder, &commit)?;
    let mut made = vec![sbom(&tools, &folder)?];
    for architecture in &architectures {
        let program = build(&tools, *architecture, &commit)?;
        made.push(archive(&folder, *architecture, &program)?);
        made.extend(packages(&tools, &folder, *architecture)?);
        made.push(image::write(&folder, *architecture, &program)?);
    }
    checksums(&folder, &made)?;
    for file in &made {
        let bytes = fs::metadata(file).map_or(0, |file| file.len());
        println!("{:>9} kB  {}", bytes / 1000, file.display());
    }
    if is_checked {
        proc::run(proc::command("deploy/packages/try.sh").arg(&folder))?;
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<(Vec<Architecture>, bool)> {
    let (mut chosen, mut is_checked) = (Vec::new(), false);
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--check" => is_checked = true,
            "--arch" => {
                let name = args.next().unwrap_or_default();
                let found = ARCHITECTURES.iter().find(|known| known.name == name);
                chosen.push(*found.ok_or_else(|| {
                    let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
                    format!("--arch: no `{name}`; there are: {}", known.join(", "))
                })?);
            }
            _ => return Err(format!("dist takes --arch NAME and --check, not `{arg}`")),
        }
    }
    if chosen.is_empty() {
        chosen = ARCHITECTURES.to_vec();
    }
    Ok((chosen, is_checked))
}

/// The commit that is built; of changed files `-dirty` tells.
fn commit() -> Result<String> {
    let mut git = proc::command("git");
    git.args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]);
    proc::capture(&mut git).map(|printed| printed.trim().to_owned())
}

fn build(tools: &tools::Tools, architecture: Architecture, commit: &str) -> Result<PathBuf> {
    println!("== building for {}", architecture.triple);
    let mut cargo = proc::cargo();
    cargo
        .args([
            "zigbuild",
            "--locked",
            "--package",
            "sensor",
            "--bin",
            "sensor",
        ])
        .args(["--profile", "dist", "--target", architecture.triple])
        .env("PATH", tools.path()?)
        .env("SENSOR_COMMIT", commit);
    proc::run(&mut cargo)?;
    let program = program(architecture)?;
    let bytes = fs::metadata(&program)
        .map_err(|error| format!("{}: {error}", program.display()))?
        .len();
    if bytes > MAX_BYTES {
        return Err(format!(
            "{} has {bytes} bytes, more than {MAX_BYTES}; look what a dependency brought with \
             `cargo bloat` or raise the limit with a reason",
            program.display()
        ));
    }
    Ok(program)
}

/// Path where cargo puts the program.
fn program(architecture: Architecture) -> Result<PathBuf> {
    Ok(proc::target_dir()?
        .join(architecture.triple)
        .join("dist/sensor"))
}

fn archive(folder: &Path, architecture: Architecture, program: &Path) -> Result<PathBuf> {
    let name = format!("sensor-{}-{}-linux", version(), architecture.name);
    let stage = folder.join(&name);
    files::copy_tree(&folder.join("files"), &stage)?;
    files::copy(program, &stage.join("usr/bin/sensor"))?;
    let out = folder.join(format!("{name}.tar.gz"));
    let mut tar = proc::command("tar");
    tar.args(files::REPRODUCIBLE)
        .args(["--gzip", "--create", "--file"])
        .arg(&out)
        .arg("--directory")
        .arg(folder)
        .arg(&name)
        .env("GZIP", "-n");
    proc::run(&mut tar)?;
    fs::remove_dir_all(&stage).map_err(|error| format!("{}: {error}", stage.display()))?;
    Ok(out)
}

fn packages(
    tools: &tools::Tools,
    folder: &Path,
    architecture: Architecture,
) -> Result<[PathBuf; 2]> {
    let version = version();
    let deb = folder.join(format!("sensor_{version}_{}.deb", architecture.debian));
    let rpm = folder.join(format!("sensor-{version}-1.{}.rpm", architecture.name));
    let target = ["--target", architecture.triple, "--profile", "dist"];
    let mut cargo = proc::cargo();
    cargo
        .args(["deb", "--package", "sensor", "--no-build", "--no-strip"])
        .args(target)
        .arg("--output")
        .arg(&deb)
        .env("PATH", tools.path()?);
    proc::run(&mut cargo)?;
    let mut cargo = proc::cargo();
    cargo
        .args(["generate-rpm", "--package", "sensor"])
        .args(target)
        .arg("--output")
        .arg(&rpm)
        .env("PATH", tools.path()?);
    proc::run(&mut cargo)?;
    Ok([deb, rpm])
}

/// The crates that the program is made of, as CycloneDX.
fn sbom(tools: &tools::Tools, folder: &Path) -> Result<PathBuf> {
    let mut cargo = proc::cargo();
    cargo
        .args(["cyclonedx", "--format", "json", "--spec-version", "1.5"])
        .args(["--manifest-path", "sensor/Cargo.toml"])
        .args(["--override-filename", "sensor.cdx"])
        .env("PATH", tools.path()?)
        .env("SOURCE_DATE_EPOCH", files::source_date()?);
    proc::run(&mut cargo)?;
    let out = folder.join(format!("sensor-{}.cdx.json", version()));
    // It writes beside each manifest of the workspace that it looked at.
    let root = proc::workspace_root();
    files::copy(&root.join("sensor/sensor.cdx.json"), &out)?;
    let written = proc::capture(proc::command("git").args([
        "ls-files",
        "--others",
        "--exclude-standard",
        "*sensor.cdx.json",
    ]))?;
    for path in written.lines() {
        fs::remove_file(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(out)
}

fn checksums(folder: &Path, made: &[PathBuf]) -> Result {
    let names = made.iter().filter_map(|path| path.file_name());
    let mut sums = proc::command("sha256sum");
    sums.current_dir(folder).args(names);
    let out = folder.join("SHA256SUMS");
    fs::write(&out, proc::capture(&mut sums)?)
        .map_err(|error| format!("{}: {error}", out.display()))
}

const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_architectures_and_options_are_named() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let error = parse(&words("--arch mips")).err().unwrap_or_default();
        assert!(
            error.contains("mips") && error.contains("aarch64"),
            "{error}"
        );
        let error = parse(&words("--fast")).err().unwrap_or_default();
        assert!(error.contains("--fast"), "{error}");
    }

    #[test]
    fn both_architectures_are_made_unless_one_is_asked_for() {
        let (all, is_checked) = parse(&[]).expect("no arguments");
        assert_eq!((all.len(), is_checked), (2, false));
        let (one, is_checked) =
            parse(&["--check", "--arch", "x86_64"].map(str::to_owned)).expect("one");
        assert!(is_checked && one.len() == 1 && one[0].debian == "amd64");
    }
}
