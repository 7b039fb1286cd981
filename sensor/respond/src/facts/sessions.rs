//! Other ends of established SSH sessions of this host.
//!
//! Not every connection to the SSH port is a session: whoever guesses passwords has one, too, and
//! must not be safe by it. A connection counts as a session when a user logged in over it:
//!
//! * it was there when the sensor started, or is older than sshd grants to log in (LoginGraceTime);
//! * the system's lists of logins (systemd-logind, utmp) name its other end; or
//! * the process that holds it says so: sshd names a user's process "sshd: USER@TERMINAL".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_capture::netlink::{Connection, Protocol, State, connections};

use super::config::{files_in, lines, read};
use crate::guard::Protected;
use crate::reason::Reason;

const SSH_PORT: u16 = 22;
/// Connections that are remembered; of more, those that are known to be sessions count.
const MAX_REMEMBERED: usize = 4_096;
/// Ports are looked up anew this often.
const PORTS_EVERY: Duration = Duration::from_secs(10);
/// Longest times to log in that are granted without a word in the configuration: OpenSSH's, and
/// that of other servers.
const GRACE_OPENSSH: Duration = Duration::from_secs(120);
const GRACE_OTHERS: Duration = Duration::from_secs(300);
/// Time that a connection may last longer than it is granted to log in.
const GRACE_SLACK: Duration = Duration::from_secs(10);
/// `USER_PROCESS` of utmp(5).
const UTMP_USER: i16 = 7;

/// Reader of SSH sessions.
#[derive(Default)]
pub struct Sessions {
    places: Places,
    known: HashMap<(SocketAddr, SocketAddr), Known>,
    /// Ports of SSH servers, and when they were looked up.
    settings: Option<(Settings, Instant)>,
    has_looked: bool,
}

/// Paths of the files that are read.
#[derive(Clone, Debug)]
struct Places {
    config: PathBuf,
    config_folder: PathBuf,
    logind: PathBuf,
    utmp: PathBuf,
    processes: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            config: "/etc/ssh/sshd_config".into(),
            config_folder: "/etc/ssh/sshd_config.d".into(),
            logind: "/run/systemd/sessions".into(),
            utmp: "/run/utmp".into(),
            processes: "/proc".into(),
        }
    }
}

/// Known facts of a connection.
#[derive(Clone, Copy, Debug)]
struct Known {
    since: Instant,
    is_session: bool,
}

/// Settings of SSH servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    ports: BTreeSet<u16>,
    /// Longest time to log in; `None`: for ever.
    grace: Option<Duration>,
}

impl Sessions {
    /// The other ends of sessions.
    ///
    /// # Errors
    /// When sockets or sshd's configuration can't be read.
    pub fn read(&mut self) -> Result<Protected> {
        let now = Instant::now();
        let settings = self.settings(now)?;
        let mut found = Vec::new();
        for port in &settings.ports {
            found.extend(connections(Protocol::Tcp, State::Established, [*port, 0])?);
        }
        found.retain(|connection| !connection.remote.ip().is_loopback());
        self.judge(&found, now, settings.grace);
        let mut protected = Protected::default();
        for connection in &found {
            if self
                .known
                .get(&name(connection))
                .is_some_and(|known| known.is_session)
            {
                let from = format!("to port {}", connection.local.port());
                protected.add_address(connection.remote.ip(), Reason::SshSession, from);
            }
        }
        Ok(protected)
    }

    fn settings(&mut self, now: Instant) -> Result<Settings> {
        if let Some((settings, read_at)) = &self.settings
            && now.duration_since(*read_at) < PORTS_EVERY
        {
            return Ok(settings.clone());
        }
        let mut settings = self.places.settings()?;
        let listening = connections(Protocol::Tcp, State::Listening, [0, 0])?;
        let of_sshd: BTreeSet<u32> = self.places.sockets_of_sshd().into_keys().collect();
        let owned = listening
            .iter()
            .filter(|socket| of_sshd.contains(&socket.inode));
        settings
            .ports
            .extend(owned.map(|socket| socket.local.port()));
        self.settings = Some((settings.clone(), now));
        Ok(settings)
    }

    /// Finds out which connections are sessions; one that was one stays one.
    fn judge(&mut self, found: &[Connection], now: Instant, grace: Option<Duration>) {
        let is_there: BTreeSet<_> = found.iter().map(name).collect();
        self.known.retain(|name, _| is_there.contains(name));
        for connection in found {
            if self.known.len() < MAX_REMEMBERED {
                let is_session = !self.has_looked;
                let first = Known {
                    since: now,
                    is_session,
                };
                self.known.entry(name(connection)).or_insert(first);
            }
        }
        self.has_looked = true;
        let grace = grace.map(|grace| grace + GRACE_SLACK);
        for known in self.known.values_mut() {
            known.is_session |= grace.is_some_and(|grace| now.duration_since(known.since) >= grace);
        }
        let is_open = |connection: &&Connection| {
            let known = self.known.get(&name(connection));
            known.is_some_and(|known| !known.is_session)
        };
        let open: Vec<&Connection> = found.iter().filter(is_open).collect();
        if open.is_empty() {
            return;
        }
        let logins = self.places.logins();
        let titles = self.places.sockets_of_sshd();
        for connection in open {
            let is_session = logins.contains(&connection.remote.ip())
                || titles
                    .get(&connection.inode)
                    .is_some_and(|titles| says_session(titles));
            if let Some(known) = self.known.get_mut(&name(connection)) {
                known.is_session = is_session;
            }
        }
    }
}

const fn name(connection: &Connection) -> (SocketAddr, SocketAddr) {
    (connection.local, connection.remote)
}

impl Places {
    /// Ports and times that the configuration says.
    fn settings(&self) -> Result<Settings> {
        let mut texts: Vec<String> = read(&self.config)?.into_iter().collect();
        let has_openssh = !texts.is_empty();
        for path in files_in(&self.config_folder, ".conf")? {
            texts.extend(read(&path)?);
        }
        let usual = if has_openssh {
            GRACE_OPENSSH
        } else {
            GRACE_OTHERS
        };
        let mut settings = Settings {
            ports: BTreeSet::from([SSH_PORT]),
            grace: Some(usual),
        };
        for text in &texts {
            settings.take(text, usual);
        }
        Ok(settings)
    }

    /// Addresses that the system's lists of logins name as the other end. A list that is not there,
    /// or can't be read, names nobody: the other signs remain.
    fn logins(&self) -> BTreeSet<IpAddr> {
        let mut found = BTreeSet::new();
        for path in files_in(&self.logind, "").unwrap_or_default() {
            let text = read(&path).ok().flatten().unwrap_or_default();
            found.extend(logind_peer(&text));
        }
        found.extend(utmp_peers(&fs::read(&self.utmp).unwrap_or_default()));
        found
    }

    /// Sockets that processes of sshd hold, by inode, with the titles of those processes. Without
    /// the right to look at processes there are none.
    fn sockets_of_sshd(&self) -> BTreeMap<u32, Vec<String>> {
        let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for entry in fs::read_dir(&self.processes)
            .into_iter()
            .flatten()
            .flatten()
        {
            let process = entry.path();
            let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
            // sshd-session and sshd-auth from OpenSSH 9.8 on.
            if !comm.starts_with("sshd") {
                continue;
            }
            let title = fs::read(process.join("cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title)
                .replace('\0', " ")
                .trim()
                .to_owned();
            for inode in inodes(&process) {
                found.entry(inode).or_default().push(title.clone());
            }
        }
        found
    }
}

fn inodes(process: &Path) -> Vec<u32> {
    let descriptors = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |target: PathBuf| {
        let name = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        name.parse().ok()
    };
    targets.filter_map(inode).collect()
}

/// Tells if one of the processes that hold a connection is a user's: before the login they are
/// called "sshd: [accepted]", "sshd: USER [priv]" and "sshd: USER [net]".
fn says_session(titles: &[String]) -> bool {
    titles.iter().any(|title| {
        let Some(("sshd" | "sshd-session", rest)) = title.split_once(": ") else {
            return false;
        };
        rest.contains('@') && !rest.contains(" [") && !rest.starts_with(['[', '/'])
    })
}

impl Settings {
    fn take(&mut self, text: &str, usual: Duration) {
        for (first, words) in lines(text) {
            let Some(value) = words.first() else { continue };
            match first.as_str() {
                "port" => self.ports.extend(value.parse::<u16>().ok()),
                "listenaddress" => {
                    let address: Option<SocketAddr> = value.parse().ok();
                    self.ports.extend(address.map(|address| address.port()));
                }
                "logingracetime" => self.grace = grace(value).unwrap_or(Some(usual)),
                _ => {}
            }
        }
    }
}

/// A time of sshd_config(5); 0 is no limit.
fn grace(text: &str) -> Option<Option<Duration>> {
    let (mut total, mut n) = (0u64, None::<u64>);
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            n = Some(n.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let unit = match letter.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(n.take()?.checked_mul(unit)?)?;
    }
    total = total.checked_add(n.unwrap_or(0))?;
    Some((total > 0).then(|| Duration::from_secs(total)))
}

/// The other end of a session that systemd-logind keeps.
fn logind_peer(text: &str) -> Option<IpAddr> {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    };
    let is_live = matches!(value("STATE"), Some("active" | "online"));
    let host = value("REMOTE_HOST").filter(|_| is_live && value("REMOTE") == Some("1"))?;
    peer(host)
}

fn peer(host: &str) -> Option<IpAddr> {
    let address: IpAddr = host.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// Hosts that users are logged in from (utmp(5)).
fn utmp_peers(bytes: &[u8]) -> Vec<IpAddr> {
    let records = bytes.chunks_exact(size_of::<libc::utmpx>());
    let host = |record: &[u8]| {
        let kind = record
            .get(offset_of!(libc::utmpx, ut_type)..)?
            .first_chunk()?;
        if i16::from_ne_bytes(*kind) != UTMP_USER {
            return None;
        }
        let host = record.get(offset_of!(libc::utmpx, ut_host)..)?.get(..256)?;
        let end = host
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(host.len());
        peer(std::str::from_utf8(host.get(..end)?).ok()?)
    };
    records.filter_map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let mut settings = Settings {
            ports: BTreeSet::from([SSH_PORT]),
            grace: Some(GRACE_OPENSSH),
        };
        settings.take(text, GRACE_OPENSSH);
        settings
    }

    #[test]
    fn ports_and_times_are_read_as_sshd_reads_them() {
        let text = "# Port 1\nPort 2222\nListenAddress 192.0.2.1:2200\nListenAddress [::]:2201\n\
                    ListenAddress 192.0.2.1\nLoginGraceTime 1m30s\n";
        let found = settings(text);
        assert_eq!(found.ports, BTreeSet::from([22, 2200, 2201, 2222]));
        assert_eq!(found.grace, Some(Duration::from_secs(90)));
        assert_eq!(settings("LoginGraceTime 0").grace, None, "for ever");
        assert_eq!(settings("LoginGraceTime x").grace, Some(GRACE_OPENSSH));
    }

    #[test]
    fn only_a_users_process_says_that_somebody_logged_in() {
        let says = |title: &str| says_session(&[title.to_owned()]);
        assert!(says("sshd: bob@pts/0") && says("sshd-session: bob@notty"));
        for title in [
            "sshd: [accepted]",
            "sshd: bob [priv]",
            "sshd: unknown [net]",
            "sshd: x@pts/0 [priv]",
            "sshd: /usr/sbin/sshd -o x@y [listener] 0 of 10-100 startups",
            "/usr/sbin/sshd -D -o x@y",
            "nc: a@b",
        ] {
            assert!(!says(title), "{title}");
        }
    }

    #[test]
    fn logins_are_read_from_both_lists() {
        let session = "UID=0\nSTATE=active\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n";
        assert_eq!(logind_peer(session), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(logind_peer(&session.replace("active", "closing")), None);
        assert_eq!(logind_peer(&session.replace("REMOTE=1", "REMOTE=0")), None);
        let mut record = vec![0; size_of::<libc::utmpx>()];
        let at = offset_of!(libc::utmpx, ut_host);
        record[at..at + 11].copy_from_slice(b"2001:db8::7");
        assert_eq!(utmp_peers(&record), [] as [IpAddr; 0], "nobody's record");
        record[..2].copy_from_slice(&UTMP_USER.to_ne_bytes());
        let two = [record.clone(), record].concat();
        let expected: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(
            utmp_peers(&two[..two.len() - 1]),
            [expected],
            "the second is cut"
        );
    }

    fn nowhere() -> Places {
        let absent = PathBuf::from("/nonexistent");
        Places {
            config: absent.clone(),
            config_folder: absent.clone(),
            logind: absent.clone(),
            utmp: absent.clone(),
            processes: absent,
        }
    }

    fn connection(remote: &str) -> Connection {
        Connection {
            local: "192.0.2.1:22".parse().unwrap(),
            remote: remote.parse().unwrap(),
            inode: 7,
        }
    }

    /// Password guessers must not be protected by it.
    #[test]
    fn a_new_connection_is_a_session_when_it_lasts_and_an_old_one_at_once() {
        let mut sessions = Sessions {
            places: nowhere(),
            ..Sessions::default()
        };
        let old = connection("198.51.100.1:4000");
        let new = connection("198.51.100.2:4000");
        let start = Instant::now();
        let mut at = |seconds: u64, found: &[Connection]| {
            let now = start + Duration::from_secs(seconds);
            sessions.judge(found, now, Some(GRACE_OPENSSH));
            let known = |connection: &Connection| {
                let known = sessions.known.get(&name(connection));
                known.map(|known| known.is_session)
            };
            [known(&old), known(&new)]
        };
        assert_eq!(at(0, &[old]), [Some(true), None]);
        assert_eq!(at(1, &[old, new]), [Some(true), Some(false)]);
        assert_eq!(at(130, &[new]), [None, Some(false)]);
        assert_eq!(at(131, &[new]), [None, Some(true)]);
        assert_eq!(at(132, &[]), [None, None]);
    }

    #[test]
    fn an_unreadable_configuration_is_an_error() {
        let places = Places {
            config: std::env::temp_dir(),
            ..nowhere()
        };
        assert!(places.settings().is_err());
        let usual = nowhere().settings().unwrap();
        assert_eq!(usual.grace, Some(GRACE_OTHERS));
    }
}
