//! Running other programs, and the few facts about this machine that decide how.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Everything here ends up in front of a person, so an error is the sentence to show.
pub type Result<T = ()> = std::result::Result<T, String>;

/// A command that runs in the workspace root, without what `cargo run` told xtask about itself.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    // Build scripts may watch these; left in, the nested cargo would rebuild what a plain one
    // has just built.
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

/// The cargo that runs xtask, so that both use one toolchain.
pub fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command in the foreground, its output going where ours goes.
pub fn run(command: &mut Command) -> Result {
    let status = command
        .status()
        .map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} failed ({status})", display(command)))
    }
}

/// Runs a command out of sight and gives back what it printed; a failure shows the end of it.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_start(command, &error))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{} failed ({})\n{}",
        display(command),
        output.status,
        last_lines(&format!("{stdout}{stderr}"), 12)
    ))
}

/// Replaces this process, so that signals reach the command itself. Comes back only on failure.
pub fn exec(command: &mut Command) -> Result {
    let error = command.exec();
    Err(cannot_start(command, &error))
}

pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user; std has no geteuid.
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Path of a program; the sbin directories count even where a user's PATH leaves them out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

pub fn workspace_root() -> PathBuf {
    // cargo sets the variable for what it runs; the built-in path serves a copied binary.
    let manifest_dir =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest_dir = PathBuf::from(manifest_dir);
    manifest_dir
        .parent()
        .map_or_else(|| manifest_dir.clone(), Path::to_path_buf)
}

/// Directory into which cargo builds, be it named by a variable, a configuration file or nobody.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    json_string(&metadata, "target_directory")
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target directory; is cargo up to date?".into())
}

/// The value of the first `"key":"value"`: enough JSON for the one field we want from cargo.
fn json_string(json: &str, key: &str) -> Option<String> {
    let marker = format!("\"{key}\":\"");
    let rest = &json[json.find(&marker)? + marker.len()..];
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn cannot_start(command: &Command, error: &io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        format!("cannot start {program}: not found; install it or add its directory to PATH")
    } else {
        format!("cannot start {program}: {error}")
    }
}

fn display(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let shown = &lines[lines.len().saturating_sub(count)..];
    shown
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_string_unescapes_the_value() {
        let json = r#"{"packages":[],"target_directory":"/a \"b\"/target","version":1}"#;
        assert_eq!(
            json_string(json, "target_directory").as_deref(),
            Some("/a \"b\"/target")
        );
        assert_eq!(json_string(json, "missing"), None);
    }

    #[test]
    fn capture_reports_status_and_output() {
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(
            error.contains("exit status: 3") && error.contains("why"),
            "{error}"
        );
    }

    #[test]
    fn capture_names_a_missing_program() {
        let error = capture(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.contains("no-such-program-here: not found"), "{error}");
    }

    #[test]
    fn last_lines_keeps_the_end() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "    b\n    c");
    }
}
