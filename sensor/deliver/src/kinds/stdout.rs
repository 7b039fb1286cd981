//! Lines on the sensor's standard output.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use super::file::line;
use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::settings::SinkSettings;
use crate::shapes::{Format, Shape};
use crate::sink::Sink;

struct Stdout {
    shape: Shape,
    out: File,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    // Without the locks of the standard library: a reader that stalls holds up this sink alone.
    let out = io::stdout().as_fd().try_clone_to_owned();
    Ok(Box::new(Stdout {
        shape: Shape::new(format, settings.template.as_deref())?,
        out: File::from(out.map_err(|cause| format!("standard output: {cause}"))?),
    }))
}

impl Sink for Stdout {
    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let mut write = |envelope| match line(&self.shape, envelope) {
            Ok(line) => match self.out.write_all(&line) {
                Ok(()) => Answer::Accepted("written".to_owned()),
                Err(cause) => Answer::later(format!("standard output: {cause}")),
            },
            Err(why) => Answer::Refused(why),
        };
        batch.iter().map(&mut write).collect()
    }
}
