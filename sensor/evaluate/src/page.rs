//! The evaluation as a page: one file, without anything from elsewhere.

mod axis;
mod confusion;
mod curves;
mod svg;
mod timeline;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::curves::Curve;
use super::Evaluation;
use super::number::{number, percent};
use super::roc::{Ranked, Ranking};
use super::score::{AlarmScore, CaptureScore, Content, EventScore};
use super::table::{Table, escape};
use sensor_record::Timestamp;

/// Writes `index.html` and `evaluation.json` into a folder, which is made if need be; gives the path
/// of the page.
///
/// # Errors
/// When the folder or a file can't be written.
pub fn write(folder: &Path, evaluation: &Evaluation) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let page = folder.join("index.html");
    fs::write(&page, html(evaluation))?;
    let figures = format!("{:#}\n", evaluation.json());
    fs::write(folder.join("evaluation.json"), figures)?;
    Ok(page)
}

/// The page.
pub fn html(evaluation: &Evaluation) -> String {
    let sections = [
        ("targets", "Targets", targets(evaluation)),
        ("attacks", "Attacks", attacks(evaluation)),
        ("alarms", "Alarms", alarms(evaluation)),
        ("scores", "Scores", scores(evaluation)),
        ("ablation", "Ablation and costs", ablation(evaluation)),
        ("captures", "Captures", captures(evaluation)),
    ];
    let sections: Vec<_> = sections
        .into_iter()
        .filter(|(_, _, body)| !body.is_empty())
        .collect();
    let links: Vec<String> = sections
        .iter()
        .map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>"))
        .collect();
    let mut page = format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <title>sensor: evaluation</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <header><h1>Evaluation</h1>\n<p>{}</p>\n{}<nav>{}</nav></header>\n<main>\n",
        include_str!("page/style.css"),
        summary(evaluation),
        tiles(evaluation),
        links.concat(),
    );
    for (id, title, body) in sections {
        let _ = write!(
            page,
            "<section id={id}>\n<h2>{title}</h2>\n{body}</section>\n"
        );
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn summary(evaluation: &Evaluation) -> String {
    let n_packets: u64 = evaluation.captures.iter().map(|c| c.n_packets).sum();
    let seconds: f64 = evaluation
        .captures
        .iter()
        .map(|c| c.duration_ns as f64 / 1e9)
        .sum();
    let models: Vec<&str> = evaluation.models.iter().map(|m| m.label()).collect();
    let mut text = format!(
        "{} labelled captures, {} packets, {} hours of event time; each from a cold start. \
         Sensor {}, models: {}.",
        evaluation.captures.len(),
        n_packets,
        number(seconds / 3_600.0),
        env!("CARGO_PKG_VERSION"),
        models.join(", "),
    );
    if let Some(speed) = evaluation
        .comparison
        .as_ref()
        .and_then(|c| c.speed.as_ref())
    {
        let _ = write!(text, " {}", escape(&speed.text()));
    }
    for problem in &evaluation.problems {
        let _ = write!(text, "<br><strong>bad input:</strong> {}", escape(problem));
    }
    text
}

/// Tiles with the figures that are asked for first.
fn tiles(evaluation: &Evaluation) -> String {
    let all = evaluation.overall();
    let benign = evaluation.alarms(Content::Benign);
    let windows = evaluation.windows();
    let tiles = [
        (
            percent(all.detected()),
            format!("of {} attacks detected", all.n_events),
        ),
        (
            format!("{} s", number(all.quantile_delay_s(0.5))),
            "median delay".to_owned(),
        ),
        (
            percent(all.entity_right()),
            "named the right host".to_owned(),
        ),
        (
            percent(all.family_right()),
            "named the right family".to_owned(),
        ),
        (
            number(24.0 * benign.false_per_hour()),
            format!(
                "false incidents a day, in {} h benign",
                number(benign.hours)
            ),
        ),
        (
            format!("{:.3}", windows.f1()),
            "F1 over entity-windows".to_owned(),
        ),
    ];
    let tiles: Vec<String> = tiles
        .iter()
        .map(|(figure, what)| format!("<div><b>{figure}</b>{}</div>", escape(what)))
        .collect();
    format!("<div class=tiles>{}</div>\n", tiles.concat())
}

fn titled(table: &Table) -> String {
    format!("<h3>{}</h3>\n{}", escape(table.title()), table.html())
}

fn figure(svg: &str, caption: &str) -> String {
    format!(
        "<figure><div class=scroll>{svg}</div><figcaption>{}</figcaption></figure>\n",
        escape(caption)
    )
}

fn targets(evaluation: &Evaluation) -> String {
    evaluation.target_table().html()
}

fn attacks(evaluation: &Evaluation) -> String {
    format!(
        "{}<div class=pair>\n{}</div>\n<figure class=wide><div class=scroll>{}</div>\
         <figcaption>Attacks by kind (rows) and by the family of the incident that fits best \
         (columns). The darker, the greater the share of the row.</figcaption></figure>\n",
        evaluation.group_table().html(),
        figure(
            &curves::delays(evaluation),
            "Delay from an attack's first labelled packet to the incident, as a share of all such \
             attacks. A line that stays below 100 % missed the rest."
        ),
        confusion::plot(evaluation),
    )
}

fn alarms(evaluation: &Evaluation) -> String {
    let mut html = titled(&evaluation.alarm_table());
    html.push_str(&titled(&evaluation.benign_table()));
    html.push_str(&titled(&evaluation.source_table()));
    html.push_str(&titled(&evaluation.window_table()));
    if let Some(comparison) = &evaluation.comparison {
        html.push_str("<div class=pair>\n");
        html.push_str(&figure(
            &curves::alarms(&comparison.settings),
            "The operator's one number, engine.scoring.alarms_per_day, against what was observed on \
             benign captures. At or below the dashed line the sensor keeps to it.",
        ));
        let table = titled(&comparison.setting_table());
        let _ = writeln!(html, "<div>{table}</div></div>");
    }
    let table = evaluation.false_table();
    if !table.is_empty() {
        html.push_str(&titled(&table));
    }
    html
}

fn scores(evaluation: &Evaluation) -> String {
    let places = evaluation.places();
    let mut html = String::new();
    type Over = fn(&Ranking) -> &Ranked;
    let over: [(&str, Over); 2] = [
        ("Entity-windows of 10 s", |ranking| &ranking.windows),
        ("Packets", |ranking| &ranking.packets),
    ];
    for (what, over) in over {
        let Some(pooled) = evaluation.pooled(over) else {
            continue;
        };
        let _ = writeln!(
            html,
            "<h3>{what}, all mixed captures</h3>\n<div class=pair>"
        );
        for (curve, name) in [
            (Curve::Roc, "ROC"),
            (Curve::PrecisionRecall, "Precision and recall"),
        ] {
            let label = format!("{name}: {what}");
            let caption = format!(
                "{name}. Fused: the models together with the behaviour detectors. The others: from \
                 the same run, without the detectors."
            );
            html.push_str(&figure(&curve.plot(&pooled, &places, &label), &caption));
        }
        html.push_str("</div>\n");
    }
    if !html.is_empty() {
        html.push_str(&titled(&evaluation.ranking_table()));
    }
    html
}

fn ablation(evaluation: &Evaluation) -> String {
    let Some(comparison) = &evaluation.comparison else {
        return String::new();
    };
    let mut tables = vec![comparison.run_table()];
    tables.extend(comparison.kitsune_table());
    tables.push(super::cost::table(&comparison.costs));
    tables.iter().map(titled).collect()
}

fn captures(evaluation: &Evaluation) -> String {
    let mut html = String::from(
        "<p class=keys><span class=\"k fused\"></span>fused score\
         <span class=\"k models\"></span>models together\
         <span class=\"k attack\"></span>labelled attack, by its number in the table\
         <span class=\"k odd\"></span>labelled as odd\
         <span class=\"k true\"></span>true incident\
         <span class=\"k odd-incident\"></span>odd incident\
         <span class=\"k false\"></span>false incident</p>\n",
    );
    let index: Vec<String> = evaluation
        .captures
        .iter()
        .map(|c| format!("<a href=\"#c-{0}\">{0}</a>", escape(&c.id)))
        .collect();
    let _ = writeln!(html, "<nav class=index>{}</nav>", index.concat());
    // Those with most to see come first.
    for content in [Content::Mixed, Content::Benign, Content::Attack] {
        for one in evaluation.captures.iter().filter(|c| c.content == content) {
            html.push_str(&capture(one));
        }
    }
    html
}

fn capture(capture: &CaptureScore) -> String {
    let id = escape(&capture.id);
    let started = Timestamp(capture.first_ns).to_string();
    let mut html = format!(
        "<article id=\"c-{id}\"><h3>{id}</h3>\n<p>{}; {} packets, {} flows, {} s from {} UTC</p>\n\
         <figure class=wide><div class=scroll>{}</div></figure>\n",
        capture.content.label(),
        capture.n_packets,
        capture.n_flows,
        number(capture.duration_ns as f64 / 1e9),
        started.get(..19).unwrap_or(&started).replace('T', " "),
        timeline::plot(capture),
    );
    if !capture.events.is_empty() {
        html.push_str(&events(capture).html());
    }
    if !capture.alarms.is_empty() {
        html.push_str(&said(capture).html());
    }
    html.push_str("</article>\n");
    html
}

fn events(capture: &CaptureScore) -> Table {
    let mut table = Table::new(
        "Attacks",
        &[
            "no.",
            "attack",
            "begins s",
            "lasts s",
            "packets",
            "delay s",
            "packets after",
            "family",
            "entity",
        ],
    );
    for (i, event) in capture.events.iter().enumerate() {
        let begins = event.start_ns.saturating_sub(capture.first_ns) as f64 / 1e9;
        let lasts = event.end_ns.saturating_sub(event.start_ns) as f64 / 1e9;
        let mut cells = vec![
            (i + 1).to_string(),
            event.attack.clone(),
            number(begins),
            number(lasts),
            event.n_packets.to_string(),
        ];
        cells.extend(fate(event));
        table.push(cells);
    }
    table
}

fn fate(event: &EventScore) -> [String; 4] {
    let Some(d) = &event.detection else {
        return ["missed", "", "", ""].map(str::to_owned);
    };
    let right = match d.family_weight {
        w if w > 0.75 => "right",
        w if w > 0.25 => "partly right",
        _ => "wrong",
    };
    [
        number(d.delay_ns as f64 / 1e9),
        percent(d.share_after),
        format!("{} ({right})", d.family),
        if d.is_entity_right { "right" } else { "wrong" }.to_owned(),
    ]
}

fn said(capture: &CaptureScore) -> Table {
    let mut table = Table::new(
        "Incidents",
        &["judgement", "at s", "family", "why", "incident"],
    );
    for alarm in &capture.alarms {
        table.push(said_cells(capture, alarm));
    }
    table
}

fn said_cells(capture: &CaptureScore, alarm: &AlarmScore) -> Vec<String> {
    let at = alarm.opened_ns.saturating_sub(capture.first_ns) as f64 / 1e9;
    vec![
        format!("{} {}", alarm.judgement.sign(), alarm.judgement.label()),
        number(at),
        alarm.incident.family.label().to_owned(),
        alarm.why().to_owned(),
        alarm.incident.explanation.clone(),
    ]
}

#[cfg(test)]
mod tests;
