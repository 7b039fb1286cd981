//! Decisions that wait for a person: `sensor incidents proposals`, `approve`, `reject`.

use std::process::ExitCode;

use anyhow::Result;
use sensor_record::answer::{Judged, Proposals};
use sensor_record::text::{Table, measure, outcome};
use sensor_record::unit::duration;
use sensor_record::{OutcomeWord, json};

use super::client::Reach;
use super::out::{print_lines, say, say_table};
use crate::agent::protocol::Request;

/// Lists what waits.
pub fn list(reach: &Reach) -> Result<ExitCode> {
    let Proposals { proposals } = reach.connect()?.ask(&Request::Proposals)?;
    if reach.json {
        print_lines(&proposals)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["decision", "incident", "action", "lapses in", "why"]);
    for one in &proposals {
        table.row(vec![
            one.decision.id.clone(),
            one.decision.incident_id.clone(),
            measure(&one.decision),
            duration(one.expires_in_s),
            one.decision.reason.clone(),
        ]);
    }
    say_table(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// Approves or refuses; fails where something that was approved could not be carried out.
pub fn judge(reach: &Reach, request: &Request) -> Result<ExitCode> {
    let Judged { decisions } = reach.connect()?.ask(request)?;
    let is_approval = matches!(request, Request::Approve { .. });
    let mut is_done = true;
    for decision in &decisions {
        let word = decision.outcome.word();
        is_done &= !is_approval || matches!(word, OutcomeWord::Applied | OutcomeWord::Monitored);
        if reach.json {
            say!("{}", json::line(decision))?;
        } else {
            say!("{}: {}", measure(decision), outcome(&decision.outcome))?;
        }
    }
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
