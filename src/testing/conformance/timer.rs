//! The suite for timers: [`Timer`].
//!
//! Its checks really wait, for about a second in all, so it is for timers that go by themselves;
//! [`ManualTime`](crate::testing::ManualTime) is none.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, join_all, select};

use super::{Report, Violation, ensure};
use crate::engine::Timer;

/// A span that is long enough to be measured.
const SHORT: Duration = Duration::from_millis(50);

/// How much later than asked a sleep may end on a machine that has other things to do.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Runs every check.
///
/// ```
/// use ringback::engine::TokioTimer;
/// use ringback::testing::conformance;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let report = conformance::timer::run_all(&TokioTimer).await;
/// assert!(report.failures().is_empty(), "{report}");
/// # }
/// ```
pub async fn run_all(timer: &dyn Timer) -> Report {
    run_checks!(timer:
        a_sleep_lasts_as_long_as_asked,
        a_sleep_of_nothing_ends,
        sleeps_do_not_disturb_each_other,
        a_dropped_sleep_has_no_effect,
        any_number_may_be_under_way,
        the_longest_sleep_is_one,
        the_clock_goes_with_the_sleeps,
    )
}

/// A sleep is never shorter than asked, and not much longer.
pub async fn a_sleep_lasts_as_long_as_asked(timer: &dyn Timer) -> Result<(), Violation> {
    for span in [Duration::from_millis(1), SHORT, 3 * SHORT] {
        let start = Instant::now();
        timer.sleep(span).await;
        in_time(start, span)?;
    }
    Ok(())
}

/// A sleep of no length ends at once, or nearly so.
pub async fn a_sleep_of_nothing_ends(timer: &dyn Timer) -> Result<(), Violation> {
    let start = Instant::now();
    timer.sleep(Duration::ZERO).await;
    timer.sleep(Duration::from_nanos(1)).await;
    in_time(start, Duration::ZERO)
}

/// A short sleep ends while a long one goes on, whichever began first.
pub async fn sleeps_do_not_disturb_each_other(timer: &dyn Timer) -> Result<(), Violation> {
    let start = Instant::now();
    let mut long = timer.sleep(4 * SHORT);
    ensure(
        "a sleep takes its time",
        (&mut long).now_or_never().is_none(),
        || "it was over at once".into(),
    )?;
    let short = pin!(timer.sleep(SHORT));
    match select(short, long).await {
        Either::Left(((), long)) => {
            in_time(start, SHORT)?;
            long.await;
            in_time(start, 4 * SHORT)
        }
        Either::Right(_) => Err(Violation::new(
            "sleeps do not disturb each other",
            "the long one ended first",
        )),
    }
}

/// A sleep that is dropped ends without effect on the others.
pub async fn a_dropped_sleep_has_no_effect(timer: &dyn Timer) -> Result<(), Violation> {
    let start = Instant::now();
    let mut kept = timer.sleep(2 * SHORT);
    let mut dropped = timer.sleep(SHORT);
    let _ = (&mut kept).now_or_never();
    let _ = (&mut dropped).now_or_never();
    drop(dropped);
    drop(timer.sleep(SHORT)); // never polled
    kept.await;
    in_time(start, 2 * SHORT)
}

/// A thousand sleeps at once all end in time.
pub async fn any_number_may_be_under_way(timer: &dyn Timer) -> Result<(), Violation> {
    let start = Instant::now();
    let spans = (0..1_000).map(|number| SHORT + Duration::from_micros(number * 7 % 1_000));
    join_all(spans.map(|span| timer.sleep(span))).await;
    in_time(start, SHORT)
}

/// The longest span there is can be slept: it just does not end.
pub async fn the_longest_sleep_is_one(timer: &dyn Timer) -> Result<(), Violation> {
    let start = Instant::now();
    let longest = pin!(timer.sleep(Duration::MAX));
    match select(longest, timer.sleep(SHORT)).await {
        Either::Right(_) => in_time(start, SHORT),
        Either::Left(_) => Err(Violation::new(
            "a sleep completes once at least its span has passed",
            "the longest one ended",
        )),
    }
}

/// Between the clock's instants before and after a sleep lies about its span.
///
/// A clock may jump, so this can fail on a machine whose clock is set just then; run again, it passes.
pub async fn the_clock_goes_with_the_sleeps(timer: &dyn Timer) -> Result<(), Violation> {
    let before = timer.now();
    timer.sleep(2 * SHORT).await;
    let shown = crate::time::elapsed(before, timer.now());
    ensure(
        "the clock shows the time that passes",
        shown >= SHORT && shown <= 2 * SHORT + TOLERANCE,
        || format!("{shown:?} went by while sleeping {:?}", 2 * SHORT),
    )
}

fn in_time(start: Instant, span: Duration) -> Result<(), Violation> {
    let took = start.elapsed();
    ensure(
        "a sleep completes once at least its span has passed",
        took >= span,
        || format!("{took:?} for {span:?}"),
    )?;
    ensure(
        "a sleep does not take much longer than its span",
        took <= span + TOLERANCE,
        || format!("{took:?} for {span:?}"),
    )
}
