//! `sensor train`.

use std::fs;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tracing::error;

use super::EXIT_BAD_INPUT;
use super::eval::Bar;
use super::site::Site;
use sensor_capture::player::Conditions;
use sensor_engine::Boosting;
use sensor_evaluate::train::{Plan, model_card, pairs, pairs_card, sequences, train, windows};
use sensor_evaluate::{Subject, find};

#[derive(Args)]
#[command(
    after_help = "Captures and labels are those of `sensor eval`. Splits are by capture; equal \
    captures and an equal seed give the same file, bit for bit. The sensor uses it with \
    engine.naming.model_file. `cargo xtask range --out captures/` makes labelled \
    captures of real programs.\n\nExample: sensor train captures/ --output naming.forest"
)]
pub struct Train {
    /// Labelled captures, or folders of labelled captures.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    site: Site,
    /// File to write the model to.
    #[arg(
        long,
        short,
        value_name = "FILE",
        required_unless_present = "sequences"
    )]
    output: Option<PathBuf>,
    /// File to write the model card to, as Markdown.
    #[arg(long, alias = "card", value_name = "FILE")]
    model_card: Option<PathBuf>,
    /// Seed of the random number generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of trees, from 1 to 512; 96 of a forest and 200 of a model of windows without it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=512))]
    trees: Option<u16>,
    /// Number of folds of the cross-validation by capture, from 2 to 1,000.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
    folds: u16,
    /// Train the model of windows of pairs and sources instead of the naming model; folds are then of whole
    /// sources.
    #[arg(long)]
    windows: bool,
    /// File to write the labelled windows to, as CSV.
    #[arg(long, value_name = "FILE", requires = "windows")]
    vectors: Option<PathBuf>,
    /// Train nothing, and write labelled sequences to this file, to train networks with (see docs/sequences.md).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["windows", "output", "model_card"])]
    sequences: Option<PathBuf>,
    /// Print one JSON object to standard output.
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn execute(self) -> Result<ExitCode> {
        let site = self.site.conditions()?;
        let (subjects, mut problems) = find(&self.paths);
        if subjects.is_empty() {
            problems.iter().for_each(|problem| error!("{problem}"));
            bail!("no labelled captures found");
        }
        if let Some(path) = &self.sequences {
            return write_sequences(path, &subjects, &site, problems);
        }
        let Some(output) = &self.output else {
            bail!("no file to write the model to; name one with --output");
        };
        if self.windows {
            return self.train_windows(output, &subjects, &site, problems);
        }
        let bar = Bar::new(&subjects, 1);
        let folds = fold_bar();
        let has_grown = |done: usize, of: usize| {
            folds.set_length(of as u64);
            folds.set_position(done as u64);
        };
        let trained =
            train(&subjects, &site, &self.plan(), &bar, &has_grown).map_err(|e| anyhow!(e));
        bar.finish();
        folds.finish_and_clear();
        let mut trained = trained.inspect_err(|_| report(&problems))?;
        problems.append(&mut trained.problems);
        report(&problems);
        let bytes = trained.forest.to_bytes();
        write(output, &bytes)?;
        if let Some(path) = &self.model_card {
            let page = model_card::page(&trained.forest, &trained.judgement, bytes.len());
            write(path, page.as_bytes())?;
        }
        let text = if self.json {
            format!(
                "{}\n",
                model_card::json(&trained.forest, &trained.judgement)
            )
        } else {
            format!(
                "{}{}: model {:016x}, {} bytes\n",
                model_card::text(&trained.forest, &trained.judgement),
                output.display(),
                trained.forest.id(),
                bytes.len()
            )
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(if problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }

    /// Trains the model of windows.
    fn train_windows(
        &self,
        output: &Path,
        subjects: &[Subject],
        site: &Conditions,
        mut problems: Vec<String>,
    ) -> Result<ExitCode> {
        let plan = pairs::Plan {
            growth: Boosting {
                n_trees: usize::from(self.trees.unwrap_or(200)),
                seed: self.seed,
                ..Boosting::default()
            },
            n_folds: usize::from(self.folds),
            ..pairs::Plan::default()
        };
        let bar = Bar::new(subjects, 1);
        let folds = fold_bar();
        let has_grown = |done: usize, of: usize| {
            folds.set_length(of as u64);
            folds.set_position(done as u64);
        };
        let trained = pairs::train(subjects, site, &plan, &bar, &has_grown);
        bar.finish();
        folds.finish_and_clear();
        let mut trained = trained
            .map_err(|e| anyhow!(e))
            .inspect_err(|_| report(&problems))?;
        problems.append(&mut trained.problems);
        report(&problems);
        let bytes = trained.model.to_bytes();
        write(output, &bytes)?;
        if let Some(path) = &self.vectors {
            let mut csv = Vec::new();
            windows::write_csv(&mut csv, &trained.captures, &trained.groups)?;
            write(path, &csv)?;
        }
        if let Some(path) = &self.model_card {
            write(path, pairs_card::page(&trained, bytes.len()).as_bytes())?;
        }
        let text = if self.json {
            format!("{}\n", pairs_card::json(&trained))
        } else {
            pairs_card::text(&trained, bytes.len())
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(if problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_BAD_INPUT)
        })
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan {
            n_folds: usize::from(self.folds),
            ..Plan::default()
        };
        plan.growth.seed = self.seed;
        plan.growth.n_trees = usize::from(self.trees.unwrap_or(96));
        plan
    }
}

/// Runs captures and writes their sequences.
fn write_sequences(
    path: &Path,
    subjects: &[Subject],
    site: &Conditions,
    mut problems: Vec<String>,
) -> Result<ExitCode> {
    let bar = Bar::new(subjects, 1);
    let mut collected = sequences::collect(subjects, site, &bar);
    bar.finish();
    problems.append(&mut collected.problems);
    report(&problems);
    let beside = path.with_extension("new");
    let failed = || format!("{}: can't be written", path.display());
    let mut out = BufWriter::new(fs::File::create(&beside).with_context(failed)?);
    collected.write(&mut out).with_context(failed)?;
    out.flush().with_context(failed)?;
    fs::rename(&beside, path).with_context(failed)?;
    let text = format!("{}: {} sequences\n", path.display(), collected.len());
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_BAD_INPUT)
    })
}

fn report(problems: &[String]) {
    for problem in problems {
        error!("{problem}");
    }
}

/// All or nothing: a new file beside takes the old one's place.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("{}: can't be written", path.display()))
}

fn fold_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} fold {pos} of {len} {eta}") {
        bar.set_style(style);
    }
    bar
}
