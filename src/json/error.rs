use serde_json::error::Category;
use thiserror::Error;

/// A body that could not be read. It says where and in what way, and repeats nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct PayloadError {
    kind: PayloadErrorKind,
    line: usize,
    column: usize,
}

/// In what way a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadErrorKind {
    /// The bytes are not JSON, end too early, or nest deeper than 128 levels.
    #[error("not JSON")]
    Syntax,
    /// JSON of another shape: a field that identifies the payload is missing or of another type, a name
    /// occurs twice, or the whole is not an object.
    #[error("not the documented shape")]
    Shape,
}

impl PayloadError {
    /// In what way the body could not be read.
    pub fn kind(&self) -> PayloadErrorKind {
        self.kind
    }

    /// The line of the body, from 1, where reading stopped; 0 if that is not known.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column of that line, from 1, where reading stopped; 0 if that is not known.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Drops serde_json's message, which quotes the body.
    pub(crate) fn from_serde(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Data => PayloadErrorKind::Shape,
            Category::Syntax | Category::Eof | Category::Io => PayloadErrorKind::Syntax,
        };
        Self {
            kind,
            line: error.line(),
            column: error.column(),
        }
    }
}
