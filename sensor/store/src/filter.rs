//! The language in which something is looked for, close to that of capture filters (pcap-filter(7)):
//! `host 192.0.2.7 and (port 443 or not proto tcp) last 2h`.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use rusqlite::types::Value;
use sensor_engine::{SECOND_NS, parse_network, parse_time};
use sensor_record::{Severity, Timestamp, protocol};

use crate::address::range;

/// Bytes of an expression.
pub const MAX_FILTER_BYTES: usize = 1_024;
/// Parentheses and negations within one another.
const MAX_DEPTH: usize = 16;

/// End of a conversation that a term is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Either,
    Source,
    Destination,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Network(Side, IpNet),
    Port(Side, u16),
    Protocol(u8),
    Family(String),
    Severity(Severity),
    /// Not over before, ns.
    Since(u64),
    /// Begun by then, ns.
    Until(u64),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
}

/// Kind of thing that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Flows,
    Incidents,
}

/// Condition on what is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expression);

/// Fault of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError(String);

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads an expression; times with `last` are before `now_ns`.
    ///
    /// # Errors
    /// What is wrong, and what is allowed there.
    pub fn parse(text: &str, now_ns: u64) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_BYTES {
            let n = text.len();
            return Err(FilterError(format!(
                "an expression of {n} bytes: shorten it to {MAX_FILTER_BYTES}"
            )));
        }
        let words = words(text);
        let mut parser = Parser {
            words: &words,
            now_ns,
            depth: 0,
        };
        if words.is_empty() {
            return Ok(Self(Expression::All(Vec::new())));
        }
        let expression = parser.any()?;
        match parser.words {
            [] => Ok(Self(expression)),
            [word, ..] => Err(FilterError(format!(
                "\"{word}\" stands where `and` or `or` belongs"
            ))),
        }
    }

    /// Condition in SQL with its values; none where a term says nothing of that kind of thing.
    pub(crate) fn sql(&self, kind: Kind) -> Option<(String, Vec<Value>)> {
        let mut values = Vec::new();
        let condition = sql(&self.0, kind, &mut values)?;
        Some((condition, values))
    }

    /// Times outside of which nothing matches, ns.
    pub(crate) fn span(&self) -> (u64, u64) {
        span(&self.0)
    }
}

fn span(expression: &Expression) -> (u64, u64) {
    match expression {
        Expression::Since(at) => (*at, u64::MAX),
        Expression::Until(at) => (0, *at),
        Expression::All(parts) => parts
            .iter()
            .map(span)
            .fold((0, u64::MAX), |a, b| (a.0.max(b.0), a.1.min(b.1))),
        _ => (0, u64::MAX),
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let alone = match c {
            '(' | ')' | '!' => Some(c.to_string()),
            '&' | '|' if rest.peek() == Some(&c) => {
                rest.next();
                Some(if c == '&' { "and" } else { "or" }.to_owned())
            }
            c if c.is_whitespace() => Some(String::new()),
            _ => None,
        };
        match alone {
            Some(word) => words.extend([word, String::new()]),
            None => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

struct Parser<'a> {
    words: &'a [String],
    now_ns: u64,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.first().map(String::as_str)
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, FilterError> {
        let Some((word, rest)) = self.words.split_first() else {
            return Err(FilterError(format!("it ends where {wanted} belongs")));
        };
        self.words = rest;
        Ok(word)
    }

    fn any(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all()?];
        while self.peek() == Some("or") {
            self.next("or")?;
            parts.push(self.all()?);
        }
        Ok(one_of(parts, Expression::Any))
    }

    /// Terms one after another, with or without `and`.
    fn all(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.one()?];
        loop {
            match self.peek() {
                None | Some("or" | ")") => return Ok(one_of(parts, Expression::All)),
                Some("and") => {
                    self.next("and")?;
                    parts.push(self.one()?);
                }
                Some(_) => parts.push(self.one()?),
            }
        }
    }

    fn one(&mut self) -> Result<Expression, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError(format!(
                "more than {MAX_DEPTH} parentheses within one another"
            )));
        }
        let word = self.next("a term")?;
        let term = match word {
            "not" | "!" => Expression::Not(Box::new(self.one()?)),
            "(" => {
                let inside = self.any()?;
                match self.next("`)`")? {
                    ")" => inside,
                    other => {
                        return Err(FilterError(format!("\"{other}\" stands where `)` belongs")));
                    }
                }
            }
            "src" => self.end(Side::Source)?,
            "dst" => self.end(Side::Destination)?,
            "host" | "net" => self.network(Side::Either)?,
            "port" => self.port(Side::Either)?,
            "proto" => self.protocol()?,
            "family" => Expression::Family(self.next("a family")?.to_owned()),
            "severity" => self.severity()?,
            "since" => Expression::Since(self.time()?),
            "until" => Expression::Until(self.time()?),
            "last" => self.last()?,
            word => plain(word)?,
        };
        self.depth -= 1;
        Ok(term)
    }

    fn end(&mut self, side: Side) -> Result<Expression, FilterError> {
        match self.next("host, net or port")? {
            "host" | "net" => self.network(side),
            "port" => self.port(side),
            word => network(word).map(|network| Expression::Network(side, network)),
        }
    }

    fn network(&mut self, side: Side) -> Result<Expression, FilterError> {
        let word = self.next("an address")?;
        network(word).map(|network| Expression::Network(side, network))
    }

    fn port(&mut self, side: Side) -> Result<Expression, FilterError> {
        let word = self.next("a port")?;
        let port = word.parse();
        let port =
            port.map_err(|_| FilterError(format!("\"{word}\" is no port, a number up to 65535")))?;
        Ok(Expression::Port(side, port))
    }

    fn protocol(&mut self) -> Result<Expression, FilterError> {
        let word = self.next("a protocol")?;
        protocol(word)
            .map(Expression::Protocol)
            .map_err(FilterError)
    }

    fn severity(&mut self) -> Result<Expression, FilterError> {
        let word = self.next("a severity")?;
        let found = Severity::ALL.into_iter().find(|one| one.label() == word);
        let wanted = || FilterError(format!("\"{word}\" is none of low, medium, high, critical"));
        found.map(Expression::Severity).ok_or_else(wanted)
    }

    fn time(&mut self) -> Result<u64, FilterError> {
        let word = self.next("a time")?;
        let at = Timestamp::from_str(word)
            .map_err(|cause| FilterError(format!("\"{word}\": {cause}")))?;
        Ok(at.0)
    }

    fn last(&mut self) -> Result<Expression, FilterError> {
        let word = self.next("a duration")?;
        let wanted = || FilterError(format!("\"{word}\" is no duration such as 15m, 2h or 7d"));
        let (number, scale) = match word.strip_suffix('d') {
            Some(days) => (days.to_owned(), 24 * 3_600 * SECOND_NS),
            None => (parse_time(word).map_err(|_| wanted())?.to_string(), 1),
        };
        let ns = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(scale));
        Ok(Expression::Since(
            self.now_ns.saturating_sub(ns.ok_or_else(wanted)?),
        ))
    }
}

fn one_of(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => many(parts),
    }
}

/// A word that stands alone: an address, a network or a protocol.
fn plain(word: &str) -> Result<Expression, FilterError> {
    if let Ok(network) = network(word) {
        return Ok(Expression::Network(Side::Either, network));
    }
    protocol(word).map(Expression::Protocol).map_err(|_| {
        FilterError(format!(
            "\"{word}\" is no term: [src|dst] host, net or port, proto, family, severity, since, until, \
             last, joined by and, or, not"
        ))
    })
}

fn network(word: &str) -> Result<IpNet, FilterError> {
    parse_network(word).map_err(FilterError)
}

fn sql(expression: &Expression, kind: Kind, values: &mut Vec<Value>) -> Option<String> {
    let number = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    Some(match expression {
        Expression::All(parts) if parts.is_empty() => "1".to_owned(),
        Expression::All(parts) => joined(parts, " AND ", kind, values)?,
        Expression::Any(parts) => joined(parts, " OR ", kind, values)?,
        Expression::Not(inner) => format!("NOT ({})", sql(inner, kind, values)?),
        Expression::Network(side, network) => {
            let (first, last) = range(network);
            let length = first.len();
            let one = |column: &str, values: &mut Vec<Value>| {
                values.extend([Value::Blob(first.clone()), Value::Blob(last.clone())]);
                format!("({column} BETWEEN ? AND ? AND length({column}) = {length})")
            };
            match kind {
                Kind::Flows => of_sides(*side, ["source", "destination"], values, one),
                Kind::Incidents => {
                    let condition = one("address", values);
                    let side = of_side(*side);
                    format!("id IN (SELECT incident FROM end WHERE {condition}{side})")
                }
            }
        }
        Expression::Port(side, port) => match kind {
            Kind::Flows => of_sides(
                *side,
                ["source_port", "destination_port"],
                values,
                |column, values| {
                    values.push(number((*port).into()));
                    format!("{column} = ?")
                },
            ),
            // Only ports that it is done to are known.
            Kind::Incidents if *side == Side::Source => return None,
            Kind::Incidents => {
                values.push(number((*port).into()));
                "id IN (SELECT incident FROM port WHERE port = ?)".to_owned()
            }
        },
        Expression::Protocol(protocol) => match kind {
            Kind::Flows => format!("protocol = {protocol}"),
            Kind::Incidents => return None,
        },
        Expression::Family(family) => match kind {
            Kind::Flows => return None,
            Kind::Incidents => {
                values.push(Value::Text(family.clone()));
                "family = ?".to_owned()
            }
        },
        Expression::Severity(least) => match kind {
            Kind::Flows => return None,
            Kind::Incidents => format!("severity >= {}", *least as u8),
        },
        Expression::Since(at) => {
            values.push(number(*at));
            "until >= ?".to_owned()
        }
        Expression::Until(at) => {
            values.push(number(*at));
            "since <= ?".to_owned()
        }
    })
}

fn joined(parts: &[Expression], by: &str, kind: Kind, values: &mut Vec<Value>) -> Option<String> {
    let parts: Option<Vec<String>> = parts.iter().map(|part| sql(part, kind, values)).collect();
    Some(format!("({})", parts?.join(by)))
}

fn of_sides(
    side: Side,
    [source, destination]: [&str; 2],
    values: &mut Vec<Value>,
    mut one: impl FnMut(&str, &mut Vec<Value>) -> String,
) -> String {
    match side {
        Side::Source => one(source, values),
        Side::Destination => one(destination, values),
        Side::Either => {
            let source = one(source, values);
            format!("({source} OR {})", one(destination, values))
        }
    }
}

const fn of_side(side: Side) -> &'static str {
    match side {
        Side::Either => "",
        Side::Source => " AND side = 0",
        Side::Destination => " AND side = 1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(text: &str) -> (Option<String>, Option<String>) {
        let filter = Filter::parse(text, 10 * 86_400 * SECOND_NS).unwrap();
        let of = |kind| filter.sql(kind).map(|(condition, _)| condition);
        (of(Kind::Flows), of(Kind::Incidents))
    }

    #[test]
    fn terms_bind_as_in_capture_filters() {
        let (flows, _) = conditions("port 1 or port 2 and not proto tcp");
        let port = "(source_port = ? OR destination_port = ?)";
        assert_eq!(
            flows.unwrap(),
            format!("({port} OR ({port} AND NOT (protocol = 6)))")
        );
        assert_eq!(
            conditions("udp port 53").0,
            conditions("proto udp && (port 53)").0
        );
        assert_eq!(conditions("").0.unwrap(), "1");
    }

    #[test]
    fn a_term_that_says_nothing_of_a_kind_leaves_that_kind_out() {
        let (flows, incidents) = conditions("family port_scan and severity high");
        assert_eq!(flows, None);
        assert_eq!(incidents.unwrap(), "(family = ? AND severity >= 2)");
        assert_eq!(conditions("src port 53").1, None);
        assert!(
            conditions("host 192.0.2.7")
                .1
                .unwrap()
                .contains("IN (SELECT")
        );
    }

    #[test]
    fn times_bound_what_is_read() {
        let now = 10 * 86_400 * SECOND_NS;
        let span = |text: &str| Filter::parse(text, now).unwrap().span();
        assert_eq!(span("host ::1 last 2d"), (8 * 86_400 * SECOND_NS, u64::MAX));
        assert_eq!(span("last 90s or port 1"), (0, u64::MAX));
        assert_eq!(
            span("until 1970-01-01T00:00:01Z since 1970-01-01T00:00:00Z"),
            (0, SECOND_NS)
        );
    }

    #[test]
    fn wrong_expressions_are_refused_with_the_word() {
        for (text, part) in [
            ("host", "ends where an address belongs"),
            ("(port 1", "ends where `)` belongs"),
            ("port 1)", "\")\" stands where"),
            ("port x", "no port"),
            ("severity huge", "none of low"),
            ("last week", "no duration"),
            ("since yesterday", "RFC 3339"),
            ("1; DROP TABLE flow", "is no term"),
            ("and", "is no term"),
        ] {
            let refused = Filter::parse(text, 0).unwrap_err().to_string();
            assert!(refused.contains(part), "{text}: {refused}");
        }
        assert!(Filter::parse(&"(".repeat(1_000), 0).is_err());
        assert!(Filter::parse(&"! ".repeat(500), 0).is_err());
        assert!(Filter::parse(&"x".repeat(2_000), 0).is_err());
    }
}
