//! The simulation: whole worlds keep their promises, tell the same story each time, and broken ones are found.

use ringback::store::{MemoryStore, SqliteStore};
use ringback::testing::simulation::{FaultKind, Invariant, Mutant, Report, Simulation};

fn simulate(seeds: std::ops::Range<u64>, deliveries: u64) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        report.add(Simulation::new(seed).deliveries(deliveries).run());
    }
    report
}

#[test]
fn every_promise_is_kept_whatever_happens() {
    let report = simulate(0..300, 60);
    assert!(report.violations().is_empty(), "{report}");
    assert_eq!(report.seeds(), 300);
    assert!(report.deliveries() >= 300 * 60);
    assert!(report.attempts() > report.deliveries() / 2);
    for (kind, count) in report.faults().iter() {
        assert!(count > 0, "no {kind} in 300 worlds");
    }
    assert!(report.faults().count(FaultKind::LeaseExpired) > 1_000);
    assert!(report.duplicates() > 0, "{report}");
    // A worker that stood still between a claim and its sending looks at the clock first.
    assert_eq!(report.late_requests(), 0, "{report}");
}

#[test]
fn crowded_worlds_keep_every_promise() {
    let report = simulate(1_000..1_010, 600);
    assert!(report.violations().is_empty(), "{report}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let world = Simulation::new(42).deliveries(50);
    let (report, trace) = world.run_traced();
    assert!(trace.lines().count() > 200);
    assert_eq!(world.run_traced(), (report.clone(), trace.clone()));
    // Watching changes nothing, and neither does where the store comes from.
    let elsewhere = world.store(|| MemoryStore::keeping(1_000_000));
    assert_eq!(elsewhere.run(), report);
    assert_ne!(Simulation::new(43).deliveries(50).run_traced().1, trace);
}

/// Worlds with this broken, until it is found.
fn find(mutant: Mutant) -> Option<Report> {
    (1..300)
        .map(|seed| Simulation::new(seed).deliveries(40).mutant(mutant).run())
        .find(|report| report.count(mutant.breaks()) > 0)
}

#[test]
fn every_mutant_is_found_by_the_promise_it_breaks() {
    assert!(Mutant::all().count() >= 14);
    for mutant in Mutant::all() {
        assert!(
            find(mutant).is_some(),
            "{mutant} does not show: {}",
            mutant.breaks()
        );
        assert_eq!(Mutant::named(mutant.name()), Some(mutant));
    }
}

#[test]
fn a_report_shows_each_kind_with_its_zero() {
    let shown = simulate(0..1, 5).to_string();
    for invariant in Invariant::ALL {
        assert!(shown.contains(invariant.as_str()), "{shown}");
    }
    for kind in FaultKind::ALL {
        assert!(shown.contains(kind.as_str()), "{shown}");
    }
}

#[test]
fn sqlite_keeps_every_promise_too() {
    let mut report = Report::default();
    for seed in 0..20 {
        let world = Simulation::new(seed).deliveries(60);
        report.add(
            world
                .store(|| SqliteStore::builder().inline().open_in_memory().unwrap())
                .run(),
        );
    }
    assert!(report.violations().is_empty(), "{report}");
}
