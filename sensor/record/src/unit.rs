//! Quantities as people read them.

use std::time::Duration;

/// 1234567 as `1.23M`.
pub fn count(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e12 => (v / 1e12, "T"),
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => return format!("{v:.0}"),
    };
    match value {
        v if v >= 100.0 => format!("{v:.0}{unit}"),
        v if v >= 10.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

/// Bytes as `1.23 MB`, by powers of ten.
pub fn bytes(value: f64) -> String {
    let short = count(value);
    match short.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(digits) => format!("{digits} {}B", &short[digits.len()..]),
        None => format!("{short} B"),
    }
}

/// Bytes a second as bits a second: `1.23Mbit/s`.
pub fn bits(bytes_per_s: f64) -> String {
    format!("{}bit/s", count(bytes_per_s * 8.0))
}

/// Four digits, without an exponent where one can do without.
pub fn number(x: f64) -> String {
    match x.abs() {
        a if a >= 1e6 => format!("{x:.3e}"),
        a if a >= 100.0 || x.fract() == 0.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.1}"),
        _ => format!("{x:.3}"),
    }
}

/// `1h 2m 3s`, in whole seconds.
pub fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        for (value, text) in [
            (0.0, "0"),
            (9_999.0, "9999"),
            (12_340.0, "12.3k"),
            (1_234_567.0, "1.23M"),
            (5e11, "500G"),
        ] {
            assert_eq!(count(value), text);
        }
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(12_340.0), "12.3 kB");
        assert_eq!(bits(1e6), "8.00Mbit/s");
        assert_eq!(duration(3_723), "1h 2m 3s");
        for (value, text) in [
            (900.0, "900"),
            (0.97, "0.970"),
            (3.1, "3.1"),
            (2.5e6, "2.500e6"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
