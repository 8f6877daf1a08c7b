//! When would each provider try again? Prints a retry schedule, and draws it.
//!
//! ```text
//! cargo run --example schedule -- yodlee
//! cargo run --example schedule -- truelayer --seed 7 --svg truelayer.svg
//! ```
//!
//! One line per retry, tab-separated: the number of the retry, minutes since the first failure, minutes of wait
//! before it. Each attempt is taken to fail at once. Jitter is drawn from the seed, so the same seed prints the
//! same lines. It shows that a schedule is plain data with a pure decision: no clock runs here.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ringback::retry::{Decision, Progress, Schedule};
use ringback::time::elapsed;

#[path = "schedule/chart.rs"]
mod chart;

const USAGE: &str =
    "usage: schedule truelayer | yodlee | yodlee-gaps | truv | standard-webhooks [--seed N] [--svg FILE]";

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the lines has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schedule: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let schedule = &options.provider.schedule;
    let mut jitter = SplitMix64(options.seed);
    let drawn = retries(schedule, || jitter.next());

    if let Some(file) = &options.svg {
        let chart = chart::Chart {
            name: options.provider.name,
            seed: options.seed,
            drawn: &drawn,
            earliest: &retries(schedule, || u64::MIN),
            latest: &retries(schedule, || u64::MAX),
        };
        std::fs::write(file, chart.to_string())
            .map_err(|error| io::Error::other(format!("cannot write {}: {error}", file.display())))?;
    }

    let mut stdout = io::stdout().lock();
    for (number, retry) in (1..).zip(&drawn) {
        let (since, wait) = (minutes(retry.since_first_failure), minutes(retry.wait));
        writeln!(stdout, "{number}\t{since}\t{wait}")?;
    }
    stdout.flush()
}

struct Retry {
    since_first_failure: Duration,
    wait: Duration,
}

/// Every retry of the schedule, if each attempt fails at once.
fn retries(schedule: &Schedule, mut random: impl FnMut() -> u64) -> Vec<Retry> {
    let first_failure = DateTime::<Utc>::UNIX_EPOCH;
    let mut progress = Progress {
        attempts: 1,
        first_failure,
        now: first_failure,
        retry_after: None,
        random: random(),
    };
    let mut retries = Vec::new();
    while let Decision::RetryAt(at) = schedule.decide(&progress) {
        retries.push(Retry {
            since_first_failure: elapsed(first_failure, at),
            wait: elapsed(progress.now, at),
        });
        progress = Progress {
            attempts: progress.attempts + 1,
            now: at,
            random: random(),
            ..progress
        };
    }
    retries
}

/// Minutes to a millionth, without needless zeros: `1280`, `0.5`, `0.003214`.
fn minutes(span: Duration) -> String {
    let millionths = (span.as_nanos() + 30_000) / 60_000;
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

struct Options {
    provider: Provider,
    seed: u64,
    svg: Option<PathBuf>,
}

impl Options {
    /// `None` for anything but what the usage says.
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut provider, mut seed, mut svg) = (None, None, None);
        while let Some(argument) = arguments.next() {
            match argument.to_str()? {
                "--seed" if seed.is_none() => seed = Some(arguments.next()?.to_str()?.parse().ok()?),
                "--svg" if svg.is_none() => svg = Some(PathBuf::from(arguments.next()?)),
                name if provider.is_none() => provider = Some(Provider::named(name)?),
                _ => return None,
            }
        }
        Some(Self {
            provider: provider?,
            seed: seed.unwrap_or(1),
            svg,
        })
    }
}

struct Provider {
    name: &'static str,
    schedule: Schedule,
}

impl Provider {
    fn named(argument: &str) -> Option<Self> {
        let (name, schedule) = match argument {
            "truelayer" => ("TrueLayer", Schedule::truelayer()),
            "yodlee" => ("Yodlee", Schedule::yodlee()),
            "yodlee-gaps" => ("Yodlee (read as gaps)", Schedule::yodlee_gaps()),
            "truv" => ("Truv", Schedule::truv()),
            "standard-webhooks" => ("Standard Webhooks", Schedule::standard_webhooks()),
            _ => return None,
        };
        Some(Self { name, schedule })
    }
}

/// Sebastiano Vigna's SplitMix64: small, and the same everywhere for the same seed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
