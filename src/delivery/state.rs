//! The states of a delivery, and what may follow what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Kept back until a webhook or user is ready.
    Held,
    /// Waiting for its time.
    Pending,
    /// With one worker, under a lease.
    Sending,
    /// Accepted by the receiver.
    Delivered,
    /// At its end without having been accepted. It can be replayed.
    Dead(DeadReason),
}

impl State {
    /// Whether nothing but a replay leads on from here.
    pub fn is_final(self) -> bool {
        matches!(self, State::Delivered | State::Dead(_))
    }

    /// Goes from this state to `next`, if the table allows it without a replay.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`] where the table has no such line.
    ///
    /// ```
    /// use ringback::delivery::{DeadReason, State};
    ///
    /// assert_eq!(State::Pending.advance(State::Sending), Ok(State::Sending));
    /// assert!(State::Delivered.advance(State::Dead(DeadReason::Expired)).is_err());
    /// ```
    pub fn advance(self, next: State) -> Result<State, IllegalTransition> {
        self.go(next, false)
    }

    /// Goes back to pending from a final state.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`] if this state is not final.
    pub fn replayed(self) -> Result<State, IllegalTransition> {
        self.go(State::Pending, true)
    }

    fn go(self, next: State, replay: bool) -> Result<State, IllegalTransition> {
        let listed = |line: &Transition| line.from.matches(self) && line.to == next && line.replay == replay;
        if TRANSITIONS.iter().any(listed) {
            Ok(next)
        } else {
            Err(IllegalTransition { from: self, to: next })
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Held => f.write_str("held"),
            State::Pending => f.write_str("pending"),
            State::Sending => f.write_str("sending"),
            State::Delivered => f.write_str("delivered"),
            State::Dead(reason) => write!(f, "dead ({reason})"),
        }
    }
}

/// Why a delivery ended without being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// Its schedule has no further attempt.
    Exhausted,
    /// The receiver said `410 Gone`, and the profile takes that for an answer.
    Gone,
    /// It was withdrawn. Nothing in this crate does so; a store of one's own may.
    Cancelled,
    /// Its webhook was deleted.
    WebhookDeleted,
    /// It was kept back, or waited, longer than it is worth.
    Expired,
}

impl DeadReason {
    /// Every reason there is.
    pub const ALL: [Self; 5] = [
        Self::Exhausted,
        Self::Gone,
        Self::Cancelled,
        Self::WebhookDeleted,
        Self::Expired,
    ];

    /// The word for it, as stores keep it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
            Self::Cancelled => "cancelled",
            Self::WebhookDeleted => "webhook deleted",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeadReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownReason)
    }
}

/// The text is none of the reasons' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reason for a dead delivery")]
pub struct UnknownReason;

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: Before,
    /// The state after.
    pub to: State,
    /// Whether only a replay does this.
    pub replay: bool,
}

/// The left side of a line: one state, or dead for whichever reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Exactly this state.
    State(State),
    /// Dead, whatever the reason.
    AnyDead,
}

impl Before {
    fn matches(self, state: State) -> bool {
        match self {
            Before::State(from) => from == state,
            Before::AnyDead => matches!(state, State::Dead(_)),
        }
    }
}

const fn line(from: State, to: State) -> Transition {
    Transition {
        from: Before::State(from),
        to,
        replay: false,
    }
}

/// Every transition a delivery can make. Anything else is an error.
pub const TRANSITIONS: &[Transition] = &[
    line(State::Held, State::Pending),
    line(State::Held, State::Dead(DeadReason::Expired)),
    line(State::Pending, State::Sending),
    line(State::Pending, State::Held),
    line(State::Pending, State::Dead(DeadReason::Cancelled)),
    line(State::Pending, State::Dead(DeadReason::WebhookDeleted)),
    line(State::Pending, State::Dead(DeadReason::Expired)),
    line(State::Sending, State::Delivered),
    line(State::Sending, State::Pending),
    line(State::Sending, State::Dead(DeadReason::Exhausted)),
    line(State::Sending, State::Dead(DeadReason::Gone)),
    Transition {
        from: Before::AnyDead,
        to: State::Pending,
        replay: true,
    },
    Transition {
        from: Before::State(State::Delivered),
        to: State::Pending,
        replay: true,
    },
];

/// The table has no such line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from} cannot become {to}")]
pub struct IllegalTransition {
    /// The state before.
    pub from: State,
    /// The state that was asked for.
    pub to: State,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_states() -> Vec<State> {
        let mut states = vec![State::Held, State::Pending, State::Sending, State::Delivered];
        states.extend(DeadReason::ALL.map(State::Dead));
        states
    }

    #[test]
    fn only_a_replay_leaves_a_final_state() {
        for line in TRANSITIONS {
            let leaves_final = all_states()
                .into_iter()
                .any(|s| s.is_final() && line.from.matches(s));
            assert_eq!(leaves_final, line.replay, "{line:?}");
        }
    }

    #[test]
    fn whatever_is_not_in_the_table_is_refused() {
        let legal: usize = all_states()
            .iter()
            .map(|from| {
                let onwards = all_states()
                    .iter()
                    .filter(|to| from.advance(**to).is_ok())
                    .count();
                onwards + usize::from(from.replayed().is_ok())
            })
            .sum();
        // 11 lines from one state each, one line from each of the 5 ways to be dead, one from delivered.
        assert_eq!(legal, 11 + DeadReason::ALL.len() + 1);
    }

    #[test]
    fn words_are_read_back() {
        for reason in DeadReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("".parse::<DeadReason>().is_err());
    }
}
