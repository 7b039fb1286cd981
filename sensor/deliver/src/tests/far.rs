//! Far sides: one for each kind of sink.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Folder;
use super::fake::{Fake, Mode, Request, Response};
use crate::kinds::Kind;
use crate::secret::Text;
use crate::settings::SinkSettings;

/// The other end of a sink.
pub trait FarSide {
    /// Settings of a sink that leads here.
    fn settings(&self) -> SinkSettings;
    fn set(&mut self, mode: Mode);
    /// Records that were accepted, as `incident.id state`, in their order.
    fn received(&self) -> Vec<String>;
    /// Modes that it has.
    fn modes(&self) -> Vec<Mode>;
}

/// Settings whose waits are those of a test.
pub fn settings(kind: Kind) -> SinkSettings {
    let mut settings = SinkSettings::new("soc", kind);
    (settings.retry_min_ms, settings.retry_max_ms) = (1, 5);
    settings.timeout_ms = 300;
    settings
}

/// A record of our own form, by its identity.
pub fn identity(record: &Value) -> String {
    let part = |name: &str| record[name].as_str().unwrap_or_default();
    format!("{} {}", part("incident.id"), part("incident.state"))
}

/// Any server over HTTP.
pub struct OverHttp {
    pub fake: Fake,
    settings: SinkSettings,
    modes: Vec<Mode>,
}

impl OverHttp {
    pub fn new(
        kind: Kind,
        path: &str,
        more: &[Mode],
        handler: impl Fn(&Request, Mode, &mut Vec<String>) -> Response + Send + Sync + 'static,
    ) -> Self {
        let fake = Fake::start(None, Arc::new(handler));
        let mut settings = settings(kind);
        settings.far.url = Some(Text::Plain(format!("http://{}{path}", fake.address)));
        let all = [
            Mode::Accept,
            Mode::Refuse,
            Mode::Busy,
            Mode::Down,
            Mode::Slow,
            Mode::Cut,
        ];
        Self {
            fake,
            settings,
            modes: [&all[..], more].concat(),
        }
    }
}

impl FarSide for OverHttp {
    fn settings(&self) -> SinkSettings {
        self.settings.clone()
    }

    fn set(&mut self, mode: Mode) {
        self.fake.set(mode);
    }

    fn received(&self) -> Vec<String> {
        self.fake.accepted()
    }

    fn modes(&self) -> Vec<Mode> {
        self.modes.clone()
    }
}

pub fn webhook() -> OverHttp {
    OverHttp::new(Kind::Webhook, "/hook", &[], |request, mode, accepted| {
        let is_right = request.method == "POST"
            && request.path == "/hook"
            && request.header("content-type") == Some("application/json");
        if mode == Mode::Refuse || !is_right {
            return Response::new(400, "bad record");
        }
        accepted.push(identity(&request.json()));
        Response::new(200, "thanks")
    })
}

/// A program whose exit code is read from a file.
pub struct Program {
    folder: Folder,
}

impl Program {
    pub fn new() -> Self {
        let folder = Folder::new();
        let script =
            "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n. ./mode\ncat >> out\necho >> out\necho noted\n";
        let path = folder.0.join("hook");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut program = Self { folder };
        program.set(Mode::Accept);
        program
    }
}

impl FarSide for Program {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Exec);
        settings.timeout_ms = 5_000;
        settings.command = vec![self.folder.0.join("hook").display().to_string()];
        settings
    }

    fn set(&mut self, mode: Mode) {
        let line = match mode {
            Mode::Accept | Mode::Partial => "",
            Mode::Refuse => "echo bad record; exit 65",
            Mode::Busy => "exit 75",
            Mode::Down | Mode::Slow => "exit 1",
            Mode::Cut => "kill -9 $$",
        };
        // Whole or not at all: the program may be reading it.
        let new = self.folder.0.join("mode.new");
        fs::write(&new, format!("{line}\n")).unwrap();
        fs::rename(new, self.folder.0.join("mode")).unwrap();
    }

    fn received(&self) -> Vec<String> {
        lines(&self.folder.0.join("out"))
    }

    fn modes(&self) -> Vec<Mode> {
        vec![
            Mode::Accept,
            Mode::Refuse,
            Mode::Busy,
            Mode::Down,
            Mode::Cut,
        ]
    }
}

/// Records in a file, one a line.
fn lines(path: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| identity(&serde_json::from_str(line).unwrap()))
        .collect()
}

/// A folder that is there or not.
pub struct Disk {
    folder: Folder,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            folder: Folder::new(),
        }
    }
}

impl FarSide for Disk {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::File);
        settings.path = Some(self.folder.0.join("there/incidents.jsonl"));
        settings
    }

    fn set(&mut self, mode: Mode) {
        let (there, away) = (self.folder.0.join("there"), self.folder.0.join("away"));
        match mode {
            Mode::Accept if away.exists() => fs::rename(away, there).unwrap(),
            Mode::Accept => fs::create_dir_all(there).unwrap(),
            _ => fs::rename(there, away).unwrap(),
        }
    }

    fn received(&self) -> Vec<String> {
        lines(&self.folder.0.join("there/incidents.jsonl"))
    }

    fn modes(&self) -> Vec<Mode> {
        vec![Mode::Accept, Mode::Down]
    }
}

/// The journal's socket, there or not.
pub struct Journal {
    folder: Folder,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    pub fn new() -> Self {
        Self {
            folder: Folder::new(),
            accepted: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.0.join("socket")
    }
}

/// The record of an entry, by its identity.
fn entry(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let record = text
        .lines()
        .find_map(|line| line.strip_prefix("SENSOR_RECORD="));
    identity(&serde_json::from_str(record.unwrap()).unwrap())
}

impl FarSide for Journal {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Journald);
        settings.path = Some(self.path());
        settings
    }

    fn set(&mut self, mode: Mode) {
        if mode != Mode::Accept {
            return fs::remove_file(self.path()).unwrap();
        }
        if self.path().exists() {
            return;
        }
        let socket = UnixDatagram::bind(self.path()).unwrap();
        let accepted = Arc::clone(&self.accepted);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while let Ok(n) = socket.recv(&mut buffer) {
                accepted.lock().unwrap().push(entry(&buffer[..n]));
            }
        });
    }

    fn received(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    fn modes(&self) -> Vec<Mode> {
        vec![Mode::Accept, Mode::Down]
    }
}
