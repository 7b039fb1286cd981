//! Attachments that have yet to be seen at work, and what is done about those that don't.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use sensor_common::arrival::Way;
use sensor_record::{Record, Sensor, SensorAction, SensorEvent};
use tracing::{error, info, warn};

use sensor_capture::kernel::interface::Interface;
use sensor_capture::kernel::verify::{News, Others, Probation, Reading};
use sensor_capture::kernel::{Attachment, Kernel, detach};

/// Every attachment, until it proves broken.
pub struct Watch {
    entries: Vec<(Attachment, Probation)>,
    sensor: Arc<Sensor>,
}

impl Watch {
    pub fn new(kernel: &Kernel, sensor: &Arc<Sensor>, attachments: &[Attachment]) -> Self {
        let (now, counted) = (Instant::now(), counted(kernel));
        let entry = |at: &Attachment| (at.clone(), Probation::new(now, at.at_start, counted));
        Self {
            entries: attachments.iter().map(entry).collect(),
            sensor: Arc::clone(sensor),
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

    /// Looks at each, detaches what is broken, and gives a record for every piece of news.
    ///
    /// # Errors
    /// When nothing is left attached.
    pub fn look(&mut self, kernel: &mut Kernel) -> Result<Vec<Record>> {
        let counted = counted(kernel);
        let others = if self.entries.len() > 1 {
            Others::Attached
        } else {
            Others::None
        };
        let mut records = Vec::new();
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
            let at_ns = kernel.now_ns();
            records.push(record(&self.sensor, at_ns, at, &news));
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
                bail!("no interface is attached any more; the log gives the reasons");
            }
        }
        Ok(records)
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
            "not verified: packets arrive, but the program reported none of this interface"
        ),
        News::Idle => info!(interface, "not verified yet: no packet has arrived"),
        News::Broken(why) => error!(
            interface,
            why, "detached; try --attach generic, and see `sensor doctor`"
        ),
    }
}

fn record(sensor: &Arc<Sensor>, at_ns: u64, at: &Attachment, news: &News) -> Record {
    use SensorAction as Action;
    let elsewhere = "packets of other interfaces only";
    let (action, reason) = match news {
        News::Verified => (Action::AttachVerified, ""),
        News::EgressVerified => (Action::EgressVerified, ""),
        News::Unproved(Way::Ingress) => (Action::AttachUnverified, elsewhere),
        News::Unproved(Way::Egress) => (Action::EgressUnverified, elsewhere),
        News::Idle => (Action::AttachUnverified, "no packet came in yet"),
        News::Broken(why) => (Action::AttachUndone, why.as_str()),
    };
    SensorEvent::of_interface(sensor.head(at_ns), action, &at.interface, reason).into()
}
