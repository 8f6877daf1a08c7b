//! What was attempted, page by page.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::StatusCode;

use super::attempt::{Attempt, Outcome};
use super::lane::CLOCK_SKEW;
use super::webhook::Target;
use crate::id::{DeliveryId, EventId, EventType, Scope, Subject, WebhookId};
use crate::secret::Hidden;
use crate::time::elapsed;

/// The most entries that a page has, whatever was asked for.
pub const LONGEST_PAGE: usize = 1000;

/// Which attempts, in which order, from where on.
///
/// An attempt must pass every filter that is set. The default is all of them, the newest first, 100 to a page.
///
/// ```
/// use chrono::DateTime;
/// use http::StatusCode;
/// use ringback::delivery::{HistoryQuery, OutcomeClass};
///
/// let failures = HistoryQuery {
///     webhook: Some("orders".into()),
///     outcome: Some(OutcomeClass::Failed),
///     since: Some(DateTime::UNIX_EPOCH),
///     limit: 20,
///     ..HistoryQuery::default()
/// };
/// assert!(failures.outcome.unwrap().contains(StatusCode::NOT_FOUND.into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only those of deliveries to this webhook.
    pub webhook: Option<WebhookId>,
    /// Only those of events of this scope.
    pub scope: Option<Scope>,
    /// Only those of events of this type.
    pub kind: Option<EventType>,
    /// Only those of which this came.
    pub outcome: Option<OutcomeClass>,
    /// Only those of this delivery.
    pub delivery: Option<DeliveryId>,
    /// Only those recorded at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those recorded before this instant.
    pub until: Option<DateTime<Utc>>,
    /// In which order. Default: the newest first.
    pub direction: Direction,
    /// Where the page lies. Default: at the beginning of the order.
    pub page: PagePosition,
    /// How many entries the page has at most. Default 100; at most [`LONGEST_PAGE`], at least one.
    pub limit: usize,
    /// Whether entries come with the bytes that were sent. Default: no, since a body can have megabytes.
    pub bodies: bool,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self {
            webhook: None,
            scope: None,
            kind: None,
            outcome: None,
            delivery: None,
            since: None,
            until: None,
            direction: Direction::NewestFirst,
            page: PagePosition::Start,
            limit: 100,
            bodies: false,
        }
    }
}

impl HistoryQuery {
    /// How many entries the page may have.
    pub fn page_length(&self) -> usize {
        self.limit.clamp(1, LONGEST_PAGE)
    }

    /// Where to begin and which way to go, in a store whose last attempt has this position; for stores.
    pub fn walk(&self, last: i64) -> Walk {
        let ascends = match self.page {
            PagePosition::Start | PagePosition::After(_) => self.direction == Direction::OldestFirst,
            PagePosition::Before(_) => self.direction == Direction::NewestFirst,
        };
        let from = match self.page {
            PagePosition::Start if ascends => 0,
            PagePosition::Start => last,
            PagePosition::After(cursor) | PagePosition::Before(cursor) => {
                cursor.position().min(last).max(0) // it came from outside
            }
        };
        Walk { from, ascends }
    }

    /// The page that a walk has come to, from the entries in the order in which it met them; for stores.
    pub fn page_of(&self, walk: Walk, entries: Vec<HistoryEntry>, until: Walked) -> HistoryPage {
        let mut page = HistoryPage {
            entries,
            before: Cursor::at(walk.from),
            after: Cursor::at(until.to),
            has_more: until.has_more,
        };
        if matches!(self.page, PagePosition::Before(_)) {
            page.entries.reverse();
            std::mem::swap(&mut page.before, &mut page.after);
        }
        page
    }

    /// Whether the instant at which an attempt was recorded is one that was asked for.
    pub fn covers(&self, recorded_at: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| since <= recorded_at)
            && self.until.is_none_or(|until| recorded_at < until)
    }
}

/// In which order attempts are listed. It is that in which they were recorded, or the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// The latest on the first page.
    #[default]
    NewestFirst,
    /// The oldest on the first page; after the last page, what comes later can be asked for as it comes.
    OldestFirst,
}

/// Where a page lies in the order that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PagePosition {
    /// At its beginning.
    #[default]
    Start,
    /// It begins after this cursor: the page that follows the one whose [`HistoryPage::after`] it is.
    After(Cursor),
    /// It ends before this cursor: the page that leads up to the one whose [`HistoryPage::before`] it is.
    Before(Cursor),
}

/// How to go through the positions of attempts. The first attempt ever has at least position 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Where to begin: upwards, with what lies above this; downwards, with this and what lies below.
    pub from: i64,
    /// Whether to go upwards, from older to newer.
    pub ascends: bool,
}

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// All between here and where it began was looked at, in the sense of [`Walk::from`].
    pub to: i64,
    /// Whether there may be more beyond.
    pub has_more: bool,
}

/// A place between two attempts in the order in which they were recorded.
///
/// It stays where it is while attempts are added and purged, and has nothing to do with the filters, so one can be
/// used with others. As text it is what [`Display`](fmt::Display) writes, and nothing else is read back. It is no
/// secret and no proof of anything: whoever makes one up sees a page that the same query could have asked for.
///
/// ```
/// use ringback::delivery::{Cursor, CursorError};
///
/// let cursor = Cursor::at(1_234);
/// let text = cursor.to_string();
/// assert_eq!(text.parse(), Ok(cursor));
/// assert_eq!("1234".parse::<Cursor>(), Err(CursorError));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor(i64);

impl Cursor {
    /// The place after the attempt that has this position in a store, and before the next; for stores.
    pub fn at(position: i64) -> Self {
        Self(position)
    }

    /// The position of the attempt after which this place is; for stores. It may be any number whatever.
    pub fn position(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{:016x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits = text.strip_prefix('h').filter(|digits| digits.len() == 16);
        let cursor = digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(|bits| Self(bits.cast_signed()))
            .ok_or(CursorError)?;
        // Whatever else reads as the same number, such as capitals, is nothing that was ever written.
        if cursor.to_string() == text {
            Ok(cursor)
        } else {
            Err(CursorError)
        }
    }
}

/// The text is none that a [`Cursor`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

/// Kinds of outcome, to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutcomeClass {
    /// Exactly this.
    Exactly(Outcome),
    /// An answer whose status has this first digit: 4 for 400 to 499.
    Hundred(u8),
    /// No answer came, for whichever reason.
    Unanswered,
    /// Anything but an answer of 200 to 299.
    Failed,
}

impl OutcomeClass {
    /// Answers of this status.
    pub fn status(status: StatusCode) -> Self {
        Self::Exactly(Outcome::Answered(status))
    }

    /// Whether the outcome is one of these.
    pub fn contains(self, outcome: Outcome) -> bool {
        match (self, outcome.status()) {
            (Self::Exactly(exactly), _) => exactly == outcome,
            (Self::Hundred(digit), Some(status)) => status.as_u16() / 100 == u16::from(digit),
            (Self::Hundred(_), None) => false,
            (Self::Unanswered, status) => status.is_none(),
            (Self::Failed, status) => status.is_none_or(|status| !status.is_success()),
        }
    }
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries, in the order that was asked for. There can be fewer than the limit, even none, although there
    /// are more to come: a store looks through a bounded number of attempts for one page.
    pub entries: Vec<HistoryEntry>,
    /// What comes before this page lies [before](PagePosition::Before) this.
    pub before: Cursor,
    /// What comes after this page lies [after](PagePosition::After) this. It is there on the last page too: what is
    /// recorded later comes after it, where the oldest come first.
    pub after: Cursor,
    /// Whether there may be more in the direction that was read: after the page, or before it where the page
    /// [before](PagePosition::Before) a cursor was asked for.
    pub has_more: bool,
}

/// An attempt with what it was an attempt at.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The attempt.
    pub attempt: Attempt,
    /// When the store recorded it: never earlier than what was recorded before it, but where a clock was set back by
    /// more than ten seconds.
    pub recorded_at: DateTime<Utc>,
    /// Whether the delivery was accepted with it, as its profile judged.
    pub accepted: bool,
    /// When the next attempt became due, where one followed.
    pub retry_at: Option<DateTime<Utc>>,
    /// The scope of the event.
    pub scope: Scope,
    /// The caller's id of the event.
    pub event: EventId,
    /// The type of the event.
    pub kind: EventType,
    /// The user the event is about.
    pub subject: Option<Subject>,
    /// Where it went.
    pub target: Target,
    /// The bytes that are sent, if they were [asked for](HistoryQuery::bodies) and are still kept.
    pub body: Option<Bytes>,
}

impl fmt::Debug for HistoryEntry {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryEntry")
            .field("attempt", &self.attempt)
            .field("recorded_at", &self.recorded_at)
            .field("accepted", &self.accepted)
            .field("retry_at", &self.retry_at)
            .field("scope", &self.scope)
            .field("event", &self.event)
            .field("kind", &self.kind)
            .field("subject", &self.subject)
            .field("target", &self.target)
            .field("body", &self.body.as_ref().map(Hidden))
            .finish()
    }
}

/// The instant under which something is recorded now, where the last was recorded at `last`. Clocks of machines that
/// share a store differ a little, and history is not to go back for that.
pub(crate) fn recorded_at(now: DateTime<Utc>, last: Option<DateTime<Utc>>) -> DateTime<Utc> {
    last.filter(|last| *last > now && elapsed(now, *last) <= CLOCK_SKEW)
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::SendFailure;

    proptest! {
        #[test]
        fn cursors_are_read_back(position in any::<i64>()) {
            let cursor = Cursor::at(position);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn whatever_is_read_as_a_cursor_is_written_so(text in "h?[0-9a-fA-F+-]{0,18}|.*") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn nonsense_is_no_cursor() {
        for text in [
            "",
            "h",
            "h1",
            "h00000000000000FF",
            "h+000000000000001",
            "x0000000000000001",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }

    #[test]
    fn whatever_a_cursor_says_a_walk_begins_within_history() {
        let query = |page, direction| HistoryQuery {
            page,
            direction,
            ..HistoryQuery::default()
        };
        for (position, from) in [(i64::MIN, 0), (-1, 0), (5, 5), (10, 10), (11, 10), (i64::MAX, 10)] {
            for (page, direction, ascends) in [
                (
                    PagePosition::After(Cursor::at(position)),
                    Direction::OldestFirst,
                    true,
                ),
                (
                    PagePosition::After(Cursor::at(position)),
                    Direction::NewestFirst,
                    false,
                ),
                (
                    PagePosition::Before(Cursor::at(position)),
                    Direction::OldestFirst,
                    false,
                ),
                (
                    PagePosition::Before(Cursor::at(position)),
                    Direction::NewestFirst,
                    true,
                ),
            ] {
                assert_eq!(query(page, direction).walk(10), Walk { from, ascends });
            }
        }
        let start = |direction| query(PagePosition::Start, direction).walk(10).from;
        assert_eq!(
            (start(Direction::OldestFirst), start(Direction::NewestFirst)),
            (0, 10)
        );
    }

    #[test]
    fn classes_of_outcomes() {
        let answered = |status| Outcome::Answered(StatusCode::from_u16(status).unwrap());
        let refused = Outcome::Failed(SendFailure::Connect);
        for (class, inside, outside) in [
            (
                OutcomeClass::Hundred(4),
                vec![answered(404)],
                vec![answered(500), refused],
            ),
            (
                OutcomeClass::Unanswered,
                vec![refused, Outcome::Interrupted],
                vec![answered(200)],
            ),
            (
                OutcomeClass::Failed,
                vec![refused, answered(301), answered(503)],
                vec![answered(204)],
            ),
            (
                OutcomeClass::status(StatusCode::OK),
                vec![answered(200)],
                vec![answered(201), refused],
            ),
        ] {
            assert!(
                inside.into_iter().all(|outcome| class.contains(outcome)),
                "{class:?}"
            );
            assert!(
                !outside.into_iter().any(|outcome| class.contains(outcome)),
                "{class:?}"
            );
        }
    }

    #[test]
    fn records_go_back_only_with_a_clock_that_was_set_back() {
        let last = DateTime::from_timestamp(1_000, 0).unwrap();
        let at = |seconds| last + TimeDelta::seconds(seconds);
        for (now, recorded) in [(1, 1), (0, 0), (-10, 0), (-11, -11)] {
            assert_eq!(recorded_at(at(now), Some(last)), at(recorded));
        }
        let (first, end) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        assert_eq!(
            (recorded_at(first, Some(end)), recorded_at(end, None)),
            (first, end)
        );
    }
}
