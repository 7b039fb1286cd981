//! What the screen looks like, from what is known.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};
use sensor_common::counters::Event;
use serde_json::Value;

use crate::agent::snapshot::Snapshot;
use crate::cli::{bits, short};
use crate::respond::Mode;

/// Everything that is shown.
pub struct Picture {
    pub now: Arc<Snapshot>,
    /// Packets a second of the last looks, the newest last: ingress and egress.
    pub history: [Vec<u64>; 2],
    pub hosts: Vec<Value>,
    pub incidents: Vec<Value>,
    pub blocks: Vec<Value>,
    /// The newest first.
    pub decisions: Vec<Value>,
    pub log: Vec<String>,
}

pub fn draw(frame: &mut Frame<'_>, picture: &Picture) {
    let [head, rates, middle, bottom] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Fill(3),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    let halves = |area| {
        let halves = [Constraint::Percentage(45), Constraint::Percentage(55)];
        Layout::horizontal(halves).areas(area)
    };
    draw_head(frame, head, &picture.now);
    let ways: [Rect; 2] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(rates);
    for (way, area) in ways.into_iter().enumerate() {
        draw_rate(frame, area, picture, way);
    }
    let [left, right] = halves(middle);
    draw_hosts(frame, left, &picture.hosts);
    draw_incidents(frame, right, &picture.incidents);
    let [left, right] = halves(bottom);
    draw_blocks(frame, left, &picture.blocks);
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
    draw_decisions(frame, upper, &picture.decisions);
    draw_log(frame, lower, &picture.log);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, now: &Snapshot) {
    let mode = match now.mode {
        Mode::Monitor => Span::styled("monitor", Style::new().fg(Color::Yellow)),
        Mode::Enforce => Span::styled("enforce", Style::new().fg(Color::Red)),
    };
    let interfaces: Vec<String> = now
        .about
        .attachments
        .iter()
        .map(|at| format!("{} ({})", at.interface, at.mode.label()))
        .collect();
    let first = Line::from(vec![
        Span::styled("sensor ", Style::new().add_modifier(Modifier::BOLD)),
        mode,
        Span::raw(format!("  {}   q quits", interfaces.join(", "))),
    ]);
    let (dropped, would) = (now.event(Event::Dropped), now.event(Event::WouldDrop));
    let second = Line::raw(format!(
        "flows {}   incidents open {}   blocked {}   dropped {}   would drop {}   malformed {}   look {:.1} ms",
        now.engine.n_flows,
        now.engine.n_incidents_open,
        now.n_blocks,
        short(dropped as f64),
        short(would as f64),
        short(now.n_malformed() as f64),
        now.ticks.flows.value_at_quantile(0.99) as f64 / 1e3,
    ));
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, picture: &Picture, way: usize) {
    let rate = picture.now.rates[way];
    let name = ["in", "out"][way];
    let title = format!(
        " {name}: {} packets/s, {} ",
        short(rate.packets_per_s),
        bits(rate.bytes_per_s)
    );
    let history = &picture.history[way];
    let width = usize::from(area.width.saturating_sub(2));
    let shown = history.get(history.len().saturating_sub(width)..);
    let line = Sparkline::default()
        .block(framed(&title))
        .style(Style::new().fg(Color::Cyan))
        .data(shown.unwrap_or_default());
    frame.render_widget(line, area);
}

fn framed(title: &str) -> Block<'_> {
    Block::default().borders(Borders::ALL).title(title)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn draw_hosts(frame: &mut Frame<'_>, area: Rect, hosts: &[Value]) {
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(0.0);
    let rows = hosts.iter().map(|row| {
        Row::new(vec![
            word(row, "host.ip").to_owned(),
            short(number(row, "in.packets_per_s")),
            bits(number(row, "in.bytes_per_s")),
            short(number(row, "out.packets_per_s")),
            bits(number(row, "out.bytes_per_s")),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(11),
    ];
    let heading = Row::new(["host", "in pkt/s", "in", "out pkt/s", "out"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths)
        .header(heading)
        .block(framed(" top hosts "));
    frame.render_widget(table, area);
}

fn draw_incidents(frame: &mut Frame<'_>, area: Rect, incidents: &[Value]) {
    let rows = incidents.iter().map(|incident| {
        let color = match word(incident, "severity") {
            "critical" | "high" => Color::Red,
            "medium" => Color::Yellow,
            _ => Color::Reset,
        };
        let color = match word(incident, "incident.state") {
            "closed" => Color::DarkGray,
            _ => color,
        };
        Row::new(vec![
            word(incident, "event.start")
                .get(11..19)
                .unwrap_or_default(),
            word(incident, "incident.state"),
            word(incident, "incident.family"),
            word(incident, "explanation"),
        ])
        .style(Style::new().fg(color))
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(16),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths).block(framed(" incidents "));
    frame.render_widget(table, area);
}

fn draw_blocks(frame: &mut Frame<'_>, area: Rect, blocks: &[Value]) {
    let rows = blocks.iter().map(|block| {
        Row::new(vec![
            word(block, "target").to_owned(),
            word(block, "action").to_owned(),
            format!("{} s", block["ttl_s"]),
            short(block["packets"].as_f64().unwrap_or(0.0)),
            word(block, "reason").to_owned(),
        ])
    });
    let widths = [
        Constraint::Length(20),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Fill(1),
    ];
    let heading = Row::new(["source", "action", "left", "packets", "reason"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths)
        .header(heading)
        .block(framed(" blocked "));
    frame.render_widget(table, area);
}

fn draw_decisions(frame: &mut Frame<'_>, area: Rect, decisions: &[Value]) {
    let rows = decisions.iter().map(|decision| {
        let guard = word(decision, "guard");
        let color = match guard {
            "allowed" => Color::Reset,
            _ => Color::Yellow,
        };
        let time = word(decision, "@timestamp").get(11..19);
        Row::new(vec![
            time.unwrap_or_default().to_owned(),
            word(decision, "decision.mode").to_owned(),
            word(decision, "decision.action").to_owned(),
            word(decision, "decision.target").to_owned(),
            match guard {
                "allowed" => word(decision, "decision.reason").to_owned(),
                refusal => refusal.to_owned(),
            },
        ])
        .style(Style::new().fg(color))
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(16),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths).block(framed(" decisions "));
    frame.render_widget(table, area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, log: &[String]) {
    let n_shown = usize::from(area.height.saturating_sub(2));
    let shown = log.get(log.len().saturating_sub(n_shown)..);
    let lines: Vec<Line<'_>> = shown
        .unwrap_or_default()
        .iter()
        .map(|line| Line::raw(line.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(framed(" log ")), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;
    use crate::agent::snapshot::{About, Rate, Ticks};

    fn picture() -> Picture {
        let about = About {
            started_ns: 1,
            attachments: Vec::new(),
            queues: Vec::new(),
        };
        let mut now = Snapshot::empty(Arc::new(about), Ticks::new().unwrap());
        now.rates[0] = Rate {
            packets_per_s: 12_345.0,
            bytes_per_s: 1e6,
        };
        Picture {
            now: Arc::new(now),
            history: [vec![1, 2, 3], Vec::new()],
            hosts: vec![json!({"host.ip": "192.0.2.1", "in.packets_per_s": 7.0})],
            incidents: vec![json!({
                "event.start": "2026-01-01T10:11:12Z", "incident.state": "opened",
                "incident.family": "syn_flood", "severity": "high", "explanation": "a flood",
            })],
            blocks: vec![json!({"target": "198.51.100.7", "action": "drop", "ttl_s": 9})],
            decisions: vec![json!({
                "@timestamp": "2026-01-01T10:11:13Z", "decision.mode": "enforce",
                "decision.action": "drop", "decision.target": "198.51.100.9",
                "guard": "refused: gateway",
            })],
            log: vec!["control socket open".to_owned()],
        }
    }

    fn screen(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &picture())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn shows_what_is_going_on() {
        let text = screen(120, 30);
        for part in [
            "monitor",
            "in: 12.3k packets/s, 8.00Mbit/s",
            "192.0.2.1",
            "10:11:12",
            "syn_flood",
            "198.51.100.7",
            "9 s",
            "refused: gateway",
            "control socket open",
        ] {
            assert!(text.contains(part), "{part} missing:\n{text}");
        }
    }

    #[test]
    fn fits_any_terminal() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            let _text = screen(width, height);
        }
    }
}
