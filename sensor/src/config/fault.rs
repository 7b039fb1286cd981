//! Faults of a configuration.

use std::fmt;

use super::leaf::Origin;

/// One fault: where, which key, what and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// File and line, variable or flag; empty where there is none.
    pub place: String,
    /// Dotted key; empty where there is none.
    pub path: String,
    pub message: String,
}

impl Fault {
    pub(super) fn at(origin: &Origin, path: &str, message: String) -> Self {
        Self {
            place: origin.to_string(),
            path: path.to_owned(),
            message,
        }
    }

    pub(super) fn anywhere(message: String) -> Self {
        Self {
            place: String::new(),
            path: String::new(),
            message,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.path] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// Every fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "config: {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
