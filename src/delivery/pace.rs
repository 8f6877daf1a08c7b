//! How fast a lane goes at present, of what its limits allow.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::attempt::Outcome;
use super::lane::CLOCK_SKEW;
use crate::retry::RetryAfter;
use crate::time::after;

/// What an attempt says of how fast its lane may go.
///
/// The worker decides it from what came of the attempt, and the store hands it to the lane's [`Pace`] in the commit that
/// settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// Nothing: the receiver could not be reached, or it is our own doing. The pace stays as it is.
    #[default]
    Keep,
    /// The receiver answered, and not that it is too much. A place is won back once there were as many such answers as
    /// there are places.
    Gain,
    /// It is too much for the receiver: it said so (429, 503), or did not answer in time. Half of the places are taken
    /// away; where there is but one, the lane pauses, for what the receiver asked for, if it did.
    Slow(Option<Duration>),
    /// Nothing of this lane can be sent at present, since what proves it is missing. It pauses for so long, and keeps its
    /// places.
    Pause(Duration),
}

impl Pacing {
    /// What this outcome says, where the answer asked for that.
    ///
    /// ```
    /// use chrono::DateTime;
    /// use http::StatusCode;
    /// use ringback::delivery::{Outcome, Pacing};
    ///
    /// let pacing = |status| Pacing::of(Outcome::Answered(status), None, DateTime::UNIX_EPOCH);
    /// assert_eq!(pacing(StatusCode::SERVICE_UNAVAILABLE), Pacing::Slow(None));
    /// assert_eq!(pacing(StatusCode::INTERNAL_SERVER_ERROR), Pacing::Gain);
    /// ```
    pub fn of(outcome: Outcome, asked: Option<RetryAfter>, now: DateTime<Utc>) -> Self {
        match outcome {
            Outcome::Answered(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                Self::Slow(asked.map(|asked| asked.delay_from(now)))
            }
            Outcome::TimedOut => Self::Slow(None),
            Outcome::Answered(_) => Self::Gain,
            Outcome::Failed(_) | Outcome::Panicked | Outcome::Interrupted => Self::Keep,
        }
    }
}

/// The pace of a lane: how many requests it may have in flight, of those that its
/// [`Limits`](super::Limits) allow, and until when it pauses.
///
/// A lane goes at full pace until its receiver says that it is too much. What was in flight when that was heard was sent
/// at the earlier pace, so it says nothing of the new one: of eight requests that are refused together one counts. The
/// facts are numbers, and of instants only when a pause began and ends: one that begins in a time that has not come is
/// not believed, so a clock that is set back holds nothing up.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use chrono::DateTime;
/// use ringback::delivery::{Pace, Pacing};
///
/// let (limit, now) = (NonZeroU32::new(8).unwrap(), DateTime::UNIX_EPOCH);
/// let mut pace = Pace::full();
/// for places in [4, 2, 1] {
///     pace.land(Pacing::Slow(None), limit, 0, now);
///     assert_eq!(pace.places(limit), places);
/// }
/// pace.land(Pacing::Slow(Some(Duration::from_secs(20))), limit, 0, now);
/// assert_eq!(pace.open_at(now), now + Duration::from_secs(20));
///
/// for answers in 1..8 {
///     assert_eq!(pace.places(limit), answers);
///     for _ in 0..answers {
///         pace.land(Pacing::Gain, limit, 0, now);
///     }
/// }
/// assert_eq!(pace, Pace::full());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// How many may be in flight; `None`: as many as the limit says.
    places: Option<NonZeroU32>,
    /// How many answers there were towards the next place.
    gained: u32,
    /// How many of those in flight were sent at an earlier pace, so that what comes of them counts for nothing.
    earlier: u32,
    /// How often it paused since it last gained.
    pauses: u32,
    pause: Option<Span>,
}

/// A pause. Both ends are kept, so that one can be told that was reckoned before the clock was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Pace {
    /// The first pause where the receiver does not say how long: a second. Each after it is twice as long as the one
    /// before.
    pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

    /// The longest pause where the receiver does not say how long: half a minute, so that one that is well again does
    /// not wait for long.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

    /// The longest pause that a receiver can ask for: an hour. It is asked for with one delivery and holds up all of
    /// them, so it is less than what a [`Schedule`](crate::retry::Schedule) takes for the one.
    pub const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

    /// As fast as the limits allow.
    pub fn full() -> Self {
        Self::default()
    }

    /// How many may be in flight at once where the limit is this: at least one.
    pub fn places(&self, limit: NonZeroU32) -> u32 {
        self.places.map_or(limit, |places| places.min(limit)).get()
    }

    /// When its pause is over: now, if it does not pause.
    pub fn open_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let pause = self.pause.filter(|pause| pause.from <= after(now, CLOCK_SKEW));
        pause.map_or(now, |pause| pause.until.max(now))
    }

    /// The end of the last pause since it gained, whether or not it has come.
    pub fn paused_until(&self) -> Option<DateTime<Utc>> {
        self.pause.map(|pause| pause.until)
    }

    /// A delivery that was in flight has come back. `others` is how many still are.
    pub fn land(&mut self, pacing: Pacing, limit: NonZeroU32, others: u32, now: DateTime<Utc>) {
        let counts = self.earlier == 0;
        self.earlier = self.earlier.saturating_sub(1).min(others);
        match pacing {
            Pacing::Gain if counts => self.gain(limit),
            Pacing::Slow(asked) if counts => {
                self.slow(asked, limit, now);
                self.earlier = others;
            }
            Pacing::Pause(span) => self.pause(span, now),
            Pacing::Keep | Pacing::Gain | Pacing::Slow(_) => {}
        }
    }

    fn gain(&mut self, limit: NonZeroU32) {
        (self.pauses, self.pause) = (0, None);
        let Some(places) = self.places else { return };
        self.gained = self.gained.saturating_add(1);
        if self.gained >= places.min(limit).get() {
            let more = places.saturating_add(1);
            (self.places, self.gained) = (Some(more).filter(|places| *places < limit), 0);
        }
    }

    fn slow(&mut self, asked: Option<Duration>, limit: NonZeroU32, now: DateTime<Utc>) {
        let places = self.places(limit);
        (self.places, self.gained) = (NonZeroU32::new(places / 2).or(Some(NonZeroU32::MIN)), 0);
        if places > 1 {
            return;
        }
        let growing = Self::FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16));
        self.pauses = self.pauses.saturating_add(1);
        self.pause(
            asked.map_or(growing.min(Self::LONGEST_PAUSE), |asked| {
                asked.min(Self::LONGEST_ASKED)
            }),
            now,
        );
    }

    /// Pauses for so long. A pause that lasts longer goes on.
    fn pause(&mut self, span: Duration, now: DateTime<Utc>) {
        let until = after(now, span);
        if self.open_at(now) < until {
            self.pause = Some(Span { from: now, until });
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const START: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

    fn eight() -> NonZeroU32 {
        NonZeroU32::new(8).unwrap()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn of_a_volley_that_is_refused_one_counts() {
        let mut pace = Pace::full();
        for others in (0..8).rev() {
            pace.land(Pacing::Slow(None), eight(), others, START);
        }
        assert_eq!(pace.places(eight()), 4);
        assert_eq!(pace.open_at(START), START);
        pace.land(Pacing::Slow(None), eight(), 3, START);
        assert_eq!(pace.places(eight()), 2, "the next was sent at the new pace");
    }

    #[test]
    fn what_was_sent_at_an_earlier_pace_wins_nothing_back_either() {
        let mut pace = Pace::full();
        pace.land(Pacing::Slow(None), eight(), 3, START);
        for (others, places) in [(2, 4), (1, 4), (0, 4), (0, 4), (0, 4), (0, 4), (0, 5)] {
            pace.land(Pacing::Gain, eight(), others, START);
            assert_eq!(pace.places(eight()), places);
        }
    }

    #[test]
    fn pauses_grow_until_something_is_gained() {
        let one = NonZeroU32::MIN;
        let mut pace = Pace::full();
        let mut now = START;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            pace.land(Pacing::Slow(None), one, 0, now);
            assert_eq!(pace.open_at(now), after(now, seconds(wait)));
            now = pace.open_at(now);
        }
        pace.land(Pacing::Gain, one, 0, now);
        assert_eq!(pace, Pace::full());
        pace.land(Pacing::Slow(None), one, 0, now);
        assert_eq!(pace.open_at(now), after(now, seconds(1)));
    }

    #[test]
    fn a_receiver_is_given_what_it_asks_for_up_to_an_hour() {
        for (asked, given) in [
            (Duration::ZERO, Duration::ZERO),
            (seconds(90), seconds(90)),
            (seconds(3_601), seconds(3_600)),
            (Duration::MAX, seconds(3_600)),
        ] {
            let mut pace = Pace::full();
            pace.land(Pacing::Slow(Some(asked)), NonZeroU32::MIN, 0, START);
            assert_eq!(pace.open_at(START), after(START, given));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_ends_a_pause() {
        let mut pace = Pace::full();
        pace.land(Pacing::Pause(seconds(30)), eight(), 0, START);
        let until = after(START, seconds(30));
        assert_eq!(pace.open_at(START), until);
        assert_eq!(
            pace.open_at(START - TimeDelta::seconds(10)),
            until,
            "clocks differ"
        );
        let earlier = START - TimeDelta::seconds(11);
        assert_eq!(pace.open_at(earlier), earlier);
        // One that begins then takes the place of that which is not believed, though it ends sooner.
        pace.land(Pacing::Pause(seconds(1)), eight(), 0, earlier);
        assert_eq!(pace.open_at(earlier), after(earlier, seconds(1)));
    }

    #[test]
    fn a_missing_proof_takes_no_places_away() {
        let mut pace = Pace::full();
        for others in (0..8).rev() {
            pace.land(Pacing::Pause(seconds(30)), eight(), others, START);
        }
        assert_eq!(pace.places(eight()), 8);
        assert_eq!(pace.open_at(START), after(START, seconds(30)));
    }

    fn pacing() -> impl Strategy<Value = Pacing> {
        let asked = prop_oneof![Just(Duration::MAX), (0_u64..10_000).prop_map(Duration::from_secs)];
        prop_oneof![
            Just(Pacing::Keep),
            Just(Pacing::Gain),
            proptest::option::of(asked).prop_map(Pacing::Slow),
            (0_u64..60).prop_map(|seconds| Pacing::Pause(Duration::from_secs(seconds))),
        ]
    }

    proptest! {
        /// Whatever comes, at whatever time: a place is left, no pause is longer than the longest, full pace is within
        /// reach, and what is kept is read back.
        #[test]
        fn no_lane_is_brought_to_a_standstill(
            steps in proptest::collection::vec((pacing(), 1_u32..20, any::<u32>(), any::<i32>()), 0..60),
            limit in 1_u32..20,
        ) {
            let mut pace = Pace::full();
            let mut now = START;
            for (pacing, limit, others, seconds) in steps {
                now = START + TimeDelta::seconds(seconds.into());
                pace.land(pacing, NonZeroU32::new(limit).unwrap(), others, now);
                prop_assert!((1..=limit).contains(&pace.places(NonZeroU32::new(limit).unwrap())));
                prop_assert!(pace.open_at(now) <= after(now, Pace::LONGEST_ASKED + CLOCK_SKEW));
                let kept = serde_json::to_string(&pace).unwrap();
                prop_assert_eq!(serde_json::from_str::<Pace>(&kept).unwrap(), pace);
            }
            let limit = NonZeroU32::new(limit).unwrap();
            for _ in 0..=20 * 20 {
                pace.land(Pacing::Gain, limit, 0, now);
            }
            prop_assert_eq!(pace, Pace::full());
        }
    }

    proptest! {
        /// Against a receiver that takes so many at once and refuses the rest, a lane comes to what it takes and stays
        /// about there.
        #[test]
        fn a_lane_finds_what_its_receiver_takes(takes in 1_u32..32) {
            let limit = NonZeroU32::new(32).unwrap();
            let mut pace = Pace::full();
            for round in 0..100 {
                let sent = pace.places(limit);
                let is_found = sent <= takes + 1 && 2 * sent >= takes;
                prop_assert!(round < 6 || is_found, "{sent} where it takes {takes}");
                for number in 0..sent {
                    let pacing = if number < takes { Pacing::Gain } else { Pacing::Slow(None) };
                    pace.land(pacing, limit, sent - 1 - number, START);
                }
            }
        }
    }
}
