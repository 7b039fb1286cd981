//! Drawing of the screen from a snapshot.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};
use sensor_common::counters::Event;
use sensor_record::answer::TopHost;
use sensor_record::unit::{bits, count as short};
use sensor_record::{
    Block as Blocked, Decision, Incident, Outcome, Severity, State, Timestamp, Zone,
};
use sensor_record::{escape, text};

use crate::agent::snapshot::Snapshot;
use sensor_respond::Mode;

/// Everything that is shown.
pub struct Picture {
    pub now: Arc<Snapshot>,
    /// Packets a second of the last looks, the newest last: ingress and egress.
    pub history: [Vec<u64>; 2],
    pub hosts: Vec<TopHost>,
    pub incidents: Vec<Incident>,
    pub blocks: Vec<Blocked>,
    /// The newest first.
    pub decisions: Vec<Decision>,
    /// Time zone of the times shown.
    pub zone: Zone,
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
    draw_incidents(frame, right, picture);
    let [left, right] = halves(bottom);
    draw_blocks(frame, left, &picture.blocks);
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
    draw_decisions(frame, upper, picture);
    draw_log(frame, lower, &picture.log);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, now: &Snapshot) {
    let mode = match now.mode {
        Mode::Monitor => Span::styled("monitor", Style::new().fg(Color::Yellow)),
        Mode::Enforce => Span::styled("enforce", Style::new().fg(Color::Red)),
    };
    let interfaces: Vec<String> = now
        .interfaces
        .iter()
        .map(|one| match (one.is_attached(), one.is_link_up) {
            (false, _) => format!("{} (not attached)", one.at.interface),
            (true, false) => format!("{} (link down)", one.at.interface),
            (true, true) => format!("{} ({})", one.at.interface, one.at.mode.label()),
        })
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

fn safe(text: &str) -> String {
    escape(text).into_owned()
}

fn draw_hosts(frame: &mut Frame<'_>, area: Rect, hosts: &[TopHost]) {
    let rows = hosts.iter().map(|host| {
        Row::new(vec![
            host.ip.to_string(),
            short(host.in_packets_per_s),
            bits(host.in_bytes_per_s),
            short(host.out_packets_per_s),
            bits(host.out_bytes_per_s),
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

/// A title that says what zone the times below are in.
fn titled(what: &str, zone: &Zone, at: Option<Timestamp>) -> String {
    match at {
        Some(at) => format!(" {what} ({}) ", zone.offset(at)),
        None => format!(" {what} "),
    }
}

fn draw_incidents(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let Picture {
        incidents, zone, ..
    } = picture;
    let rows = incidents.iter().map(|incident| {
        let color = match (incident.state, incident.severity) {
            (State::Closed, _) => Color::DarkGray,
            (_, Severity::Critical | Severity::High) => Color::Red,
            (_, Severity::Medium) => Color::Yellow,
            (_, Severity::Low) => Color::Reset,
        };
        Row::new(vec![
            zone.clock(incident.start),
            incident.state.label().to_owned(),
            safe(&incident.family),
            safe(&incident.explanation),
        ])
        .style(Style::new().fg(color))
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(16),
        Constraint::Fill(1),
    ];
    let title = titled("incidents", zone, incidents.first().map(|i| i.start));
    let table = Table::new(rows, widths).block(framed(&title));
    frame.render_widget(table, area);
}

fn draw_blocks(frame: &mut Frame<'_>, area: Rect, blocks: &[Blocked]) {
    let rows = blocks.iter().map(|block| {
        Row::new(vec![
            block.target.to_string(),
            block.action.label().to_owned(),
            format!("{} s", block.ttl_s),
            short(block.packets as f64),
            safe(&block.reason),
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

fn draw_decisions(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let Picture {
        decisions, zone, ..
    } = picture;
    let rows = decisions.iter().map(|decision| {
        let color = match decision.outcome {
            Outcome::Applied | Outcome::Monitored => Color::Reset,
            Outcome::Proposed | Outcome::Refused { .. } => Color::Yellow,
            Outcome::Failed { .. } => Color::Red,
        };
        Row::new(vec![
            zone.clock(decision.head.at),
            safe(&text::measure(decision)),
            safe(&text::outcome(&decision.outcome)),
            safe(&decision.reason),
        ])
        .style(Style::new().fg(color))
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(26),
        Constraint::Length(18),
        Constraint::Fill(1),
    ];
    let title = titled("decisions", zone, decisions.first().map(|d| d.head.at));
    let table = Table::new(rows, widths).block(framed(&title));
    frame.render_widget(table, area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, log: &[String]) {
    let n_shown = usize::from(area.height.saturating_sub(2));
    let shown = log.get(log.len().saturating_sub(n_shown)..);
    let lines: Vec<Line<'_>> = shown
        .unwrap_or_default()
        .iter()
        .map(|line| Line::raw(escape(line)))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(framed(" log ")), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use sensor_record::{Sensor, example};

    use super::*;
    use crate::agent::snapshot::{About, Rate, Ticks};

    fn picture() -> Picture {
        let about = About {
            sensor: Arc::new(Sensor::new("edge-1", "5ae0")),
            started_ns: 1,
            queues: Vec::new(),
            outputs: Vec::new(),
        };
        let mut now = Snapshot::empty(Arc::new(about), Ticks::new().unwrap());
        now.rates[0] = Rate {
            packets_per_s: 12_345.0,
            bytes_per_s: 1e6,
        };
        Picture {
            now: Arc::new(now),
            history: [vec![1, 2, 3], Vec::new()],
            zone: Zone::utc(),
            hosts: vec![TopHost {
                ip: "192.0.2.1".parse().unwrap(),
                in_packets_per_s: 7.0,
                in_bytes_per_s: 0.0,
                out_packets_per_s: 0.0,
                out_bytes_per_s: 0.0,
            }],
            incidents: vec![Incident {
                explanation: "a \x1b[2Jscan".to_owned(),
                ..example::incident()
            }],
            blocks: vec![Blocked {
                ttl_s: 9,
                ..example::block()
            }],
            decisions: vec![example::decision()],
            log: vec!["control socket listening".to_owned()],
        }
    }

    fn screen(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &picture())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_live_view_shows_rates_incidents_and_refusals() {
        let text = screen(160, 30);
        for part in [
            "monitor",
            "in: 12.3k packets/s, 8.00Mbit/s",
            "192.0.2.1",
            "incidents (Z)",
            "03:04:05",
            "port_scan",
            "a \\u{1b}[2Jscan",
            "198.51.100.7",
            "9 s",
            "refused: gateway",
            "control socket listening",
        ] {
            assert!(text.contains(part), "{part} missing:\n{text}");
        }
    }

    #[test]
    fn the_live_view_is_drawn_at_any_size() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            let _text = screen(width, height);
        }
    }
}
