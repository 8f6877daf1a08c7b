//! A schedule as an SVG time line: one row per retry, on a logarithmic axis, so that 200 ms and a day both show.

use std::fmt;
use std::time::Duration;

use super::Retry;

const WIDTH: f64 = 980.0;
/// Where the time axis begins. This stands for the first failure itself, which no logarithm reaches.
const LEFT: f64 = 104.0;
/// Where the columns of numbers end.
const JITTER: f64 = 756.0;
const WAIT: f64 = 856.0;
const SINCE: f64 = 952.0;
const TOP: f64 = 122.0;
const ROW: f64 = 34.0;
const DOT: f64 = 5.0;
/// The least room between two labels of the axis.
const TICK_ROOM: f64 = 54.0;

/// Labels of the axis in seconds, the rounder ones first: a label that finds no room is left out.
const TICKS: [f64; 26] = [
    0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0, 30.0, 300.0, 1_800.0, 21_600.0, 43_200.0,
    172_800.0, 0.3, 3.0, 5.0, 120.0, 180.0, 7_200.0, 10_800.0, 0.2, 0.5, 2.0, 20.0, 1_200.0,
];

const STYLE: &str = "\
    text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2937; }
    .title { font-size: 19px; font-weight: 600; }
    .quiet { fill: #5b6472; font-size: 12px; }
    .right { text-anchor: end; }
    .middle { text-anchor: middle; }
    .number { font-variant-numeric: tabular-nums; }
    .card { fill: #ffffff; stroke: #d0d7de; }
    .stripe { fill: #f6f8fa; }
    .grid { stroke: #d8dee6; stroke-dasharray: 2 4; }
    .axis { stroke: #8b95a3; stroke-width: 1.5; }
    .wait { stroke: #8fb4f5; stroke-width: 3; stroke-linecap: round; }
    .step { stroke: #8fb4f5; stroke-dasharray: 2 3; }
    .range { fill: #f2a93b; fill-opacity: 0.6; }
    .retry { fill: #1d4ed8; stroke: #ffffff; stroke-width: 1.5; }
    .failure { fill: #c62828; stroke: #ffffff; stroke-width: 1.5; }";

/// The time line of a schedule. Its `Display` is an SVG document.
pub(crate) struct Chart<'a> {
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    /// The retries to show.
    pub(crate) drawn: &'a [Retry],
    /// The same if every jitter is the shortest, and the longest.
    pub(crate) earliest: &'a [Retry],
    pub(crate) latest: &'a [Retry],
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.bottom() + 84.0;
        let (name, summary) = (self.name, self.summary());
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title summary">"#
        )?;
        writeln!(f, r#"  <title id="title">When {name} tries again</title>"#)?;
        writeln!(f, r#"  <desc id="summary">{summary}</desc>"#)?;
        writeln!(f, "  <style>\n{STYLE}\n  </style>")?;
        writeln!(
            f,
            r#"  <rect class="card" x="0.5" y="0.5" width="{}" height="{}" rx="10"/>"#,
            WIDTH - 1.0,
            height - 1.0
        )?;
        text(f, "title", 28.0, 42.0, &format!("When {name} tries again"))?;
        text(f, "quiet", 28.0, 65.0, &summary)?;
        self.fmt_stripes(f)?;
        self.fmt_axis(f)?;
        self.fmt_rows(f)?;
        self.fmt_legend(f, self.bottom() + 57.0)?;
        writeln!(f, "</svg>")
    }
}

impl Chart<'_> {
    fn summary(&self) -> String {
        let total = self
            .drawn
            .last()
            .map_or(Duration::ZERO, |retry| retry.since_first_failure);
        let count = self.drawn.len();
        format!(
            "{count} retries over {}, if every attempt fails at once",
            spoken(total)
        )
    }

    fn has_jitter(&self) -> bool {
        let mut ends = self.earliest.iter().zip(self.latest);
        ends.any(|(earliest, latest)| earliest.since_first_failure != latest.since_first_failure)
    }

    /// Where the time axis ends, to leave room for the columns there are.
    fn right(&self) -> f64 {
        if self.has_jitter() { 586.0 } else { 736.0 }
    }

    /// Where the last row ends.
    fn bottom(&self) -> f64 {
        self.drawn.iter().fold(TOP, |y, _| y + ROW)
    }

    /// The seconds at both ends of the axis, with some room around the earliest and the latest retry.
    fn domain(&self) -> (f64, f64) {
        let first = self.earliest.first().map_or(1.0, seconds);
        let last = self.latest.last().map_or(10.0, seconds);
        (first / 2.5, last * 1.3)
    }

    fn x(&self, seconds: f64) -> f64 {
        let (from, to) = self.domain();
        LEFT + (self.right() - LEFT) * (seconds / from).ln() / (to / from).ln()
    }

    fn fmt_stripes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (y, _) in rows(self.drawn).step_by(2) {
            let (top, width) = (y - ROW / 2.0, WIDTH - 32.0);
            writeln!(
                f,
                r#"  <rect class="stripe" x="16" y="{top}" width="{width}" height="{ROW}" rx="5"/>"#
            )?;
        }
        Ok(())
    }

    fn fmt_axis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bottom = self.bottom();
        let label = bottom + 20.0;
        for (x, seconds) in self.ticks() {
            line(f, "grid", (x, TOP), (x, bottom))?;
            text(
                f,
                "quiet middle",
                x,
                label,
                &spoken(Duration::from_secs_f64(seconds)),
            )?;
        }
        line(f, "axis", (LEFT, TOP), (LEFT, bottom))?;
        text(f, "quiet middle", LEFT, label, "0")?;

        let head = TOP - 12.0;
        text(f, "quiet", 28.0, head, "Retry")?;
        text(
            f,
            "quiet",
            LEFT,
            head,
            "Time since the first failure, logarithmic",
        )?;
        if self.has_jitter() {
            text(f, "quiet right", JITTER, head, "Possible wait")?;
        }
        text(f, "quiet right", WAIT, head, "Wait")?;
        text(f, "quiet right", SINCE, head, "Since failure")
    }

    fn ticks(&self) -> Vec<(f64, f64)> {
        let mut ticks: Vec<(f64, f64)> = Vec::new();
        for (x, seconds) in TICKS.map(|seconds| (self.x(seconds), seconds)) {
            let inside = x > LEFT + TICK_ROOM / 2.0 && x < self.right();
            if inside && ticks.iter().all(|(taken, _)| (taken - x).abs() >= TICK_ROOM) {
                ticks.push((x, seconds));
            }
        }
        ticks
    }

    fn fmt_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.earliest.iter().zip(self.latest);
        let mut before = LEFT;
        for (((y, retry), (earliest, latest)), number) in rows(self.drawn).zip(ranges).zip(1..) {
            let x = self.x(seconds(retry));
            let (from, to) = (self.x(seconds(earliest)), self.x(seconds(latest)));
            let baseline = y + 4.5;
            text(f, "number", 28.0, baseline, &number.to_string())?;
            if to > from {
                range(f, from, to, y)?;
                let waits = format!("{} – {}", spoken(earliest.wait), spoken(latest.wait));
                text(f, "number quiet right", JITTER, baseline, &waits)?;
            }
            line(f, "wait", (before, y), (x, y))?;
            if number == 1 {
                dot(f, "failure", before, y)?;
            } else {
                line(f, "step", (before, y - ROW + DOT), (before, y))?;
            }
            dot(f, "retry", x, y)?;
            text(f, "number right", WAIT, baseline, &spoken(retry.wait))?;
            text(
                f,
                "number right",
                SINCE,
                baseline,
                &spoken(retry.since_first_failure),
            )?;
            before = x;
        }
        Ok(())
    }

    fn fmt_legend(&self, f: &mut fmt::Formatter<'_>, y: f64) -> fmt::Result {
        let baseline = y + 4.0;
        dot(f, "failure", 34.0, y)?;
        text(f, "quiet", 46.0, baseline, "first failure")?;
        line(f, "wait", (140.0, y), (166.0, y))?;
        text(f, "quiet", 176.0, baseline, "wait")?;
        if !self.has_jitter() {
            dot(f, "retry", 226.0, y)?;
            return text(f, "quiet", 238.0, baseline, "retry");
        }
        range(f, 222.0, 248.0, y)?;
        text(f, "quiet", 257.0, baseline, "where jitter can put the retry")?;
        dot(f, "retry", 464.0, y)?;
        let seed = format!("where seed {} puts it", self.seed);
        text(f, "quiet", 476.0, baseline, &seed)
    }
}

/// Each retry with the height of the middle of its row.
fn rows(retries: &[Retry]) -> impl Iterator<Item = (f64, &Retry)> {
    let heights = std::iter::successors(Some(TOP + ROW / 2.0), |y| Some(y + ROW));
    heights.zip(retries)
}

fn seconds(retry: &Retry) -> f64 {
    retry.since_first_failure.as_secs_f64()
}

fn text(f: &mut fmt::Formatter<'_>, class: &str, x: f64, y: f64, text: &str) -> fmt::Result {
    writeln!(
        f,
        r#"  <text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
    )
}

fn line(f: &mut fmt::Formatter<'_>, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> fmt::Result {
    writeln!(
        f,
        r#"  <line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
    )
}

fn range(f: &mut fmt::Formatter<'_>, from: f64, to: f64, y: f64) -> fmt::Result {
    let (top, width) = (y - 11.0, to - from);
    writeln!(
        f,
        r#"  <rect class="range" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="22" rx="2"/>"#
    )
}

fn dot(f: &mut fmt::Formatter<'_>, class: &str, x: f64, y: f64) -> fmt::Result {
    writeln!(
        f,
        r#"  <circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{DOT}"/>"#
    )
}

/// A span as people say it, in its two largest units: `184 ms`, `9.3 s`, `1 min 30 s`, `21 h 20 min`.
fn spoken(span: Duration) -> String {
    let millis = (span.as_nanos() + 500_000) / 1_000_000;
    let seconds = millis / 1_000;
    let two = |large: u128, large_unit: &str, small: u128, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => match millis / 100 % 10 {
            0 => format!("{seconds} s"),
            tenths => format!("{seconds}.{tenths} s"),
        },
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..172_800 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}
