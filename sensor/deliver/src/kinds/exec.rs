//! Exec hook: a program for each record, which is on its standard input.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::cut;
use crate::envelope::Envelope;
use crate::settings::SinkSettings;
use crate::shapes::{Format, Shape};
use crate::sink::Sink;

/// Bytes of the program's words that are told.
const MAX_TOLD: u64 = 512;
/// To the next look whether it has ended.
const AGAIN: Duration = Duration::from_millis(5);
/// Exit codes of sysexits.h: the command was used wrongly, the data was wrong.
const REFUSED: [i32; 2] = [64, 65];

struct Exec {
    settings: SinkSettings,
    shape: Shape,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    Ok(Box::new(Exec {
        settings: settings.clone(),
        shape: Shape::new(format, settings.template.as_deref())?,
    }))
}

impl Sink for Exec {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        batch
            .iter()
            .map(|envelope| self.run(envelope).unwrap_or_else(|answer| answer))
            .collect()
    }
}

impl Exec {
    fn run(&self, envelope: &Envelope) -> Result<Answer, Answer> {
        let body = self.shape.of(envelope).map_err(Answer::Refused)?;
        let [program, arguments @ ..] = self.settings.command.as_slice() else {
            return Err(Answer::later("command: names no program"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("SENSOR_SEQUENCE", envelope.seq.to_string())
            .env("SENSOR_RECORD_KIND", envelope.record.kind());
        if let Some(incident) = envelope.incident() {
            command
                .env("SENSOR_INCIDENT_ID", &incident.id)
                .env("SENSOR_INCIDENT_STATE", incident.state.label())
                .env("SENSOR_FAMILY", incident.family.as_ref())
                .env("SENSOR_SEVERITY", incident.severity.label());
        }
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped
            .spawn()
            .map_err(|cause| Answer::later(format!("{program}: {cause}")))?;
        let words = listen(&mut child);
        if let Some(mut stdin) = child.stdin.take() {
            // A program that doesn't read, and one that never ends, hold up this thread's helper alone.
            thread::spawn(move || stdin.write_all(&body.bytes));
        }
        let ended = self.wait(&mut child);
        let told = cut::bytes(
            words
                .and_then(|words| words.join().ok())
                .unwrap_or_default()
                .trim(),
            512,
        );
        ended.map(|code| answer(code, &told))
    }

    fn wait(&self, child: &mut Child) -> Result<Option<i32>, Answer> {
        let deadline = Instant::now() + self.settings.timeout();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status.code()),
                Ok(None) if Instant::now() < deadline => thread::sleep(AGAIN),
                Ok(None) => {
                    let _ended = child.kill().and_then(|()| child.wait());
                    return Err(Answer::later("no end in time: killed"));
                }
                Err(cause) => return Err(Answer::later(cause.to_string())),
            }
        }
    }
}

/// Reads what the program says, as much as is told, and lets the rest go.
fn listen(child: &mut Child) -> Option<thread::JoinHandle<String>> {
    let (mut out, mut err) = (child.stdout.take()?, child.stderr.take()?);
    thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
    Some(thread::spawn(move || {
        let mut words = Vec::new();
        let _partly = out.by_ref().take(MAX_TOLD).read_to_end(&mut words);
        String::from_utf8_lossy(&words).into_owned()
    }))
}

fn answer(code: Option<i32>, told: &str) -> Answer {
    let text = |code: i32| format!("exit code {code}: {told}");
    match code {
        Some(0) => Answer::Accepted(text(0)),
        Some(code) if REFUSED.contains(&code) => Answer::Refused(text(code)),
        Some(code) => Answer::later(text(code)),
        None => Answer::later("ended by a signal"),
    }
}
