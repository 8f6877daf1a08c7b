//! Contestants take turns, and the median of each counts.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a turn takes, about: long enough for the clock, short enough for many turns.
const TURN: Duration = Duration::from_micros(500);

/// What the columns of a [`Row`] are.
pub(crate) const HEADING: &str = "work\tbytes\twho\tmedian\ta second\tto the first";

/// Several ways to do one thing. The first is what the others are compared with.
pub(crate) struct Contest<'a> {
    work: &'static str,
    bytes: Option<usize>,
    contestants: Vec<(&'static str, Work<'a>)>,
}

type Work<'a> = Box<dyn FnMut() + 'a>;

/// The figure of one contestant.
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) bytes: Option<usize>,
    pub(crate) who: String,
    /// Nanoseconds for doing it once.
    pub(crate) nanos: f64,
    /// To the first of its contest; `None` where there is nobody to compare with.
    pub(crate) ratio: Option<f64>,
}

impl<'a> Contest<'a> {
    pub(crate) fn new(work: &'static str, bytes: Option<usize>) -> Self {
        Self {
            work,
            bytes,
            contestants: Vec::new(),
        }
    }

    pub(crate) fn with<T>(mut self, who: &'static str, mut work: impl FnMut() -> T + 'a) -> Self {
        let work = move || drop(std::hint::black_box(work()));
        self.contestants.push((who, Box::new(work)));
        self
    }

    pub(crate) fn run(mut self, rounds: usize) -> Vec<Row> {
        let times: Vec<usize> = self
            .contestants
            .iter_mut()
            .map(|(_, work)| times_in_a_turn(work))
            .collect();
        let mut nanos = vec![Vec::with_capacity(rounds); self.contestants.len()];
        for _ in 0..rounds {
            for (((_, work), times), nanos) in self.contestants.iter_mut().zip(&times).zip(&mut nanos) {
                nanos.push(turn(work, *times).as_nanos() as f64 / *times as f64);
            }
        }
        let medians: Vec<f64> = nanos.into_iter().map(median).collect();
        let first = medians.first().copied();
        let named = self.contestants.into_iter().zip(medians);
        named
            .map(|((who, _), nanos)| Row {
                work: self.work,
                bytes: self.bytes,
                who: who.to_owned(),
                nanos,
                ratio: first.map(|first| nanos / first),
            })
            .collect()
    }
}

fn times_in_a_turn(work: &mut dyn FnMut()) -> usize {
    let mut times = 1;
    while turn(work, times) < TURN {
        times *= 2;
    }
    times
}

fn turn(work: &mut dyn FnMut(), times: usize) -> Duration {
    let start = Instant::now();
    (0..times).for_each(|_| work());
    start.elapsed()
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    fn per_second(&self) -> f64 {
        1e9 / self.nanos
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "work": self.work,
            "bytes": self.bytes,
            "who": self.who,
            "median_ns": (self.nanos * 10.0).round() / 10.0,
            "per_second": self.per_second().round(),
            "ratio": self.ratio.map(|ratio| (ratio * 1_000.0).round() / 1_000.0),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        write!(f, "{}\t{bytes}\t{}\t", self.work, self.who)?;
        write!(f, "{:.1} ns\t{:.0}", self.nanos, self.per_second())?;
        match self.ratio {
            Some(ratio) => write!(f, "\t{ratio:.2}"),
            None => Ok(()),
        }
    }
}
