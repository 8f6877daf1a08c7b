//! Does delivery keep its promises, whatever happens? Simulates worlds full of faults, and counts what was broken.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 1000 --deliveries 200
//! cargo run --release --example simulate -- --store sqlite
//! cargo run --example simulate -- --trace 7
//! cargo run --example simulate -- --list-mutants
//! cargo run --example simulate -- --mutant fence-ignored
//! ```
//!
//! Prints how much was simulated, the faults injected by kind, and the violations found by kind; the exit status is
//! 1 if there were any. `--trace` tells all that happens in one world, the same byte for byte each time. A mutant is
//! a store or worker with something broken: it must be found.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use ringback::store::SqliteStore;
use ringback::testing::simulation::{Mutant, Report, Simulation};

const USAGE: &str =
    "usage: simulate [--seeds N] [--first-seed S] [--deliveries N] [--store memory|sqlite] [--mutant NAME]
       simulate --trace SEED [--deliveries N] [--store memory|sqlite] [--mutant NAME]
       simulate --list-mutants";

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads the lines has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does as asked. Whether every promise was kept.
fn run(options: &Options, out: &mut impl Write) -> io::Result<bool> {
    match options.action {
        Action::ListMutants => {
            for mutant in Mutant::all() {
                writeln!(out, "{:<32} {}", mutant.name(), mutant.breaks())?;
            }
            Ok(true)
        }
        Action::Trace(seed) => {
            let (report, trace) = options.simulation(seed).run_traced();
            write!(out, "{trace}")?;
            Ok(report.violations().is_empty())
        }
        Action::Simulate { first, seeds } => {
            let mut report = Report::default();
            for seed in (first..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
                report.add(options.simulation(seed).run());
                // A broken world has said what is broken.
                if options
                    .mutant
                    .is_some_and(|mutant| report.count(mutant.breaks()) > 0)
                {
                    break;
                }
            }
            writeln!(out, "{report}")?;
            Ok(report.violations().is_empty())
        }
    }
}

struct Options {
    action: Action,
    deliveries: u64,
    on_sqlite: bool,
    mutant: Option<Mutant>,
}

#[derive(Clone, Copy)]
enum Action {
    Simulate { first: u64, seeds: u64 },
    Trace(u64),
    ListMutants,
}

impl Options {
    /// `None` for anything but what the usage says.
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut seeds, mut first, mut deliveries, mut on_sqlite) = (None, 1, 60, false);
        let (mut trace, mut list, mut mutant) = (None, false, None);
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next()?.to_str()?.parse().ok();
            match argument.to_str()? {
                "--seeds" => seeds = Some(number()?),
                "--first-seed" => first = number()?,
                "--deliveries" => deliveries = number()?,
                "--trace" => trace = Some(number()?),
                "--list-mutants" => list = true,
                "--mutant" => mutant = Some(Mutant::named(arguments.next()?.to_str()?)?),
                "--store" => match arguments.next()?.to_str()? {
                    "memory" => on_sqlite = false,
                    "sqlite" => on_sqlite = true,
                    _ => return None,
                },
                _ => return None,
            }
        }
        // A mutant is run until it is found.
        let seeds = seeds.unwrap_or(if mutant.is_some() { 500 } else { 20 });
        let action = match trace {
            _ if list => Action::ListMutants,
            Some(seed) => Action::Trace(seed),
            None => Action::Simulate { first, seeds },
        };
        Some(Self {
            action,
            deliveries,
            on_sqlite,
            mutant,
        })
    }

    fn simulation(&self, seed: u64) -> Simulation {
        let mut simulation = Simulation::new(seed).deliveries(self.deliveries);
        if self.on_sqlite {
            simulation = simulation.store(in_memory_sqlite);
        }
        match self.mutant {
            Some(mutant) => simulation.mutant(mutant),
            None => simulation,
        }
    }
}

/// SQLite without its thread, so that nothing but the seed decides what happens when.
fn in_memory_sqlite() -> SqliteStore {
    match SqliteStore::builder().inline().open_in_memory() {
        Ok(store) => store,
        Err(error) => panic!("SQLite does not open: {error}"),
    }
}
