//! Attachments that have yet to be seen at work, and what is done about those that don't.

use std::time::Instant;

use anyhow::{Result, bail};
use sensor_common::datapath::Way;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::capture::kernel::interface::Interface;
use crate::capture::kernel::verify::{News, Others, Probation, Reading};
use crate::capture::kernel::{Attachment, Kernel, detach};
use crate::output::timestamp;

/// Every attachment, until it proves broken.
pub struct Watch {
    entries: Vec<(Attachment, Probation)>,
}

impl Watch {
    pub fn new(kernel: &Kernel, attachments: &[Attachment]) -> Self {
        let (now, counted) = (Instant::now(), kernel.total(Way::Ingress).packets);
        let entry = |at: &Attachment| (at.clone(), Probation::new(now, at.at_start, counted));
        Self {
            entries: attachments.iter().map(entry).collect(),
        }
    }

    /// Looks at each, detaches what is broken, and gives a line for every piece of news.
    ///
    /// # Errors
    /// When nothing is left attached.
    pub fn look(&mut self, kernel: &mut Kernel) -> Result<Vec<Value>> {
        let counted = kernel.total(Way::Ingress).packets;
        let others = if self.entries.len() > 1 {
            Others::Attached
        } else {
            Others::None
        };
        let mut lines = Vec::new();
        let mut broken = Vec::new();
        for (n, (at, probation)) in self.entries.iter_mut().enumerate() {
            // An interface that is gone took its programs along.
            let Ok(reading) = Interface::open(&at.interface)
                .and_then(|interface| Reading::of(&interface, counted))
            else {
                continue;
            };
            let Some(news) = probation.look(Instant::now(), reading, others) else {
                continue;
            };
            lines.push(line(kernel, at, &news));
            report(at, &news);
            if matches!(news, News::Broken(_)) {
                broken.push(n);
            }
        }
        for n in broken.into_iter().rev() {
            let (at, _) = self.entries.remove(n);
            if let Err(cause) = detach(kernel, &at) {
                error!(interface = at.interface, "{cause:#}");
            }
            if self.entries.is_empty() {
                bail!("nothing is attached any more: see the log for the reasons");
            }
        }
        Ok(lines)
    }

    /// Takes everything off.
    pub fn detach(&mut self, kernel: &mut Kernel) {
        for (at, _) in self.entries.drain(..) {
            if let Err(cause) = detach(kernel, &at) {
                warn!(interface = at.interface, "{cause:#}");
            }
        }
    }
}

fn report(at: &Attachment, news: &News) {
    let interface = &at.interface;
    match news {
        News::Verified => info!(interface, "verified: packets reach the program"),
        News::Idle => info!(
            interface,
            "unverified: no packet came in yet; the first one will tell"
        ),
        News::Broken(why) => error!(
            interface,
            why, "detached; try --attach generic, and see `sensor doctor`"
        ),
    }
}

fn line(kernel: &Kernel, at: &Attachment, news: &News) -> Value {
    let (action, reason) = match news {
        News::Verified => ("attach_verified", ""),
        News::Idle => ("attach_unverified", "no packet came in yet"),
        News::Broken(why) => ("attach_undone", why.as_str()),
    };
    json!({
        "kind": "sensor", "@timestamp": timestamp(kernel.now_ns()),
        "event.action": action, "sensor.version": env!("CARGO_PKG_VERSION"),
        "interface": at.interface, "reason": reason,
    })
}
