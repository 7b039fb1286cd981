//! `sensor eval`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tracing::{error, info};

use super::site::Site;
use super::{EXIT_BAD_INPUT, EXIT_USAGE};
use sensor_evaluate::ablation::Components;
use sensor_evaluate::change::Change;
use sensor_evaluate::compare::{compare, n_passes};
use sensor_evaluate::{Evaluation, Progress, Subject, evaluate, find, page};

#[derive(Args)]
#[command(
    after_help = "Labels of ID.pcap are ID.pkt.csv (first_pkt,last_pkt,label,attack) and \
    ID.csv (start_s,end_s,src,dst,dport,proto,label,attack,packets), beside it or in ../labels.\n\n\
    Example: sensor eval captures/\n\
    Example: sensor eval --models kitnet,mixture,detectors captures/\n\
    Example: sensor eval --change lossy:20 captures/\n\
    Example: sensor eval --report /tmp/report captures/ --json | jq .overall"
)]
pub struct Eval {
    /// Labelled captures, or folders of labelled captures.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// Print one JSON object to standard output.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the tables as Markdown, with the comparison of models.
    #[arg(long)]
    markdown: bool,
    /// Folder into which index.html, with plots, and evaluation.json are written, with the
    /// comparison of models.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Components to run: names of models, `detectors`, `all` or `default`, separated by commas.
    /// Each is also run alone and left out, for comparison.
    #[arg(long, value_name = "NAMES")]
    models: Option<String>,
    /// Change the captures before they are run: `slower:N` or `faster:N` times, `lossy:N` percent of the frames missing,
    /// or `late:N`, beginning when N percent of the attacks are over.
    #[arg(long, value_name = "CHANGE")]
    change: Option<Change>,
}

impl Eval {
    pub fn execute(self) -> Result<ExitCode> {
        let site = self.site.conditions()?;
        let components = match self
            .models
            .as_deref()
            .map(|names| Components::parse(names, &site.engine))
        {
            None => Components::configured(&site.engine),
            Some(Ok(components)) => components,
            Some(Err(fault)) => {
                error!("--models: {fault}");
                return Ok(ExitCode::from(EXIT_USAGE));
            }
        };
        let (mut subjects, mut problems) = find(&self.paths);
        for subject in &mut subjects {
            subject.change = self.change;
        }
        if subjects.is_empty() {
            problems.iter().for_each(|problem| error!("{problem}"));
            bail!("no labelled captures found");
        }
        let compares = self.models.is_some() || self.markdown || self.report.is_some();
        let n_more = if compares { n_passes(&components) } else { 0 };
        let bar = Bar::new(&subjects, 1 + n_more);
        let mut evaluation = evaluate(&subjects, &components.conditions(&site), &bar);
        if compares {
            match compare(&subjects, &components, &site, &evaluation, &bar) {
                Ok(comparison) => evaluation.comparison = Some(comparison),
                Err(problem) => problems.push(problem),
            }
        }
        bar.finish();
        problems.append(&mut evaluation.problems);
        evaluation.problems = problems;
        self.publish(&evaluation)
    }

    fn publish(&self, evaluation: &Evaluation) -> Result<ExitCode> {
        for problem in &evaluation.problems {
            error!("{problem}");
        }
        if let Some(folder) = &self.report {
            let page = page::write(folder, evaluation)
                .with_context(|| format!("{}: can't write the report", folder.display()))?;
            info!("report: {}", page.display());
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

/// Bytes of capture files.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }

    pub(super) fn new(subjects: &[Subject], n_passes: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let n_bytes: u64 = subjects.iter().map(|s| size(&s.capture)).sum();
        let bar = ProgressBar::new(n_bytes.saturating_mul(n_passes as u64));
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
