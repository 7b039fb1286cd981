//! Attachments that have yet to be seen at work, and what is done about those that don't.

use std::time::Instant;

use anyhow::{Result, bail};
use sensor_common::arrival::Way;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::output::timestamp;
use sensor_capture::kernel::interface::Interface;
use sensor_capture::kernel::verify::{News, Others, Probation, Reading};
use sensor_capture::kernel::{Attachment, Kernel, detach};

/// Every attachment, until it proves broken.
pub struct Watch {
    entries: Vec<(Attachment, Probation)>,
}

impl Watch {
    pub fn new(kernel: &Kernel, attachments: &[Attachment]) -> Self {
        let (now, counted) = (Instant::now(), counted(kernel));
        let entry = |at: &Attachment| (at.clone(), Probation::new(now, at.at_start, counted));
        Self {
            entries: attachments.iter().map(entry).collect(),
        }
    }

    /// True while there is something to find out.
    pub fn is_open(&self) -> bool {
        let mut probations = self.entries.iter().map(|(_, probation)| probation);
        probations.any(Probation::is_open)
    }

    /// A program told of a packet of this interface.
    pub fn see(&mut self, ifindex: u32, way: Way) {
        let mut entries = self.entries.iter_mut();
        if let Some((_, probation)) = entries.find(|(at, _)| at.ifindex == ifindex) {
            probation.see(way);
        }
    }

    /// Looks at each, detaches what is broken, and gives a line for every piece of news.
    ///
    /// # Errors
    /// When nothing is left attached.
    pub fn look(&mut self, kernel: &mut Kernel) -> Result<Vec<Value>> {
        let counted = counted(kernel);
        let others = if self.entries.len() > 1 {
            Others::Attached
        } else {
            Others::None
        };
        let mut lines = Vec::new();
        let mut broken = Vec::new();
        for (n, (at, probation)) in self.entries.iter_mut().enumerate() {
            // An interface that is gone took its programs along.
            let Ok(interface) = Interface::open(&at.interface) else {
                continue;
            };
            let reading = Reading::of(&interface, counted);
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

fn counted(kernel: &Kernel) -> [u64; 2] {
    [Way::Ingress, Way::Egress].map(|way| kernel.total(way).packets)
}

fn report(at: &Attachment, news: &News) {
    let interface = &at.interface;
    match news {
        News::Verified => info!(interface, "verified: packets reach the program"),
        News::EgressVerified => info!(interface, "verified: packets sent reach the program"),
        News::Unproved(way) => warn!(
            interface,
            ?way,
            "unverified: packets pass, and none of those that the program told of was of this interface"
        ),
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
        News::EgressVerified => ("egress_verified", ""),
        News::Unproved(Way::Ingress) => ("attach_unverified", "packets of other interfaces only"),
        News::Unproved(Way::Egress) => ("egress_unverified", "packets of other interfaces only"),
        News::Idle => ("attach_unverified", "no packet came in yet"),
        News::Broken(why) => ("attach_undone", why.as_str()),
    };
    json!({
        "kind": "sensor", "@timestamp": timestamp(kernel.now_ns()),
        "event.action": action, "sensor.version": env!("CARGO_PKG_VERSION"),
        "interface": at.interface, "reason": reason,
    })
}
