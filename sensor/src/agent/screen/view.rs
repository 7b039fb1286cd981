//! Choice of a panel and a row of the live view, and the keys for it.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::widgets::ListState;

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    #[default]
    Incidents,
    Hosts,
    Blocked,
    Decisions,
    Log,
}

impl Panel {
    /// Every panel, in the order of their keys.
    pub const ALL: [Self; 5] = [
        Self::Incidents,
        Self::Hosts,
        Self::Blocked,
        Self::Decisions,
        Self::Log,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Hosts => "hosts",
            Self::Blocked => "blocked",
            Self::Decisions => "decisions",
            Self::Log => "log",
        }
    }
}

/// A key with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Quit,
    /// The panel of this place.
    Panel(usize),
    Next,
    Previous,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl Key {
    /// Meaning of a key that was pressed, if it has one.
    pub fn of(code: KeyCode, modifiers: KeyModifiers) -> Option<Self> {
        Some(match code {
            KeyCode::Char('q') | KeyCode::Esc => Self::Quit,
            // Raw mode makes a key of what is a signal else.
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Self::Quit,
            KeyCode::Char(digit @ '1'..='5') => Self::Panel(digit as usize - '1' as usize),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Self::Next,
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => Self::Previous,
            KeyCode::Up | KeyCode::Char('k') => Self::Up,
            KeyCode::Down | KeyCode::Char('j') => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown | KeyCode::Char(' ') => Self::PageDown,
            KeyCode::Home | KeyCode::Char('g') => Self::Home,
            KeyCode::End | KeyCode::Char('G') => Self::End,
            _ => return None,
        })
    }
}

/// Rows that a page key goes by: a page of two-line rows at 24 lines.
const PAGE: usize = 8;

/// Chosen row of a panel; none, so that the newest is on top, until a key chooses one.
#[derive(Clone, Debug, Default)]
pub struct Place(ListState);

impl Place {
    pub fn selected(&self) -> Option<usize> {
        self.0.selected()
    }

    /// Keeps the choice within the rows that there are.
    pub fn keep_within(&mut self, n_rows: usize) {
        if let Some(at) = self.0.selected() {
            self.0
                .select(n_rows.checked_sub(1).map(|last| at.min(last)));
        }
    }

    /// The state that the list is drawn by.
    pub fn list(&mut self) -> &mut ListState {
        &mut self.0
    }

    fn press(&mut self, key: Key) {
        let at = self.0.selected();
        let next = match (key, at) {
            (Key::Up, Some(at)) => at.saturating_sub(1),
            (Key::PageUp, Some(at)) => at.saturating_sub(PAGE),
            (Key::Down, Some(at)) => at.saturating_add(1),
            (Key::PageDown, at) => at.unwrap_or(0).saturating_add(PAGE),
            (Key::End, _) => usize::MAX,
            (Key::Up | Key::PageUp | Key::Down | Key::Home, _) => 0,
            (Key::Quit | Key::Panel(_) | Key::Next | Key::Previous, _) => return,
        };
        self.0.select(Some(next));
    }
}

/// Choice on the screen.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub panel: Panel,
    places: [Place; Panel::ALL.len()],
    /// The chosen incident: rows that come in above do not move it.
    anchor: Option<String>,
}

impl View {
    pub fn state(&mut self, panel: Panel) -> &mut Place {
        &mut self.places[panel as usize]
    }

    /// Follows a key other than the one that quits.
    pub fn press(&mut self, key: Key) {
        let at = self.panel as usize;
        let n = Panel::ALL.len();
        let panel = match key {
            Key::Panel(at) => at,
            Key::Next => (at + 1) % n,
            Key::Previous => (at + n - 1) % n,
            _ => {
                self.state(self.panel).press(key);
                self.anchor = None;
                return;
            }
        };
        self.panel = Panel::ALL.get(panel).copied().unwrap_or_default();
    }

    /// Keeps the chosen incident chosen, wherever it is by now.
    pub fn follow(&mut self, ids: &[&str]) {
        let place = self.state(Panel::Incidents);
        let Some(at) = place.selected() else {
            return;
        };
        place.keep_within(ids.len());
        let known = self.anchor.as_deref();
        let now = known.and_then(|known| ids.iter().position(|id| *id == known));
        let at = now.unwrap_or(at.min(ids.len().saturating_sub(1)));
        self.anchor = ids.get(at).map(|id| (*id).to_owned());
        self.state(Panel::Incidents).list().select(Some(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_incident_stays_chosen_when_new_ones_come() {
        let mut view = View::default();
        view.follow(&["c", "b", "a"]);
        assert_eq!(view.state(Panel::Incidents).selected(), None);
        view.press(Key::Down);
        view.press(Key::Down);
        view.follow(&["c", "b", "a"]);
        view.follow(&["e", "d", "c", "b", "a"]);
        assert_eq!(view.state(Panel::Incidents).selected(), Some(3));
        // It is forgotten.
        view.follow(&["f", "e"]);
        assert_eq!(view.state(Panel::Incidents).selected(), Some(1));
    }

    #[test]
    fn keys_have_their_meanings() {
        let none = KeyModifiers::NONE;
        assert_eq!(Key::of(KeyCode::Char('q'), none), Some(Key::Quit));
        assert_eq!(Key::of(KeyCode::Char('c'), none), None);
        let control = KeyModifiers::CONTROL;
        assert_eq!(Key::of(KeyCode::Char('c'), control), Some(Key::Quit));
        assert_eq!(Key::of(KeyCode::Char('5'), none), Some(Key::Panel(4)));
        assert_eq!(Key::of(KeyCode::Char('6'), none), None);
        assert_eq!(Key::of(KeyCode::PageDown, none), Some(Key::PageDown));
    }
}
