//! `examples/schedule.rs`, run as a person would run it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Built here, since `cargo test --test it` does not build examples.
static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--example",
        "schedule",
        "--message-format",
        "json",
    ]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What `cargo test` tells a test about its package would make build scripts that watch it run again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|ours| name.to_string_lossy().starts_with(ours))
        {
            cargo.env_remove(name);
        }
    }
    let messages = cargo.output().unwrap().stdout;
    serde_json::Deserializer::from_slice(&messages)
        .into_iter::<serde_json::Value>()
        .find_map(|message| message.unwrap()["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable it built")
});

fn schedule(arguments: &[&str]) -> Output {
    Command::new(&*EXAMPLE).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = schedule(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn minutes_of_wait(lines: &str) -> Vec<f64> {
    let wait = |line: &str| line.split('\t').nth(2).unwrap().parse().unwrap();
    lines.lines().map(wait).collect()
}

#[test]
fn yodlee_prints_its_marks() {
    assert_eq!(
        printed(&["yodlee"]),
        "1\t10\t10\n2\t20\t10\n3\t40\t20\n4\t80\t40\n5\t160\t80\n6\t320\t160\n7\t640\t320\n8\t1280\t640\n"
    );
}

#[test]
fn truv_prints_fractions_of_a_minute_plainly() {
    assert_eq!(printed(&["truv"]), "1\t0.5\t0.5\n2\t1\t0.5\n3\t1.5\t0.5\n");
}

#[test]
fn truelayer_prints_growing_waits_that_the_seed_alone_decides() {
    let mut seen = Vec::new();
    for seed in ["0", "1", "2", "18446744073709551615"] {
        let lines = printed(&["truelayer", "--seed", seed]);
        assert_eq!(lines, printed(&["--seed", seed, "truelayer"]));
        let waits = minutes_of_wait(&lines);
        assert_eq!(waits.len(), 6);
        assert!(waits[1] < 1.0 / 60.0, "{lines}");
        assert!(waits.is_sorted_by(|earlier, later| earlier < later), "{lines}");
        assert!(!seen.contains(&lines));
        seen.push(lines);
    }
}

#[test]
fn the_chart_has_a_row_for_each_retry_and_leaves_the_lines_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chart.svg");
    for (provider, retries) in [
        ("truelayer", 6),
        ("yodlee", 8),
        ("yodlee-gaps", 8),
        ("truv", 3),
        ("standard-webhooks", 9),
    ] {
        let lines = printed(&[provider, "--svg", file.to_str().unwrap()]);
        assert_eq!(lines, printed(&[provider]));
        assert_eq!(lines.lines().count(), retries);

        let chart = std::fs::read_to_string(&file).unwrap();
        assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
        let in_legend = 1;
        assert_eq!(chart.matches(r#"class="retry""#).count(), retries + in_legend);
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
    }
}

#[test]
fn what_it_does_not_understand_gets_the_usage() {
    for arguments in [
        &[][..],
        &["powens"],
        &["yodlee", "truv"],
        &["yodlee", "--seed"],
        &["yodlee", "--seed", "-1"],
        &["yodlee", "--seed", "1", "--seed", "2"],
        &["yodlee", "--svg"],
        &["yodlee", "--png", "file"],
    ] {
        let output = schedule(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: schedule "));
    }
}

#[test]
fn a_chart_that_cannot_be_written_is_an_error() {
    let output = schedule(&["truv", "--svg", "/no/such/folder/chart.svg"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write"));
}
