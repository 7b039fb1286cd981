//! The live view on a terminal. It reads what everybody else can ask for, at a pace of its own.

mod draw;
mod tail;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use sensor_record::Zone;
use sensor_record::answer::TopRows;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::protocol::{Answer, Request};
use super::socket::Answers;
use super::talkers::TopQuery;
use crate::agent::{BlockList, IncidentQuery};
use draw::{Picture, draw};

pub use tail::LogTail;

/// Time from one picture to the next, and from one look at the keyboard to the next.
const REDRAW: Duration = Duration::from_secs(1);
const KEYS: Duration = Duration::from_millis(100);
/// Rows that a tall terminal shows.
const N_ROWS: usize = 50;
/// Seconds of history, as many as a wide terminal shows.
const N_HISTORY: usize = 400;

/// The terminal in its other state; back in its own with the value.
pub struct Screen {
    terminal: DefaultTerminal,
    log: LogTail,
    history: [Vec<u64>; 2],
    zone: Zone,
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
        // The screen is gone, and with it what was on it.
        let lines = self.log.last(10).join("\n") + "\n";
        let _terminal_is_gone = io::stderr().write_all(lines.as_bytes());
    }
}

impl Screen {
    /// # Errors
    /// When the terminal can't be set up.
    pub fn open(log: LogTail) -> Result<Self> {
        let terminal =
            ratatui::try_init().context("live view not available; use --plain for lines")?;
        Ok(Self {
            terminal,
            log,
            history: [Vec::new(), Vec::new()],
            zone: Zone::local(),
        })
    }

    /// Draws until somebody presses q, Esc or Ctrl-C.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub async fn show(mut self, answers: &Answers) -> Result<()> {
        let mut beat = interval(KEYS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Instant::now();
        loop {
            beat.tick().await;
            let mut is_resized = false;
            while event::poll(Duration::ZERO)? {
                match event::read()? {
                    Event::Key(key) if is_end(key.code, key.modifiers) => return Ok(()),
                    Event::Resize(..) => is_resized = true,
                    _ => {}
                }
            }
            if is_resized || Instant::now() >= next {
                next = Instant::now() + REDRAW;
                self.draw(answers).await?;
            }
        }
    }

    async fn draw(&mut self, answers: &Answers) -> io::Result<()> {
        let now = answers.snapshot();
        for (history, rate) in self.history.iter_mut().zip(now.rates) {
            if history.len() >= N_HISTORY {
                history.remove(0);
            }
            history.push(rate.packets_per_s as u64);
        }
        let top = TopQuery {
            limit: N_ROWS,
            ..TopQuery::default()
        };
        let limit = N_ROWS;
        let blocks = BlockList {
            within: None,
            limit,
        };
        let picture = Picture {
            now,
            history: self.history.clone(),
            zone: self.zone.clone(),
            hosts: match ask(answers, Request::Top(top)).await {
                Some(Answer::Top(top)) => match top.rows {
                    TopRows::Hosts(hosts) => hosts,
                    TopRows::Flows(_) => Vec::new(),
                },
                _ => Vec::new(),
            },
            incidents: match ask(
                answers,
                Request::Incidents(IncidentQuery {
                    limit,
                    ..IncidentQuery::default()
                }),
            )
            .await
            {
                Some(Answer::Incidents(incidents)) => incidents,
                _ => Vec::new(),
            },
            blocks: match ask(answers, Request::BlockList(blocks)).await {
                Some(Answer::BlockListed(listed)) => listed.entries,
                _ => Vec::new(),
            },
            decisions: answers.decisions(N_ROWS),
            log: self.log.last(N_ROWS),
        };
        self.terminal.draw(|frame| draw(frame, &picture))?;
        Ok(())
    }
}

fn is_end(code: KeyCode, modifiers: KeyModifiers) -> bool {
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        // Raw mode makes a key of what is a signal else.
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// An answer; none while the agent is busy.
async fn ask(answers: &Answers, request: Request) -> Option<Answer> {
    answers.to(request, 0).await.ok()
}
