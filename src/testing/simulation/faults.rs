//! What goes wrong in a simulated world, and how often.

use std::fmt;
use std::time::Duration;

use crate::system::Entropy;
use crate::testing::SeededEntropy;

/// Something that a simulation makes go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A worker was dropped at a random moment, and another one started later.
    WorkerCrashed,
    /// A delivery took its worker down with it, as it does every time.
    WorkerPoisoned,
    /// A worker stood still for a while, often for longer than its leases, and then went on.
    WorkerFrozen,
    /// A worker was told to stop, and another one started later.
    WorkerStopped,
    /// The wall clock was set forwards.
    ClockForward,
    /// The wall clock was set back.
    ClockBackward,
    /// The store failed before it did anything.
    StoreRefused,
    /// The store did what it was asked, and the answer was lost.
    ReplyLost,
    /// The store was slow to do what it was asked, or to answer.
    StoreSlow,
    /// A lease ended before its holder reported back.
    LeaseExpired,
    /// A receiver was slow, but in time.
    ReceiverSlow,
    /// A receiver did not answer before the deadline. It may have accepted all the same.
    ReceiverHung,
    /// The connection broke. The receiver may have accepted all the same.
    Disconnected,
    /// A receiver answered with a server error.
    ServerError,
    /// A receiver answered with 429 and `Retry-After`.
    TooManyRequests,
    /// A receiver answered with 410.
    Gone,
    /// The sender panicked.
    SenderPanicked,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::WorkerCrashed,
        Self::WorkerPoisoned,
        Self::WorkerFrozen,
        Self::WorkerStopped,
        Self::ClockForward,
        Self::ClockBackward,
        Self::StoreRefused,
        Self::ReplyLost,
        Self::StoreSlow,
        Self::LeaseExpired,
        Self::ReceiverSlow,
        Self::ReceiverHung,
        Self::Disconnected,
        Self::ServerError,
        Self::TooManyRequests,
        Self::Gone,
        Self::SenderPanicked,
    ];

    /// A few words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkerCrashed => "worker crashed",
            Self::WorkerPoisoned => "worker poisoned",
            Self::WorkerFrozen => "worker frozen",
            Self::WorkerStopped => "worker stopped",
            Self::ClockForward => "clock set forwards",
            Self::ClockBackward => "clock set back",
            Self::StoreRefused => "store refused",
            Self::ReplyLost => "reply lost",
            Self::StoreSlow => "store slow",
            Self::LeaseExpired => "lease expired",
            Self::ReceiverSlow => "receiver slow",
            Self::ReceiverHung => "receiver hung",
            Self::Disconnected => "disconnected",
            Self::ServerError => "server error",
            Self::TooManyRequests => "too many requests",
            Self::Gone => "gone",
            Self::SenderPanicked => "sender panicked",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many faults of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults([u64; FaultKind::ALL.len()]);

impl Faults {
    /// How many of this kind.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// All kinds with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.into_iter().zip(self.0)
    }

    pub(super) fn note(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// Random choices that follow from a seed. Each part of a world draws its own, so that one part's choices do not
/// hang on how often another chose.
#[derive(Debug)]
pub(super) struct Lots(SeededEntropy);

impl Lots {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mixed = SeededEntropy::new(seed).next_u64() ^ SeededEntropy::new(!stream).next_u64();
        Self(SeededEntropy::new(mixed))
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub(super) fn chance(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// So many milliseconds, the second bound left out.
    pub(super) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to.saturating_sub(from)))
    }
}

/// How rough a world is: of a thousand occasions, how many go wrong. Each kind of trouble is left out of one world
/// in three, since trouble of one kind can hide what trouble of another would show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) crash: u64,
    pub(super) freeze: u64,
    pub(super) refuse: u64,
    pub(super) lose_reply: u64,
    pub(super) slow_store: u64,
    pub(super) receiver: u64,
    pub(super) poison: u64,
    pub(super) stops: bool,
    pub(super) jumps: bool,
}

impl Weather {
    pub(super) fn of(seed: u64) -> Self {
        let lots = Lots::new(seed, 1);
        let upto = |most: u64| {
            if lots.below(3) == 0 {
                0
            } else {
                1 + lots.below(most)
            }
        };
        Self {
            crash: upto(30),
            freeze: upto(20),
            refuse: upto(60),
            lose_reply: upto(60),
            slow_store: upto(120),
            receiver: upto(450),
            poison: upto(20),
            stops: lots.below(3) > 0,
            jumps: lots.below(3) > 0,
        }
    }
}
