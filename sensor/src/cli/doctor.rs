//! `sensor doctor`: checks of the machine's prerequisites and of the running agent, with remedies.

mod agent;
mod host;
mod interface;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use sensor_record::json;
use sensor_record::text::Table;
use serde::Serialize;

pub use host::check_rights;

use super::EXIT_FAILED;
use super::client::Reach;
use super::out::{put, say, width};
use sensor_capture::kernel::interface::{expand, names};

#[derive(Args)]
#[command(
    after_help = "A running agent is asked for the state of its interfaces, outputs, files and services.\n\n\
                        Exit codes: 0 the sensor can work, or works; 1 something prevents it.\n\n\
                        Example: sensor doctor --iface 'eth*'"
)]
pub struct Doctor {
    /// Interface to check; may be repeated, patterns are allowed. Default: all but loopback.
    #[arg(short, long = "iface")]
    ifaces: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    /// The sensor works, with less.
    Degraded,
    /// The sensor, or its work on this interface, is stopped by it.
    Stops,
}

impl Status {
    const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok  ",
            Self::Degraded => "warn",
            Self::Stops => "STOP",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// Name of the check, which is stable.
    check: Cow<'static, str>,
    /// The interface, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// The running agent, if it is about a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    status: Status,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self {
            check: Cow::Borrowed(check),
            interface: None,
            agent: None,
            status: Status::Ok,
            finding: finding.into(),
            remedy: None,
        }
    }

    fn degraded(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Degraded,
            remedy: Some(remedy.into()),
            ..Self::ok(check, finding)
        }
    }

    fn stops(check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Stops,
            ..Self::degraded(check, finding, remedy)
        }
    }

    /// Heading that it is listed under; none for the machine.
    fn group(&self) -> Option<&str> {
        self.agent.as_deref().or(self.interface.as_deref())
    }

    fn on(self, interface: &str) -> Self {
        Self {
            interface: Some(interface.to_owned()),
            ..self
        }
    }
}

/// Everything that was looked at.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "doctor")]
struct Report<'a> {
    #[serde(rename = "sensor.version")]
    version: &'static str,
    #[serde(rename = "ok")]
    is_ok: bool,
    findings: &'a [Finding],
}

impl Doctor {
    pub fn execute(self) -> Result<ExitCode> {
        let ifaces = if self.ifaces.is_empty() {
            names()?
        } else {
            expand(&self.ifaces)?
        };
        let mut findings = host::examine();
        if ifaces.is_empty() {
            findings.push(Finding::degraded(
                "interfaces",
                "there is none but loopback",
                "add one, or use `sensor replay` on captures",
            ));
        }
        for iface in &ifaces {
            findings.extend(interface::examine(iface));
        }
        findings.extend(agent::examine(&self.reach));
        let is_stopped = findings.iter().any(|f| f.status == Status::Stops);
        if self.reach.json {
            let report = Report {
                version: env!("CARGO_PKG_VERSION"),
                is_ok: !is_stopped,
                findings: &findings,
            };
            say!("{}", json::line(&report))?;
        } else {
            put(&text(&findings, width()))?;
        }
        Ok(if is_stopped {
            ExitCode::from(EXIT_FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn text(findings: &[Finding], width: usize) -> String {
    let mut table = Table::bare();
    for finding in findings {
        let cells = ["", finding.status.mark(), &finding.check, &finding.finding];
        table.row(cells.map(str::to_owned).into());
        if let Some(remedy) = &finding.remedy {
            let remedy = format!("-> {remedy}");
            table.row(vec![String::new(), String::new(), String::new(), remedy]);
        }
    }
    let mut lines = table.lines_within(width).into_iter();
    let mut text = String::new();
    let mut group = None;
    for finding in findings {
        if finding.group() != group {
            group = finding.group();
            let name = group.unwrap_or("agent");
            // Writing to a string can't fail.
            let _ = writeln!(text, "\n{name}");
        }
        let n_rows = 1 + usize::from(finding.remedy.is_some());
        for line in lines.by_ref().take(n_rows) {
            let _ = writeln!(text, "{line}");
        }
    }
    let count = |status| findings.iter().filter(|f| f.status == status).count();
    let (n_stops, n_degraded) = (count(Status::Stops), count(Status::Degraded));
    let conclusion = match (n_stops, n_degraded) {
        (0, 0) => "nothing prevents the sensor from working".to_owned(),
        (0, n) => format!("the sensor works; {n} of these to look at"),
        (n, _) => format!("{n} of these must be mended first"),
    };
    let _ = writeln!(text, "\n{conclusion}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_groups_by_interface_and_shows_remedies() {
        let findings = [
            Finding::ok("kernel", "6.18"),
            Finding::stops("resident_xdp", "program 7", "detach it").on("eth1"),
        ];
        let expected = "  ok    kernel        6.18\n\neth1\n  STOP  resident_xdp  program 7\n                      \
                        -> detach it\n\n1 of these must be mended first\n";
        assert_eq!(text(&findings, usize::MAX), expected);
    }

    #[test]
    fn absent_fields_of_a_check_are_not_in_the_json() {
        let finding = json::line(&Finding::ok("jit", "on"));
        let expected = "{\"check\":\"jit\",\"status\":\"ok\",\"finding\":\"on\"}";
        assert_eq!(finding, expected);
    }
}
