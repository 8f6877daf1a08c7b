//! Words that very many rows have in common, as small numbers.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use crate::delivery::Outcome;

/// A word's row id.
pub(super) type WordNo = i64;

/// How many are kept in memory. When there are more, all are dropped.
const CAPACITY: usize = 16_384;

/// What a word is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Webhook = 1,
    Scope = 2,
    Kind = 3,
    Outcome = 4,
}

const ROLES: usize = 4;

/// The words that were needed lately. They never change, so what is known of them stays true, but for those of a
/// transaction that was rolled back.
#[derive(Default)]
pub(super) struct Words {
    numbers: [HashMap<Arc<str>, WordNo>; ROLES],
    texts: HashMap<WordNo, Arc<str>>,
}

impl Words {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The number of a word, which is given one if it has none.
    pub(super) fn number(&mut self, conn: &Connection, role: Role, text: &str) -> Result<WordNo, Fault> {
        if let Some(number) = self.find(conn, role, text)? {
            return Ok(number);
        }
        let number = conn
            .prepare_cached("INSERT INTO words (role, word) VALUES (?1, ?2)")?
            .insert((role as i64, text))?;
        self.remember(role, text, number);
        Ok(number)
    }

    /// The number of a word, if it has one.
    pub(super) fn find(
        &mut self,
        conn: &Connection,
        role: Role,
        text: &str,
    ) -> Result<Option<WordNo>, Fault> {
        if let Some(number) = self.numbers[role as usize - 1].get(text) {
            return Ok(Some(*number));
        }
        let number = conn
            .prepare_cached("SELECT id FROM words WHERE role = ?1 AND word = ?2")?
            .query_row((role as i64, text), |row| row.get(0))
            .optional()?;
        if let Some(number) = number {
            self.remember(role, text, number);
        }
        Ok(number)
    }

    /// The word of that number.
    pub(super) fn text(&mut self, conn: &Connection, number: WordNo) -> Result<Arc<str>, Fault> {
        if let Some(text) = self.texts.get(&number) {
            return Ok(Arc::clone(text));
        }
        let text: Option<String> = conn
            .prepare_cached("SELECT word FROM words WHERE id = ?1")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        let text: Arc<str> = text.ok_or(Fault::Unreadable("word"))?.into();
        self.make_room();
        self.texts.insert(number, Arc::clone(&text));
        Ok(text)
    }

    pub(super) fn outcome(&mut self, conn: &Connection, number: WordNo) -> Result<Outcome, Fault> {
        read_outcome(&self.text(conn, number)?).ok_or(Fault::Unreadable("outcome"))
    }

    fn remember(&mut self, role: Role, text: &str, number: WordNo) {
        self.make_room();
        self.numbers[role as usize - 1].insert(text.into(), number);
    }

    fn make_room(&mut self) {
        if self.numbers.iter().map(HashMap::len).sum::<usize>() + self.texts.len() >= CAPACITY {
            self.forget();
        }
    }
}

/// Every outcome there has been, with its number.
pub(super) fn outcomes(conn: &Connection) -> Result<Vec<(WordNo, Outcome)>, Fault> {
    conn.prepare_cached("SELECT id, word FROM words WHERE role = ?1")?
        .query_and_then([Role::Outcome as i64], |row| {
            let outcome = read_outcome(&row.get::<_, String>(1)?);
            Ok((row.get(0)?, outcome.ok_or(Fault::Unreadable("outcome"))?))
        })?
        .collect()
}

/// An outcome as its word: a status as its number, anything else as it is called.
pub(super) fn outcome_word(outcome: Outcome) -> String {
    outcome.to_string()
}

fn read_outcome(word: &str) -> Option<Outcome> {
    match word.parse() {
        Ok(status) => Outcome::from_parts("answered", Some(status)),
        Err(_) => Outcome::from_parts(word, None),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::delivery::SendFailure;

    #[test]
    fn outcomes_are_read_back() {
        let mut outcomes = vec![
            Outcome::Answered(StatusCode::OK),
            Outcome::Answered(StatusCode::from_u16(999).unwrap()),
            Outcome::TimedOut,
            Outcome::Panicked,
            Outcome::Interrupted,
        ];
        outcomes.extend(SendFailure::ALL.map(Outcome::Failed));
        for outcome in outcomes {
            assert_eq!(read_outcome(&outcome_word(outcome)), Some(outcome));
        }
        assert_eq!(read_outcome("99999"), None);
        assert_eq!(read_outcome("sung"), None);
    }
}
