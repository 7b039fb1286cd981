//! A report as one page of HTML, for a browser to print.

use std::borrow::Cow;
use std::fmt::Write as _;

use sensor_record::Zone;
use sensor_store::{BySeverity, HostRow, Report, StepRow};

use super::precision;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;color:#1a2230;max-width:960px;margin:2rem auto;padding:0 1rem}\
    h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:1.6rem}\
    table{border-collapse:collapse;width:100%;break-inside:auto}tr{break-inside:avoid}thead{display:table-header-group}\
    th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #d5dae1}\
    th{color:#566173;font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}\
    .bar{background:#0b57b7;height:.7rem;print-color-adjust:exact;-webkit-print-color-adjust:exact}\
    .dim{color:#566173}@page{margin:1.6cm}@media print{body{margin:0;max-width:none}}";

/// Percent of its column that the longest bar takes.
const WIDEST: u64 = 100;

/// Text within HTML.
fn text(plain: &str) -> Cow<'_, str> {
    if !plain.contains(['&', '<', '>', '"']) {
        return Cow::Borrowed(plain);
    }
    let escaped = plain.replace('&', "&amp;").replace('<', "&lt;");
    Cow::Owned(escaped.replace('>', "&gt;").replace('"', "&quot;"))
}

/// Columns of a table: a head, and whether it holds numbers.
type Columns<'a> = &'a [(&'a str, bool)];

fn table(out: &mut String, title: &str, columns: Columns<'_>, rows: &[Vec<String>]) {
    let class = |is_number: bool| if is_number { " class=\"n\"" } else { "" };
    let _infallible = write!(out, "<h2>{}</h2>\n<table><thead><tr>", text(title));
    for (head, is_number) in columns {
        let _infallible = write!(out, "<th{}>{}</th>", class(*is_number), text(head));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (cell, (_, is_number)) in row.iter().zip(columns) {
            let _infallible = write!(out, "<td{}>{}</td>", class(*is_number), text(cell));
        }
        out.push_str("</tr>\n");
    }
    if rows.is_empty() {
        let n = columns.len();
        let _infallible = writeln!(out, "<tr><td colspan=\"{n}\" class=\"dim\">None.</td></tr>");
    }
    out.push_str("</tbody></table>\n");
}

fn counts(of: &BySeverity) -> [String; 4] {
    [of.critical, of.high, of.medium, of.low].map(|n| n.to_string())
}

/// Bars of the incidents that began in each step.
fn trend(out: &mut String, steps: &[StepRow], step_s: u64, zone: &Zone) {
    let by = if step_s < 86_400 { "hour" } else { "day" };
    let _infallible = write!(
        out,
        "<h2>Incidents by {by}</h2>\n<table><thead><tr><th>begin</th><th class=\"n\">incidents</th>\
         <th>of them critical or high</th><th></th></tr></thead><tbody>\n"
    );
    let most = steps.iter().map(|row| row.incidents.total()).max();
    let most = most.unwrap_or(0).max(1);
    for row in steps {
        let (n, of) = (row.incidents.total(), &row.incidents);
        let width = n.saturating_mul(WIDEST) / most;
        let _infallible = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{n}</td><td>{}</td><td width=\"50%\"><div class=\"bar\" \
             style=\"width:{width}%\"></div></td></tr>",
            text(&zone.second(row.at)),
            of.critical + of.high
        );
    }
    if steps.is_empty() {
        out.push_str("<tr><td colspan=\"4\" class=\"dim\">None.</td></tr>\n");
    }
    out.push_str("</tbody></table>\n");
}

fn hosts(out: &mut String, title: &str, rows: &[HostRow]) {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![row.address.clone(), row.incidents.to_string()])
        .collect();
    table(
        out,
        title,
        &[("address", false), ("incidents", true)],
        &rows,
    );
}

/// The page.
pub fn page(of: &Report, zone: &Zone) -> String {
    let [critical, high, medium, low] = counts(&of.incidents);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Report of the sensor</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>Report of the sensor</h1>\n<p>{} to {}</p>\n\
         <p><b>{} incidents</b> ({critical} critical, {high} high, {medium} medium, {low} low); {} in as long a \
         time before.</p>\n",
        text(&zone.second(of.since)),
        text(&zone.second(of.until)),
        of.incidents.total(),
        of.before
    );
    let families: Vec<Vec<String>> = of
        .families
        .iter()
        .map(|row| {
            let mut cells = vec![row.family.replace('_', " ")];
            cells.extend(counts(&row.incidents));
            cells.extend([row.before.to_string(), precision(row.attacks, row.benign)]);
            cells
        })
        .collect();
    let columns = [
        ("family", false),
        ("critical", true),
        ("high", true),
        ("medium", true),
        ("low", true),
        ("before", true),
        ("attacks by feedback", true),
    ];
    table(&mut out, "Incidents by family", &columns, &families);
    out.push_str(
        "<p class=\"dim\">By feedback: the part of the judged incidents that a person held for an attack. What \
         nobody found is not known, so no recall is told.</p>\n",
    );
    trend(&mut out, &of.steps, of.step_s, zone);
    let decisions: Vec<Vec<String>> = of
        .decisions
        .iter()
        .map(|row| {
            vec![
                row.action.clone(),
                row.outcome.clone(),
                row.decisions.to_string(),
            ]
        })
        .collect();
    let columns = [("action", false), ("outcome", false), ("decisions", true)];
    table(&mut out, "Response", &columns, &decisions);
    hosts(&mut out, "Sources that most incidents name", &of.sources);
    hosts(&mut out, "Victims that most incidents name", &of.victims);
    out.push_str("</body></html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_record::Timestamp;
    use sensor_store::FamilyRow;

    #[test]
    fn a_report_is_one_page_that_runs_and_fetches_nothing() {
        let incidents = BySeverity {
            low: 3,
            high: 1,
            ..BySeverity::default()
        };
        let report = Report {
            since: Timestamp(0),
            until: Timestamp(7 * 86_400_000_000_000),
            incidents,
            before: 2,
            families: vec![FamilyRow {
                family: "<script>_x".to_owned(),
                incidents,
                before: 2,
                attacks: 3,
                benign: 1,
            }],
            step_s: 86_400,
            steps: vec![StepRow {
                at: Timestamp(0),
                incidents,
            }],
            decisions: Vec::new(),
            sources: Vec::new(),
            victims: Vec::new(),
        };
        let zone = Zone::named("UTC").unwrap();
        let page = page(&report, &zone);
        assert!(page.contains("<b>4 incidents</b>"), "{page}");
        assert!(page.contains("&lt;script&gt; x"), "{page}");
        assert!(page.contains("75 % of 4"), "{page}");
        for part in ["<script", "http:", "https:", "src=", "url("] {
            assert!(!page.contains(part), "{part}");
        }
        let n_rows = page.matches("<tr>").count();
        assert_eq!(n_rows, page.matches("</tr>").count());
    }
}
