//! Another suite of the archive this machine already uses, read without touching the system's apt.
//!
//! The archive's address and its signing key come from the machine's own sources; everything apt
//! writes goes to a directory of ours. Signatures are checked as always.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::proc::{self, Result};

/// A place that serves Debian packages: what of a sources entry does not depend on the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    uri: String,
    /// A keyring's path or fingerprint, or a whole key with its continuation lines.
    signed_by: Option<String>,
}

impl Archive {
    fn sources_entry(&self, suite: &str) -> String {
        let mut entry = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n",
            self.uri
        );
        if let Some(key) = &self.signed_by {
            entry.push_str(&format!("Signed-By: {key}\n"));
        }
        entry
    }

    /// Third parties name their suites after Debian's too; the address tells the likely ones.
    fn looks_like_debian(&self) -> bool {
        self.uri
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .is_some_and(|end| end.contains("debian"))
    }
}

/// The archives in the machine's apt sources that may carry Debian's suites, likeliest first.
pub fn machine_archives() -> Vec<Archive> {
    let mut archives = Vec::new();
    for file in sources_files(Path::new("/etc/apt")) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let found = if file.extension().is_some_and(|ext| ext == "sources") {
            parse_deb822(&text)
        } else {
            parse_one_line(&text)
        };
        archives.extend(found);
    }
    likeliest_first(archives)
}

fn sources_files(apt: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "list" || ext == "sources")
        })
        .collect();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    files
}

fn likeliest_first(archives: Vec<Archive>) -> Vec<Archive> {
    let mut unique: Vec<Archive> = Vec::new();
    for archive in archives {
        if !unique.contains(&archive) {
            unique.push(archive);
        }
    }
    unique.sort_by_key(|archive| !archive.looks_like_debian());
    unique
}

/// Security suites live in an archive of their own, which has no backports.
fn usable(suites: &[&str], components: &[&str]) -> bool {
    components.contains(&"main") && suites.iter().any(|suite| !suite.contains("security"))
}

/// Reads `*.sources`: stanzas of `Field: value`, a value going on in indented lines.
fn parse_deb822(text: &str) -> Vec<Archive> {
    let mut archives = Vec::new();
    for stanza in stanzas(text) {
        let field = |name: &str| {
            let found = stanza
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let words = |name| {
            field(name)
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        let enabled = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if enabled
            && words("Types").contains(&"deb")
            && usable(&words("Suites"), &words("Components"))
        {
            let signed_by = field("Signed-By").map(str::to_owned);
            archives.extend(words("URIs").into_iter().map(|uri| Archive {
                uri: uri.to_owned(),
                signed_by: signed_by.clone(),
            }));
        }
    }
    archives
}

fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanzas.last_mut().and_then(|stanza| stanza.last_mut()) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let (Some((key, value)), Some(stanza)) =
            (line.split_once(':'), stanzas.last_mut())
        {
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

/// Reads `*.list`: `deb [option=value …] uri suite component …`.
fn parse_one_line(text: &str) -> Vec<Archive> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Archive> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None; // deb-src
    }
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    if !usable(&[suite], &words.collect::<Vec<_>>()) {
        return None;
    }
    // Only the key is taken over: an option such as trusted=yes would switch checks off.
    let signed_by = options
        .split_whitespace()
        .find_map(|word| word.strip_prefix("signed-by="));
    Some(Archive {
        uri: uri.to_owned(),
        signed_by: signed_by.map(|value| value.replace(',', " ")),
    })
}

/// An apt of our own: its sources, lists and cache are below one directory.
pub struct PrivateApt {
    dir: PathBuf,
}

impl PrivateApt {
    /// Takes a directory that is empty and ours, and learns what `suite` of `archive` has.
    pub fn open(dir: &Path, archive: &Archive, suite: &str) -> Result<Self> {
        for sub in [
            "sources.list.d",
            "lists/partial",
            "cache/archives/partial",
            "download",
        ] {
            fs::create_dir_all(dir.join(sub))
                .map_err(|error| format!("cannot create {}: {error}", dir.join(sub).display()))?;
        }
        let list = dir.join("sources.list.d/suite.sources");
        fs::write(&list, archive.sources_entry(suite))
            .map_err(|error| format!("cannot write {}: {error}", list.display()))?;
        let apt = Self {
            dir: dir.to_owned(),
        };
        // Without the option apt-get succeeds even when it could not read the suite.
        proc::capture(apt.command("apt-get").args([
            "-o",
            "APT::Update::Error-Mode=any",
            "--quiet",
            "update",
        ]))?;
        Ok(apt)
    }

    /// Downloads the package in the build of `upstream` that the suite has.
    pub fn download(&self, package: &str, upstream: &str) -> Result<PathBuf> {
        let listing = proc::capture(self.command("apt-cache").args(["madison", package]))?;
        let version = pick_version(&listing, upstream)
            .ok_or_else(|| format!("the suite has no {package} of version {upstream}"))?;
        let dir = self.dir.join("download");
        proc::capture(
            self.command("apt-get")
                .args(["--quiet", "download", &format!("{package}={version}")])
                .current_dir(&dir),
        )?;
        let files = fs::read_dir(&dir).map_err(|error| error.to_string())?;
        files
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .ok_or_else(|| format!("apt-get download left no {package} package behind"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = proc::command(program);
        command.env("LC_ALL", "C");
        let parts = self.dir.join("sources.list.d");
        for (key, value) in [
            ("Dir::Etc::sourcelist", Path::new("/dev/null")),
            ("Dir::Etc::sourceparts", &parts),
            ("Dir::State::lists", &self.dir.join("lists")),
            ("Dir::Cache", &self.dir.join("cache")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }
}

/// The Debian version of `upstream` in what `apt-cache madison` prints.
fn pick_version<'a>(madison: &'a str, upstream: &str) -> Option<&'a str> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| upstream_of(version) == upstream)
}

/// `1.95.0` of `1.95.0+dfsg1-2~bpo13+1`.
fn upstream_of(version: &str) -> &str {
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(uri: &str, signed_by: Option<&str>) -> Archive {
        Archive {
            uri: uri.into(),
            signed_by: signed_by.map(Into::into),
        }
    }

    const DEB822: &str = "\
Types: deb
# a comment between the fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
";

    #[test]
    fn deb822_keeps_address_and_key_and_leaves_security_out() {
        let expected = archive(
            "http://mirror.example/debian",
            Some("/usr/share/keyrings/debian.gpg"),
        );
        assert_eq!(parse_deb822(DEB822), [expected]);
    }

    #[test]
    fn deb822_becomes_an_entry_for_the_other_suite() {
        assert_eq!(
            parse_deb822(DEB822)[0].sources_entry("trixie-backports"),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie-backports\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian.gpg\n"
        );
    }

    #[test]
    fn deb822_keeps_a_key_written_out_in_full() {
        let text = "Types: deb deb-src\nURIs: http://a/debian\nSuites: trixie\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP-----\n .\n abc\n";
        let entry = parse_deb822(text)[0].sources_entry("x");
        assert!(
            entry.ends_with("Signed-By: \n -----BEGIN PGP-----\n .\n abc\n"),
            "{entry}"
        );
    }

    #[test]
    fn deb822_leaves_out_what_is_disabled_or_source_only() {
        let rest = "URIs: http://a/debian\nSuites: trixie\nComponents: main\n";
        assert_eq!(
            parse_deb822(&format!("Enabled: no\nTypes: deb\n{rest}")),
            []
        );
        assert_eq!(parse_deb822(&format!("Types: deb-src\n{rest}")), []);
        assert_eq!(parse_deb822(&format!("types: deb\n{rest}")).len(), 1);
    }

    #[test]
    fn one_line_entries_with_and_without_options() {
        let text = "\
# deb http://off.example/debian bookworm main
deb http://a.example/debian bookworm main contrib # ours
deb-src http://a.example/debian bookworm main
deb [ arch=amd64 signed-by=/k.gpg trusted=yes ] http://b.example/debian/ bookworm main
deb http://a.example/debian-security bookworm-security main
deb https://c.example/linux/debian bookworm stable
";
        assert_eq!(
            parse_one_line(text),
            [
                archive("http://a.example/debian", None),
                archive("http://b.example/debian/", Some("/k.gpg")),
            ]
        );
    }

    #[test]
    fn one_line_options_that_switch_checks_off_are_not_taken_over() {
        let found = parse_one_line("deb [trusted=yes] http://a/debian bookworm main");
        assert!(
            !found[0]
                .sources_entry("x")
                .to_lowercase()
                .contains("trusted")
        );
    }

    #[test]
    fn debian_comes_before_third_parties_and_only_once() {
        let (debian, other) = (
            archive("http://a/debian/", None),
            archive("http://b/cloud", None),
        );
        let found = likeliest_first(vec![other.clone(), debian.clone(), debian.clone()]);
        assert_eq!(found, [debian, other]);
    }

    #[test]
    fn version_is_picked_by_upstream_part() {
        let madison = "\
  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://a/debian trixie-backports/main amd64 Packages
  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://a/debian trixie-backports/main amd64 Packages
";
        assert_eq!(
            pick_version(madison, "1.95.0"),
            Some("1.95.0+dfsg1-2~bpo13+1")
        );
        assert_eq!(pick_version(madison, "1.95"), None);
        assert_eq!(pick_version("", "1.95.0"), None);
    }
}
