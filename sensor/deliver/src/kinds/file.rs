//! Lines in a file: whole ones, in a file that may be rotated from outside or by its size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::answer::Answer;
use crate::envelope::Envelope;
use crate::settings::SinkSettings;
use crate::shapes::{Format, Shape};
use crate::sink::Sink;

pub const FORMATS: &[Format] = &[
    Format::Json,
    Format::Text,
    Format::Template,
    Format::Cef,
    Format::Leef,
    Format::Ecs,
    Format::Ocsf,
    Format::Eve,
    Format::Stix,
];
/// Records that are written at once.
const MOST: usize = 256;

struct Lines {
    path: PathBuf,
    rotate_size: u64,
    keep_files: u32,
    shape: Shape,
    file: Option<File>,
}

pub fn open(settings: &SinkSettings) -> Result<Box<dyn Sink>, String> {
    let format = settings.format.unwrap_or(Format::Json);
    Ok(Box::new(Lines {
        path: settings.path.clone().unwrap_or_default(),
        rotate_size: settings.rotate_size,
        keep_files: settings.keep_files,
        shape: Shape::new(format, settings.template.as_deref())?,
        file: None,
    }))
}

/// A record as one line with its end.
pub fn line(shape: &Shape, envelope: &Envelope) -> Result<Vec<u8>, String> {
    let mut bytes = shape.of(envelope)?.bytes;
    // A line stays one, whatever a template or a text has in it.
    while bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    let joined = String::from_utf8_lossy(&bytes).replace('\n', " | ");
    Ok(format!("{joined}\n").into_bytes())
}

impl Sink for Lines {
    fn most(&self) -> usize {
        MOST
    }

    fn send(&mut self, batch: &[Envelope]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for envelope in batch {
            let answer = match line(&self.shape, envelope) {
                Ok(line) => self.write(&line),
                Err(why) => Answer::Refused(why),
            };
            let is_over = matches!(answer, Answer::Later { .. });
            answers.push(answer);
            if is_over {
                break;
            }
        }
        answers
    }

    fn reopen(&mut self) {
        self.file = None;
    }
}

impl Lines {
    fn write(&mut self, line: &[u8]) -> Answer {
        match self.try_write(line) {
            Ok(()) => Answer::Accepted(format!("written to {}", self.path.display())),
            Err(cause) => {
                self.file = None;
                Answer::later(format!("{}: {cause}", self.path.display()))
            }
        }
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        // Whoever rotated it may not have said so.
        let known = self.file.take().filter(|file| is_at(file, &self.path));
        let file = match known {
            Some(file) => file,
            None => append(&self.path)?,
        };
        let length = file.metadata()?.len();
        let is_over =
            self.rotate_size > 0 && length > 0 && length + line.len() as u64 > self.rotate_size;
        let mut file = if is_over {
            self.rotate()?;
            append(&self.path)?
        } else {
            file
        };
        let before = file.metadata()?.len();
        if let Err(cause) = file.write_all(line) {
            // A part of a line is none.
            file.set_len(before)?;
            return Err(cause);
        }
        self.file = Some(file);
        Ok(())
    }

    /// `PATH` becomes `PATH.1`, that `PATH.2`, and the last one goes.
    fn rotate(&self) -> io::Result<()> {
        for n in (1..self.keep_files).rev() {
            match fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

/// True for the file that has this path now.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let open = file.metadata().map(place);
    open.is_ok_and(|open| fs::metadata(path).is_ok_and(|meta| place(meta) == open))
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use sensor_record::example;

    use super::*;
    use crate::kinds::Kind;

    fn envelope(seq: u64) -> Envelope {
        Envelope {
            seq,
            at_ns: 0,
            record: example::incident().into(),
        }
    }

    #[test]
    fn a_file_is_rotated_and_reopened() {
        let folder = std::env::temp_dir().join(format!("sensor-file-sink-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("incidents");
        let mut settings = SinkSettings::new("soc", Kind::File);
        settings.path = Some(path.clone());
        settings.format = Some(Format::Text);
        let mut sink = open(&settings).unwrap();
        sink.send(&[envelope(1)]);
        let length = fs::read(&path).unwrap().len() as u64;
        // Rotated from outside, with SIGHUP and without.
        for name in ["old", "older"] {
            fs::rename(&path, folder.join(name)).unwrap();
            sink.send(&[envelope(2)]);
            assert!(path.exists());
            sink.reopen();
        }
        // By size: two lines fit.
        (settings.rotate_size, settings.keep_files) = (2 * length, 2);
        let mut sink = open(&settings).unwrap();
        let batch: Vec<_> = (4..13).map(envelope).collect();
        assert!(
            sink.send(&batch)
                .iter()
                .all(|answer| answer.label() == "accepted")
        );
        for (name, n) in [("incidents", 2), ("incidents.1", 2), ("incidents.2", 2)] {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(text.lines().count(), n, "{name}");
        }
        assert!(!folder.join("incidents.3").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
