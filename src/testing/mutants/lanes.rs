//! What mutants do to flushers, to holds, and to the pace of lanes.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Mutant;
use crate::delivery::Pacing;
use crate::retry::Flusher;
use crate::store::Release;

/// How soon [`Mutant::RunsTooOften`] has the next run.
const TOO_OFTEN: Duration = Duration::from_millis(50);

impl Mutant {
    /// The flusher as the working store is to know it.
    pub(super) fn flusher(self, flusher: Flusher) -> Flusher {
        match self {
            Self::RunNeverStops => flusher
                .with_max_consecutive_failures(NonZeroU32::MAX)
                .with_max_timeouts(NonZeroU32::MAX),
            Self::RunsTooOften => flusher.with_period(TOO_OFTEN).unwrap_or(flusher),
            _ => flusher,
        }
    }

    /// What the working store is to hear of a receiver.
    pub(super) fn pacing(self, pacing: Pacing) -> Pacing {
        match (self, pacing) {
            (Self::PaceIgnored, _) => Pacing::Keep,
            (Self::PausesIgnored, Pacing::Slow(_)) => Pacing::Slow(Some(Duration::ZERO)),
            (Self::PausesIgnored, Pacing::Pause(_)) | (Self::PaceNeverWonBack, Pacing::Gain) => Pacing::Keep,
            _ => pacing,
        }
    }

    /// What the working store is to send when a hold is lifted.
    pub(super) fn release(self, release: Release) -> Release {
        match self {
            Self::HoldExpires => Release::Nothing,
            Self::ReleaseIgnored => Release::All,
            _ => release,
        }
    }
}
