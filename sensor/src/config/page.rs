//! The reference page and the example file, written from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{Kind, Setting, sections, settings};

/// `deploy/sensor.toml`: every setting, commented out, with its default; of each list of tables one
/// table, with examples.
pub fn example() -> String {
    let mut text = String::from(
        "# Configuration of the sensor. Every setting is listed with its default; uncomment what you\n\
         # want to be different. `sensor config check` tells whether a file is right.\n",
    );
    for (section, help) in with_settings() {
        let (lists, plain) = of_section(&section);
        if !plain.is_empty() {
            let _infallible = write!(text, "\n# {help}\n[{section}]\n");
        }
        for setting in plain {
            comment(&mut text, &help_of(&setting));
            let value = toml_value(&setting.default);
            let _infallible = writeln!(text, "#{} = {value}", name(&setting));
        }
        for list in lists {
            text.push('\n');
            comment(&mut text, &help_of(&list));
            let _infallible = writeln!(text, "#[[{}]]", list.path);
            for column in &list.columns {
                comment(&mut text, &help_of(column));
                let value = toml_value(&column.example);
                // A space after the sign: not to be uncommented with the others.
                let sign = if column.is_apart { "# " } else { "#" };
                let _infallible = writeln!(text, "{sign}{} = {value}", column.path);
            }
        }
    }
    text
}

fn comment(text: &mut String, help: &str) {
    for line in wrapped(help, 96) {
        let _infallible = writeln!(text, "# {line}");
    }
}

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::from(include_str!("page.md"));
    for (section, help) in with_settings() {
        let (lists, plain) = of_section(&section);
        if !plain.is_empty() {
            heading(&mut text, &format!("[{section}]"), &help, "default");
        }
        for setting in plain {
            let default = format!("`{}`", toml_value(&setting.default));
            row(&mut text, name(&setting), &default, &help_of(&setting));
        }
        for list in lists {
            heading(
                &mut text,
                &format!("[[{}]]", list.path),
                &help_of(&list),
                "example",
            );
            for column in &list.columns {
                let example = format!("`{}`", toml_value(&column.example));
                row(&mut text, &column.path, &example, &help_of(column));
            }
        }
    }
    text
}

fn heading(text: &mut String, title: &str, help: &str, second: &str) {
    let _infallible = write!(
        text,
        "\n## `{title}`\n\n{help}\n\n| key | {second} | description |\n|---|---|---|\n"
    );
}

fn row(text: &mut String, key: &str, second: &str, help: &str) {
    let help = help.replace('|', "\\|");
    let _infallible = writeln!(text, "| `{key}` | {second} | {help} |");
}

/// Sections that hold settings of their own, not only other sections; last those outside of all.
fn with_settings() -> Vec<(String, String)> {
    let mut sections = sections();
    sections.push((String::new(), String::new()));
    sections.retain(|(section, _)| {
        let (lists, plain) = of_section(section);
        !lists.is_empty() || !plain.is_empty()
    });
    sections
}

/// Lists of tables and other settings of a section.
fn of_section(section: &str) -> (Vec<Setting>, Vec<Setting>) {
    let is_inside = |setting: &Setting| {
        let (around, _) = setting.path.rsplit_once('.').unwrap_or_default();
        around == section
    };
    let inside = settings().into_iter().filter(is_inside);
    inside.partition(|setting| setting.kind == Kind::Tables)
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
    let plain = |bound: &Value| match bound {
        Value::String(words) => words.clone(),
        number => number.to_string(),
    };
    match (&setting.minimum, &setting.maximum) {
        // Those of the type alone say nothing.
        (Some(least), _) if setting.kind == Kind::List && least.as_f64() == Some(0.0) => {}
        (Some(least), Some(most)) if setting.kind == Kind::List => {
            let _infallible = write!(help, " Each from {} to {}.", plain(least), plain(most));
        }
        (Some(least), Some(most)) => {
            let _infallible = write!(help, " From {} to {}.", plain(least), plain(most));
        }
        (Some(least), None) if least.as_f64() != Some(0.0) => {
            let _infallible = write!(help, " At least {}.", plain(least));
        }
        _ => {}
    }
    let _infallible = match setting.n_items {
        [Some(least), Some(most)] => write!(help, " {least} to {most} items."),
        [None, Some(most)] => write!(help, " At most {most} items."),
        [Some(least), None] => write!(help, " At least {least} items."),
        [None, None] => Ok(()),
    };
    if setting.is_required {
        help.push_str(" Required.");
    }
    if setting.needs_restart {
        help.push_str(" Needs a restart.");
    }
    help
}

fn toml_value(value: &Value) -> String {
    match value {
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
