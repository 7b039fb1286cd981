//! Reasons for which a file is no network for us, each a sentence.

use std::fmt;

/// Reason to refuse a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The bytes are no ONNX file.
    Damaged(String),
    /// A file in order that asks for what is not evaluated here.
    Unsupported(String),
    /// More than the limits of this crate.
    TooLarge(String),
    /// Layers whose shapes don't fit each other.
    Shape(String),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "no ONNX file: {what}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::TooLarge(what) => write!(f, "too large: {what}"),
            Self::Shape(what) => write!(f, "shapes don't fit: {what}"),
        }
    }
}

impl std::error::Error for NetworkError {}

pub(crate) type Result<T> = std::result::Result<T, NetworkError>;

pub(crate) fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(NetworkError::Damaged(what.into()))
}

pub(crate) fn unsupported<T>(what: impl Into<String>) -> Result<T> {
    Err(NetworkError::Unsupported(what.into()))
}

pub(crate) fn too_large<T>(what: impl Into<String>) -> Result<T> {
    Err(NetworkError::TooLarge(what.into()))
}

pub(crate) fn misfit<T>(what: impl Into<String>) -> Result<T> {
    Err(NetworkError::Shape(what.into()))
}
