//! `sensor eval`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensor_engine::Config;
use tracing::error;

use super::EXIT_BAD_INPUT;
use crate::eval::{Progress, evaluate, find};

#[derive(Args)]
#[command(
    after_help = "Labels of ID.pcap are ID.pkt.csv (first_pkt,last_pkt,label,attack) and \
    ID.csv (start_s,end_s,src,dst,dport,proto,label,attack,packets), beside it or in ../labels.\n\n\
    Example: sensor eval ../shared/data"
)]
pub struct Eval {
    /// Labelled captures, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The tables as Markdown.
    #[arg(long)]
    markdown: bool,
}

impl Eval {
    pub fn execute(self) -> Result<ExitCode> {
        let (subjects, mut problems) = find(&self.paths);
        if subjects.is_empty() && problems.is_empty() {
            bail!("no labelled captures found");
        }
        let bar = Bar::new(&subjects);
        let mut evaluation = evaluate(&subjects, &Config::default(), &bar);
        bar.0.finish_and_clear();
        problems.append(&mut evaluation.problems);
        evaluation.problems = problems;
        for problem in &evaluation.problems {
            error!("{problem}");
        }
        let text = if self.json {
            format!("{}\n", evaluation.json())
        } else if self.markdown {
            evaluation.markdown()
        } else {
            evaluation.text()
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(if evaluation.problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }
}

struct Bar(ProgressBar);

impl Bar {
    fn new(subjects: &[crate::eval::Subject]) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let bar = ProgressBar::new(subjects.iter().map(|s| size(&s.capture)).sum());
        let template = "{bar:40} {bytes}/{total_bytes} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn add_bytes(&self, n_bytes: u64) {
        self.0.inc(n_bytes);
    }
}
