//! The live view on a terminal. It reads what everybody else can ask for, at a pace of its own.

mod draw;
mod tail;
mod view;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use sensor_record::Zone;
use sensor_record::answer::TopRows;
use sensor_respond::Origin;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::api::Answers;
use super::protocol::{Answer, Request};
use super::talkers::TopQuery;
use crate::agent::{BlockList, IncidentQuery};
use draw::{Picture, draw};
use view::{Key, View};

pub use tail::LogTail;

/// Time from one picture to the next, and from one look at the keyboard to the next.
const REDRAW: Duration = Duration::from_secs(1);
const KEYS: Duration = Duration::from_millis(100);
/// Rows that can be scrolled through; incidents before are what `sensor incidents` is for.
const N_ROWS: usize = 200;
/// Seconds of history, as many as a wide terminal shows.
const N_HISTORY: usize = 400;

/// The terminal in its other state; back in its own with the value.
pub struct Screen {
    terminal: DefaultTerminal,
    log: LogTail,
    history: [Vec<u64>; 2],
    zone: Zone,
    view: View,
    /// The last picture, drawn again when a key or a new size asks for it.
    picture: Option<Picture>,
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
            view: View::default(),
            picture: None,
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
            let mut is_stale = false;
            while event::poll(Duration::ZERO)? {
                match event::read()? {
                    Event::Key(key) => match Key::of(key.code, key.modifiers) {
                        Some(Key::Quit) => return Ok(()),
                        Some(key) => {
                            self.view.press(key);
                            is_stale = true;
                        }
                        None => {}
                    },
                    Event::Resize(..) => is_stale = true,
                    _ => {}
                }
            }
            if Instant::now() >= next {
                next = Instant::now() + REDRAW;
                self.look(answers).await;
                self.draw()?;
            } else if is_stale {
                self.draw()?;
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let Self {
            terminal,
            view,
            picture,
            ..
        } = self;
        if let Some(picture) = picture {
            let ids: Vec<&str> = picture.incidents.iter().map(|i| i.id.as_str()).collect();
            view.follow(&ids);
            terminal.draw(|frame| draw(frame, picture, view))?;
        }
        Ok(())
    }

    async fn look(&mut self, answers: &Answers) {
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
            skip: 0,
            limit,
        };
        self.picture = Some(Picture {
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
        });
    }
}

/// An answer; none while the agent is busy.
async fn ask(answers: &Answers, request: Request) -> Option<Answer> {
    answers.to(request, Origin::Sensor).await.ok()
}
