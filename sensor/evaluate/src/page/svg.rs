//! Just enough of SVG for plots. Colours come from the page's style sheet by class, so that they
//! follow its theme.

use std::fmt::Write as _;

use crate::table::escape;

/// Pictures grow no further than this where there is room.
const MOST_ENLARGED: f64 = 1.2;

/// One picture. Lengths are in user units, which are pixels where there is room.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// Alignment of a text to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

impl Svg {
    /// `label` says what it shows, for those who can't see it.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Self {
            width,
            height,
            label: label.to_owned(),
            body: String::new(),
        }
    }

    pub fn rect(&mut self, class: &str, area: Area, title: &str) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            short(area.x),
            short(area.y),
            short(area.width.max(0.0)),
            short(area.height.max(0.0)),
        );
        self.close("rect", title);
    }

    pub fn circle(&mut self, class: &str, at: (f64, f64), radius: f64, title: &str) {
        let _ = write!(
            self.body,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"",
            short(at.0),
            short(at.1),
            short(radius),
        );
        self.close("circle", title);
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            short(from.0),
            short(from.1),
            short(to.0),
            short(to.1),
        );
    }

    /// Straight from point to point; nothing where there are none.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], title: &str) {
        let Some(((x, y), rest)) = points.split_first() else {
            return;
        };
        let _ = write!(
            self.body,
            "<path class=\"{class}\" d=\"M{} {}",
            short(*x),
            short(*y)
        );
        for (x, y) in rest {
            let _ = write!(self.body, "L{} {}", short(*x), short(*y));
        }
        self.body.push('"');
        self.close("path", title);
    }

    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
            short(at.0),
            short(at.1),
            anchor.name(),
            escape(text),
        );
    }

    /// Turned about its point, in degrees.
    pub fn turned(&mut self, at: (f64, f64), degrees: f64, anchor: Anchor, text: &str) {
        let (x, y) = (short(at.0), short(at.1));
        let _ = writeln!(
            self.body,
            "<text transform=\"translate({x} {y}) rotate({})\" text-anchor=\"{}\">{}</text>",
            short(degrees),
            anchor.name(),
            escape(text),
        );
    }

    fn close(&mut self, tag: &str, title: &str) {
        if title.is_empty() {
            self.body.push_str("/>\n");
        } else {
            let _ = writeln!(self.body, "><title>{}</title></{tag}>", escape(title));
        }
    }

    pub fn finish(self) -> String {
        format!(
            "<svg viewBox=\"0 0 {} {}\" style=\"max-width:{}px\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            short(self.width),
            short(self.height),
            short(self.width * MOST_ENLARGED),
            escape(&self.label),
            self.body
        )
    }
}

/// A tenth of a unit is finer than a pixel.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_well_formed_svg() {
        let mut svg = Svg::new(100.0, 50.0, "a < b");
        let area = Area {
            x: 1.25,
            y: 0.0,
            width: -1.0,
            height: 2.0,
        };
        svg.rect("r", area, "x & y");
        svg.path("p", &[(0.0, 0.04), (10.0, 3.0)], "");
        svg.path("none", &[], "");
        let text = svg.finish();
        assert!(text.contains("aria-label=\"a &lt; b\""), "{text}");
        assert!(text.contains(
            "x=\"1.2\" y=\"0\" width=\"0\" height=\"2\"><title>x &amp; y</title></rect>"
        ));
        assert!(text.contains("d=\"M0 0L10 3\"/>"), "{text}");
        assert!(!text.contains("none"));
    }
}
