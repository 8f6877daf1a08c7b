//! Pages of history.

use rusqlite::{Connection, OptionalExtension};

use super::attempts::{self, Extent, Seq};
use super::codec::{instant, optional_instant};
use super::contents;
use super::core::Core;
use super::database::Database;
use super::events;
use super::fault::Fault;
use super::filing;
use super::inspect::target;
use super::words::{self, Role, WordNo, Words};
use crate::delivery::{HistoryEntry, HistoryPage, HistoryQuery, Target, Walk, Walked};
use crate::id::{EventId, EventType, Scope, Subject, WebhookId};

/// How many postings and rows are looked at for one page: some milliseconds. What is found by one filter alone never needs
/// so many; where filters have little in common, a page ends here.
const LOOKS: usize = 4_000;

/// How many bytes of bodies a page has before it ends.
const BODY_BYTES: usize = 8 << 20;

impl Core {
    pub(super) fn history(&mut self, query: &HistoryQuery) -> Result<HistoryPage, Fault> {
        let Self { conn, words, .. } = self;
        let extent = Extent::read(conn)?;
        let walk = query.walk(extent.last);
        let all = Walked {
            to: if walk.ascends { extent.last } else { 0 },
            has_more: false,
        };
        let Some(filter) = Filter::of(conn, words, query)? else {
            return Ok(query.page_of(walk, Vec::new(), all));
        };
        let mut candidates = Candidates::new(conn, query, &filter, walk, &extent)?;
        let mut entries: Vec<HistoryEntry> = Vec::new();
        let mut bytes = 0;
        let walked = loop {
            let seq = match candidates.next()? {
                Candidate::Here(seq) => seq,
                Candidate::None => break all,
                Candidate::NotBefore(seq) => {
                    break Walked {
                        to: if walk.ascends { seq - 1 } else { seq },
                        has_more: true,
                    };
                }
            };
            if let Some(entry) = read(conn, words, query, &filter, seq)? {
                bytes += entry.body.as_ref().map_or(0, |body| body.len());
                entries.push(entry);
            }
            if entries.len() == query.page_length() || bytes >= BODY_BYTES {
                break Walked {
                    to: if walk.ascends { seq } else { seq - 1 },
                    has_more: true,
                };
            }
        };
        Ok(query.page_of(walk, entries, walked))
    }
}

/// The words that an attempt must have.
struct Filter {
    webhook: Option<WordNo>,
    scope: Option<WordNo>,
    kind: Option<WordNo>,
    /// One of these.
    outcomes: Option<Vec<WordNo>>,
}

impl Filter {
    /// `None` if no attempt ever had one of the words.
    fn of(conn: &Connection, words: &mut Words, query: &HistoryQuery) -> Result<Option<Self>, Fault> {
        let mut find = |role, text: Option<&str>| match text {
            Some(text) => Ok(words.find(conn, role, text)?.map(Some)),
            None => Ok::<_, Fault>(Some(None)),
        };
        let webhook = find(Role::Webhook, query.webhook.as_ref().map(WebhookId::as_str))?;
        let scope = find(Role::Scope, query.scope.as_ref().map(Scope::as_str))?;
        let kind = find(Role::Kind, query.kind.as_ref().map(EventType::as_str))?;
        let (Some(webhook), Some(scope), Some(kind)) = (webhook, scope, kind) else {
            return Ok(None);
        };
        let outcomes = match query.outcome {
            None => None,
            Some(class) => {
                let outcomes = words::outcomes(conn)?.into_iter();
                let matching = outcomes.filter(|(_, outcome)| class.contains(*outcome));
                Some(matching.map(|(number, _)| number).collect::<Vec<_>>())
            }
        };
        Ok(Some(Self {
            webhook,
            scope,
            kind,
            outcomes,
        }))
    }

    fn lists(&self) -> Vec<List> {
        let mut lists: Vec<_> = [self.webhook, self.scope, self.kind]
            .into_iter()
            .flatten()
            .map(|word| List::of(&[word]))
            .collect();
        lists.extend(self.outcomes.as_deref().map(List::of));
        if lists.is_empty() {
            lists.push(List::Attempts);
        }
        lists
    }

    fn admits(&self, webhook: Option<WordNo>, scope: WordNo, kind: WordNo, outcome: WordNo) -> bool {
        self.webhook.is_none_or(|word| webhook == Some(word))
            && self.scope.is_none_or(|word| scope == word)
            && self.kind.is_none_or(|word| kind == word)
            && self
                .outcomes
                .as_ref()
                .is_none_or(|words| words.contains(&outcome))
    }
}

/// Where attempts may be that pass, in the order of a walk. Each is looked at once more before it is shown.
struct Candidates<'c> {
    conn: &'c Connection,
    walk: Walk,
    lists: Vec<List>,
    /// What is left of the filed ones: from here to the end of the window.
    at: Seq,
    window: (Seq, Seq),
    /// Those of the tail, or all where those of one delivery were asked for. The next is last.
    others: Vec<Seq>,
    looks: usize,
}

enum Candidate {
    Here(Seq),
    /// None up to this position, which was not looked at.
    NotBefore(Seq),
    None,
}

impl<'c> Candidates<'c> {
    fn new(
        conn: &'c Connection,
        query: &HistoryQuery,
        filter: &Filter,
        walk: Walk,
        extent: &Extent,
    ) -> Result<Self, Fault> {
        let is_ahead = |seq: &Seq| {
            if walk.ascends {
                *seq > walk.from
            } else {
                *seq <= walk.from
            }
        };
        let nowhere = (1, 0);
        let (window, mut others) = match query.delivery {
            Some(delivery) => (nowhere, attempts::positions(conn, delivery)?),
            None => {
                let window = filing::window(conn, query.since, query.until)?;
                let window = window.map(|(first, last)| (first.max(1), last.min(extent.filed)));
                (window.unwrap_or(nowhere), tail(conn, filter, extent)?)
            }
        };
        others.retain(is_ahead);
        if walk.ascends {
            others.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
        } else {
            others.sort_unstable();
        }
        Ok(Self {
            conn,
            walk,
            lists: filter.lists(),
            at: if walk.ascends {
                window.0.max(walk.from.saturating_add(1))
            } else {
                window.1.min(walk.from)
            },
            window,
            others,
            looks: LOOKS,
        })
    }

    fn next(&mut self) -> Result<Candidate, Fault> {
        if !self.walk.ascends
            && let Some(seq) = self.others.pop()
        {
            return Ok(Candidate::Here(seq));
        }
        match self.next_filed()? {
            Candidate::None => Ok(self.others.pop().map_or(Candidate::None, Candidate::Here)),
            found => Ok(found),
        }
    }

    /// The next position that is in every list. Each is asked for its next from where the others have come to, so it
    /// does not matter which of them is long.
    fn next_filed(&mut self) -> Result<Candidate, Fault> {
        loop {
            if self.at < self.window.0 || self.at > self.window.1 {
                return Ok(Candidate::None);
            }
            if self.looks == 0 {
                return Ok(Candidate::NotBefore(self.at));
            }
            let at = self.at;
            for list in &mut self.lists {
                let Some(next) = list.next(self.conn, self.at, self.walk.ascends, &mut self.looks)? else {
                    return Ok(Candidate::None);
                };
                self.at = next;
            }
            if self.at == at {
                self.at = if self.walk.ascends { at + 1 } else { at - 1 };
                return Ok(Candidate::Here(at));
            }
        }
    }
}

/// Filed positions in order.
enum List {
    /// All of them.
    Attempts,
    /// Those of any of these words.
    Postings(Vec<Head>),
}

/// How far the postings of a word have been looked through.
struct Head {
    word: WordNo,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Unknown,
    At(Seq),
    None,
}

impl List {
    fn of(words: &[WordNo]) -> Self {
        let head = |word: &WordNo| Head {
            word: *word,
            next: Next::Unknown,
        };
        Self::Postings(words.iter().map(head).collect())
    }

    /// The first position from there on.
    fn next(
        &mut self,
        conn: &Connection,
        at: Seq,
        ascends: bool,
        looks: &mut usize,
    ) -> Result<Option<Seq>, Fault> {
        let is_ahead = |seq| if ascends { seq >= at } else { seq <= at };
        let Self::Postings(heads) = self else {
            *looks = looks.saturating_sub(1);
            return first_attempt(conn, at, ascends);
        };
        let mut nearest: Option<Seq> = None;
        for head in heads {
            match head.next {
                Next::At(seq) if is_ahead(seq) => {}
                Next::None => continue,
                Next::At(_) | Next::Unknown => {
                    *looks = looks.saturating_sub(1);
                    head.next = first_posting(conn, head.word, at, ascends)?.map_or(Next::None, Next::At);
                }
            }
            if let Next::At(seq) = head.next {
                nearest =
                    Some(nearest.map_or(seq, |other| if ascends { other.min(seq) } else { other.max(seq) }));
            }
        }
        Ok(nearest)
    }
}

fn first_posting(conn: &Connection, word: WordNo, at: Seq, ascends: bool) -> Result<Option<Seq>, Fault> {
    let sql = if ascends {
        "SELECT seq FROM postings WHERE word = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1"
    } else {
        "SELECT seq FROM postings WHERE word = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1"
    };
    let mut select = conn.prepare_cached(sql)?;
    Ok(select.query_row((word, at), |row| row.get(0)).optional()?)
}

fn first_attempt(conn: &Connection, at: Seq, ascends: bool) -> Result<Option<Seq>, Fault> {
    let sql = if ascends {
        "SELECT seq FROM attempts WHERE seq >= ?1 ORDER BY seq LIMIT 1"
    } else {
        "SELECT seq FROM attempts WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1"
    };
    Ok(conn
        .prepare_cached(sql)?
        .query_row([at], |row| row.get(0))
        .optional()?)
}

/// What passes of the attempts that are not filed.
fn tail(conn: &Connection, filter: &Filter, extent: &Extent) -> Result<Vec<Seq>, Fault> {
    let mut select =
        conn.prepare_cached("SELECT seq, webhook, scope, kind, outcome FROM attempts WHERE seq > ?1")?;
    let mut rows = select.query([extent.filed])?;
    let mut passing = Vec::new();
    while let Some(row) = rows.next()? {
        if filter.admits(row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?) {
            passing.push(row.get(0)?);
        }
    }
    Ok(passing)
}

/// The entry of an attempt, if it is one that was asked for.
fn read(
    conn: &Database,
    words: &mut Words,
    query: &HistoryQuery,
    filter: &Filter,
    seq: Seq,
) -> Result<Option<HistoryEntry>, Fault> {
    let mut select = conn.prepare_cached(
        "SELECT delivery, number, outcome, started_at, duration, excerpt, webhook, scope, kind, recorded_at,
            accepted, retry_at, test FROM attempts WHERE seq = ?1",
    )?;
    let mut rows = select.query([seq])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (webhook, scope, kind) = (row.get(6)?, row.get(7)?, row.get(8)?);
    let recorded_at = instant(row.get(9)?, "recorded_at")?;
    if !filter.admits(webhook, scope, kind, row.get(2)?) || !query.covers(recorded_at) {
        return Ok(None);
    }
    let attempt = attempts::read(conn, words, row)?;
    let id = attempt.delivery.0;
    let mut select = conn.prepare_cached(
        "SELECT e.event_id, e.subject, d.event, d.own, d.state = 'delivered' AND d.purgeable = 2
         FROM deliveries d CROSS JOIN events e ON e.id = d.event WHERE d.id = ?1",
    )?;
    let mut found = select.query([id])?;
    let Some(delivery) = found.next()? else {
        return Ok(None);
    };
    let is_bodiless: bool = delivery.get(4)?;
    let wants_body = query.bodies && !is_bodiless;
    let contents = match webhook {
        Some(_) if !wants_body => contents::Contents::default(),
        _ => contents::read(conn, id, delivery.get(3)?)?,
    };
    let goes_to = match (webhook, contents.call) {
        (Some(webhook), _) => target(WebhookId::new(words.text(conn, webhook)?), row.get(12)?),
        (None, Some(call)) => Target::Call(call),
        (None, None) => return Err(Fault::Unreadable("webhook")),
    };
    let body = match contents.body {
        _ if !wants_body => None,
        Some(body) => Some(body),
        None => Some(events::event(conn, delivery.get(2)?)?.body().clone()),
    };
    Ok(Some(HistoryEntry {
        attempt,
        recorded_at,
        accepted: row.get(10)?,
        retry_at: optional_instant(row.get(11)?, "retry_at")?,
        scope: Scope::new(words.text(conn, scope)?),
        event: EventId::from(delivery.get::<_, String>(0)?),
        kind: EventType::new(words.text(conn, kind)?),
        subject: delivery.get::<_, Option<String>>(1)?.map(Subject::from),
        target: goes_to,
        body,
    }))
}
