//! The reference page and the example file, written from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{Setting, sections, settings};

/// `deploy/sensor.toml`: every setting, commented out, with its default.
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of the sensor. Every setting is listed with its default; uncomment what you\n\
         # want to be different. `sensor config check` tells whether a file is right.\n",
    );
    for (section, help) in with_settings() {
        let _infallible = write!(text, "\n# {help}\n[{section}]\n");
        for setting in of_section(&section) {
            for line in wrapped(&help_of(&setting), 96) {
                let _infallible = writeln!(text, "# {line}");
            }
            let _infallible = writeln!(text, "#{} = {}", name(&setting), toml_value(&setting));
        }
    }
    text
}

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::from(include_str!("page.md"));
    for (section, help) in with_settings() {
        let _infallible = write!(
            text,
            "\n## `[{section}]`\n\n{help}\n\n| key | default | what |\n|---|---|---|\n"
        );
        for setting in of_section(&section) {
            let _infallible = writeln!(
                text,
                "| `{}` | `{}` | {} |",
                name(&setting),
                toml_value(&setting),
                help_of(&setting).replace('|', "\\|")
            );
        }
    }
    text
}

/// Sections that hold settings of their own, not only other sections.
fn with_settings() -> Vec<(String, String)> {
    let mut sections = sections();
    sections.retain(|(section, _)| !of_section(section).is_empty());
    sections
}

fn of_section(section: &str) -> Vec<Setting> {
    let mut found = settings();
    found.retain(|setting| {
        setting
            .path
            .rsplit_once('.')
            .is_some_and(|(s, _)| s == section)
    });
    found
}

fn name(setting: &Setting) -> &str {
    setting.path.rsplit('.').next().unwrap_or_default()
}

/// Help with range, choices and whether a reload changes it.
fn help_of(setting: &Setting) -> String {
    let mut help = setting.help.clone();
    if !setting.choices.is_empty() {
        let _infallible = write!(help, " One of: {}.", setting.choices.join(", "));
    }
    match (&setting.minimum, &setting.maximum) {
        (Some(least), Some(most)) => {
            let _infallible = write!(help, " From {least} to {most}.");
        }
        (Some(least), None) if least.as_f64() != Some(0.0) => {
            let _infallible = write!(help, " At least {least}.");
        }
        _ => {}
    }
    if setting.needs_restart {
        help.push_str(" Needs a restart.");
    }
    help
}

fn toml_value(setting: &Setting) -> String {
    match &setting.default {
        Value::Null => "\"\"".to_owned(),
        Value::Number(number) => grouped(&number.to_string()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Digits in groups of three, as TOML allows.
fn grouped(number: &str) -> String {
    if number.len() < 5 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut text = String::new();
    for (i, digit) in number.chars().enumerate() {
        if i > 0 && (number.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
