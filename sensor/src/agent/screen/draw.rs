//! Drawing of the screen from a snapshot.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, List, ListItem, Paragraph, Sparkline};
use sensor_common::counters::Event;
use sensor_record::answer::TopHost;
use sensor_record::unit::{bits, count as short};
use sensor_record::{
    Block as Blocked, Decision, Incident, Outcome, Severity, State, Timestamp, Zone,
};
use sensor_record::{escape, text};

use super::view::{Panel, View};
use crate::agent::interfaces::Standing;
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

/// Least size of a terminal on which all panels are shown at once.
const WIDE: [u16; 2] = [120, 30];

/// Draws everything: all panels, or, on a terminal as small as 80×24, the chosen one.
pub fn draw(frame: &mut Frame<'_>, picture: &Picture, view: &mut View) {
    let area = frame.area();
    if area.width >= WIDE[0] && area.height >= WIDE[1] {
        draw_all(frame, picture, view);
    } else {
        draw_one(frame, picture, view);
    }
}

fn draw_all(frame: &mut Frame<'_>, picture: &Picture, view: &mut View) {
    let heads = head(&picture.now, frame.area().width);
    let [top, rates, middle, bottom] = Layout::vertical([
        Constraint::Length(heads.len() as u16),
        Constraint::Length(5),
        Constraint::Fill(3),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    let halves = |area| {
        let halves = [Constraint::Percentage(45), Constraint::Percentage(55)];
        Layout::horizontal(halves).areas(area)
    };
    frame.render_widget(Paragraph::new(heads), top);
    let ways: [Rect; 2] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(rates);
    for (way, area) in ways.into_iter().enumerate() {
        draw_rate(frame, area, picture, way);
    }
    let [hosts, incidents] = halves(middle);
    let [blocks, right] = halves(bottom);
    let [decisions, log] =
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
    let areas = [incidents, hosts, blocks, decisions, log];
    for (panel, area) in Panel::ALL.into_iter().zip(areas) {
        draw_panel(frame, area, picture, view, panel);
    }
}

fn draw_one(frame: &mut Frame<'_>, picture: &Picture, view: &mut View) {
    let mut heads = head(&picture.now, frame.area().width);
    let way = |way: usize| {
        let rate = picture.now.rates[way];
        format!(
            "{} {} packets/s, {}",
            ["in", "out"][way],
            short(rate.packets_per_s),
            bits(rate.bytes_per_s)
        )
    };
    heads.push(Line::raw(format!("{}   {}", way(0), way(1))));
    let mut tabs = Vec::new();
    for (n, panel) in (1..).zip(Panel::ALL) {
        let style = if panel == view.panel {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        tabs.push(Span::styled(format!(" {n} {} ", panel.label()), style));
    }
    heads.push(Line::from(tabs));
    let [top, rest] =
        Layout::vertical([Constraint::Length(heads.len() as u16), Constraint::Fill(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(heads), top);
    let chosen = view.panel;
    draw_panel(frame, rest, picture, view, chosen);
}

/// Lines about the sensor itself, within a width.
fn head(now: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let mode = match now.mode {
        Mode::Monitor => Span::styled("monitor", Style::new().fg(Color::Yellow)),
        Mode::Enforce => Span::styled("enforce", Style::new().fg(Color::Red)),
    };
    let keys = "q quits, 1-5 and Tab choose, arrows scroll";
    let first = Line::from(vec![
        Span::styled("sensor ", Style::new().add_modifier(Modifier::BOLD)),
        mode,
        Span::raw(format!("   {keys}")),
    ]);
    let counts = [
        format!("flows {}", now.engine.n_flows),
        format!("incidents open {}", now.engine.n_incidents_open),
        format!("blocked {}", now.n_blocks),
        format!("dropped {}", short(now.event(Event::Dropped) as f64)),
        format!("would drop {}", short(now.event(Event::WouldDrop) as f64)),
        format!("malformed {}", short(now.n_malformed() as f64)),
        format!(
            "look {:.1} ms",
            now.ticks.flows.value_at_quantile(0.99) as f64 / 1e3
        ),
    ];
    let width = usize::from(width);
    let mut lines = vec![first];
    lines.extend(joined(&interfaces(now), ", ", width));
    lines.extend(joined(&counts, "   ", width));
    lines
}

/// Lines of names for the interfaces, those with a fault first; of very many the rest is counted.
fn interfaces(now: &Snapshot) -> Vec<String> {
    const N_NAMED: usize = 6;
    let mut all: Vec<&Standing> = now.interfaces.iter().collect();
    all.sort_by_key(|one| one.is_attached() && one.is_link_up);
    let name = |one: &&Standing| {
        let state = match (one.is_attached(), one.is_link_up) {
            (false, _) => "not attached",
            (true, false) => "link down",
            (true, true) => one.at.mode.label(),
        };
        format!("{} ({state})", one.at.interface)
    };
    let mut names: Vec<String> = all.iter().take(N_NAMED).map(name).collect();
    if all.len() > N_NAMED {
        names.push(format!("{} more", all.len() - N_NAMED));
    }
    names
}

/// Words on as few lines as they need.
fn joined(words: &[String], between: &str, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + between.len() + word.len() <= width => {
                line.push_str(between);
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines.into_iter().map(Line::raw).collect()
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

/// One panel: its rows from the chosen one on, of which the whole is readable.
fn draw_panel(frame: &mut Frame<'_>, area: Rect, picture: &Picture, view: &mut View, panel: Panel) {
    let width = usize::from(area.width.saturating_sub(2));
    let (mut title, rows) = rows(picture, panel, width);
    let state = view.state(panel);
    let n_rows = rows.len();
    state.keep_within(n_rows);
    if let Some(at) = state.selected() {
        title = format!("{title}, {} of {n_rows}", at + 1);
    }
    let is_chosen = view.panel == panel;
    let border = if is_chosen {
        Style::new().add_modifier(Modifier::BOLD)
    } else {
        Style::new().fg(Color::DarkGray)
    };
    let title = format!(" {title} ");
    let list = List::new(rows)
        .block(framed(&title).border_style(border))
        .highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(list, area, view.state(panel).list());
}

/// Title and rows of a panel, each of as many lines as it takes at this width.
fn rows(picture: &Picture, panel: Panel, width: usize) -> (String, Vec<ListItem<'static>>) {
    let zone = &picture.zone;
    let titled = |what: &str, at: Option<Timestamp>| match at {
        // The zone of the times below.
        Some(at) => format!("{what} ({})", zone.offset(at)),
        None => what.to_owned(),
    };
    match panel {
        Panel::Incidents => {
            let at = picture.incidents.first().map(|one| one.start);
            let row = |one| incident(one, zone, width);
            let rows = picture.incidents.iter().map(row).collect();
            (titled("incidents", at), rows)
        }
        Panel::Hosts => {
            let rows = picture.hosts.iter().map(|one| host(one, width)).collect();
            ("top hosts: packets/s, bit/s in and out".to_owned(), rows)
        }
        Panel::Blocked => {
            let rows = picture.blocks.iter().map(|one| blocked(one, width));
            ("blocked".to_owned(), rows.collect())
        }
        Panel::Decisions => {
            let at = picture.decisions.first().map(|one| one.head.at);
            let row = |one| decision(one, zone, width);
            let rows = picture.decisions.iter().map(row).collect();
            (titled("decisions", at), rows)
        }
        Panel::Log => {
            let newest = picture.log.iter().rev();
            let rows = newest.map(|line| item(&safe(line), "", width, Color::Reset));
            ("log, newest first".to_owned(), rows.collect())
        }
    }
}

fn incident(incident: &Incident, zone: &Zone, width: usize) -> ListItem<'static> {
    let color = match (incident.state, incident.severity) {
        (State::Closed, _) => Color::DarkGray,
        (_, Severity::Critical | Severity::High) => Color::Red,
        (_, Severity::Medium) => Color::Yellow,
        (_, Severity::Low) => Color::Reset,
    };
    let first = format!(
        "{} {:<8} {:<7} {:<16}",
        zone.clock(incident.start),
        incident.severity.label(),
        incident.state.label(),
        safe(&incident.family)
    );
    item(&first, &safe(&incident.explanation), width, color)
}

fn host(host: &TopHost, width: usize) -> ListItem<'static> {
    let first = format!("{:<15}", host.ip.to_string());
    let rates = format!(
        "{:>6} {:>11} in {:>6} {:>11} out",
        short(host.in_packets_per_s),
        bits(host.in_bytes_per_s),
        short(host.out_packets_per_s),
        bits(host.out_bytes_per_s),
    );
    item(&first, &rates, width, Color::Reset)
}

fn blocked(block: &Blocked, width: usize) -> ListItem<'static> {
    let first = format!(
        "{:<18} {}, {} s left, {} packets",
        block.target.to_string(),
        block.action.label(),
        block.ttl_s,
        short(block.packets as f64)
    );
    item(&first, &safe(&block.reason), width, Color::Reset)
}

fn decision(decision: &Decision, zone: &Zone, width: usize) -> ListItem<'static> {
    let color = match decision.outcome {
        Outcome::Applied | Outcome::Monitored => Color::Reset,
        Outcome::Proposed | Outcome::Refused { .. } => Color::Yellow,
        Outcome::Failed { .. } => Color::Red,
    };
    let first = format!(
        "{} {}: {}",
        zone.clock(decision.head.at),
        safe(&text::measure(decision)),
        safe(&text::outcome(&decision.outcome))
    );
    item(&first, &safe(&decision.reason), width, color)
}

/// A row: what it is, and beside it, or where that is too long below it, the rest.
fn item(first: &str, rest: &str, width: usize, color: Color) -> ListItem<'static> {
    const INDENT: &str = "  ";
    let beside = format!("{first} {rest}");
    let lines = if beside.trim_end().chars().count() <= width {
        vec![beside.trim_end().to_owned()]
    } else {
        let mut lines = folded(first.trim_end(), width);
        let inner = folded(rest, width.saturating_sub(INDENT.len()));
        let rest = inner.iter().filter(|line| !line.is_empty());
        lines.extend(rest.map(|line| format!("{INDENT}{line}")));
        lines
    };
    let lines: Vec<Line<'static>> = lines.into_iter().map(Line::raw).collect();
    ListItem::new(lines).style(Style::new().fg(color))
}

/// Lines of at most `width` characters; a longer word goes on in the next line.
fn folded(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for line in text::wrapped(text, width) {
        let chars: Vec<char> = line.chars().collect();
        lines.extend(chars.chunks(width).map(String::from_iter));
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use sensor_record::{Sensor, example};

    use super::super::view::Key;
    use super::*;
    use crate::agent::snapshot::{About, Rate, Ticks};

    fn picture() -> Picture {
        let about = About::only(Sensor::new("edge-1", "5ae0"), 1);
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
        let mut view = View::default();
        let draw = |frame: &mut Frame<'_>| draw(frame, &picture(), &mut view);
        terminal.draw(draw).unwrap();
        terminal.backend().to_string()
    }

    /// The screen of 80×24 after some keys.
    fn small(picture: &Picture, keys: &[Key]) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut view = View::default();
        terminal
            .draw(|frame| draw(frame, picture, &mut view))
            .unwrap();
        for key in keys {
            view.press(*key);
            terminal
                .draw(|frame| draw(frame, picture, &mut view))
                .unwrap();
        }
        terminal.backend().to_string()
    }

    #[test]
    fn a_terminal_of_80_columns_shows_whole_sentences() {
        let sentence = "198.51.100.7 tried 900 ports of 2001:db8:1111:2222:3333:4444:5555:6666, \
                        900 in the judged window where 15 would be many, within 30 s";
        let picture = Picture {
            incidents: vec![Incident {
                explanation: sentence.to_owned(),
                ..example::incident()
            }],
            ..picture()
        };
        let text = small(&picture, &[]);
        for word in sentence.split(' ') {
            assert!(text.contains(word), "{word} missing:\n{text}");
        }
        for part in [
            "monitor",
            "q quits",
            "in 12.3k packets/s, 8.00Mbit/s",
            "look 0.0 ms",
        ] {
            assert!(text.contains(part), "{part} missing:\n{text}");
        }
    }

    #[test]
    fn each_panel_is_reached_by_its_key() {
        let shown = [
            ("1", "port_scan"),
            ("2", "192.0.2.1"),
            ("3", "9 s left"),
            ("4", "refused: gateway"),
            ("5", "control socket listening"),
        ];
        for (n, (_, part)) in shown.iter().enumerate() {
            let text = small(&picture(), &[Key::Panel(n)]);
            assert!(text.contains(part), "{part} missing:\n{text}");
        }
        let text = small(&picture(), &[Key::Next, Key::Next]);
        assert!(text.contains("9 s left"), "{text}");
        let text = small(&picture(), &[Key::Previous]);
        assert!(text.contains("control socket listening"), "{text}");
    }

    #[test]
    fn many_incidents_are_scrolled_through() {
        let one = |n: usize| Incident {
            id: format!("{n:06}-aa"),
            explanation: format!("scan number {n}."),
            ..example::incident()
        };
        let picture = Picture {
            incidents: (0..500).map(one).collect(),
            ..picture()
        };
        let first = small(&picture, &[]);
        assert!(first.contains("number 0.") && !first.contains("number 499."));
        let last = small(&picture, &[Key::End]);
        assert!(
            last.contains("number 499.") && last.contains("500 of 500"),
            "{last}"
        );
        let down = small(&picture, &[Key::Down; 40]);
        assert!(
            down.contains("number 39.") && down.contains("40 of 500"),
            "{down}"
        );
        let page = small(&picture, &[Key::PageDown, Key::PageDown, Key::PageUp]);
        assert!(page.contains("number 9."), "{page}");
        let back = small(&picture, &[Key::End, Key::Home, Key::Up]);
        assert!(
            back.contains("number 0.") && back.contains("1 of 500"),
            "{back}"
        );
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
