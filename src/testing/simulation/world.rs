//! What a simulated world consists of: webhooks, profiles and events, all by its seed.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;

use super::faults::Lots;
use crate::auth::{AuthConfig, HmacAuth, HmacScheme};
use crate::delivery::{
    AutoDisable, Call, Digest, DigestEntry, DigestForm, Event, Interval, IntervalError, Limits, Order,
    PlainProfile, Profiles, Rate, Window,
};
use crate::engine::Registration;
use crate::id::Scope;
use crate::retry::{Classification, Flusher, Schedule, ScheduleError};
use crate::url::{UrlError, WebhookUrl};

/// The id of the authentication that some webhooks name, and that goes missing for a while.
pub(super) const KEY: &str = "key";

pub(super) const SCOPES: [&str; 3] = ["red", "green", "blue"];
const KINDS: [&str; 3] = ["order.paid", "order.sent", "user.left"];
const PATTERNS: [&str; 4] = ["*", "*", "order.*", "user.left"];
const PROFILES: [&str; 3] = ["brisk", "marked", "patient"];

/// The longest deadline of any attempt.
pub(super) const LONGEST_DEADLINE: Duration = Duration::from_secs(6);

/// How long one lease is, as engines are set up here: 1 second for the authentication, the longest deadline, and a
/// margin of 3 seconds.
pub(super) const AUTH_DEADLINE: Duration = Duration::from_secs(1);
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(3);

/// The profiles by which everything in these worlds is sent.
pub(super) fn profiles() -> Result<[PlainProfile; 3], ScheduleError> {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    let brisk = Schedule::gaps([
        millis(200)..=millis(400),
        seconds(1)..=seconds(2),
        seconds(3)..=seconds(3),
        seconds(8)..=seconds(9),
        seconds(15)..=seconds(15),
    ])
    .build()?;
    let marked = Schedule::marks([2, 5, 12, 30, 60].map(seconds))?;
    let patient = Schedule::exponential(seconds(1), 2, 6)
        .jitter_around(25)
        .build()?
        .with_hint_cap(seconds(15));
    Ok([
        PlainProfile::new("brisk", brisk).with_deadline(seconds(5)),
        PlainProfile::new("marked", marked).with_deadline(seconds(3)),
        PlainProfile::new("patient", patient)
            .with_deadline(seconds(4))
            .with_classification(Classification::default().gone_on_410(true)),
    ])
}

/// What is gathered in these worlds.
pub(super) const DIGEST: &str = "users.changed";

/// How many users a notification has at most.
pub(super) const MOST_USERS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// Windows are so short that worlds have many, and that clocks are set by more than one.
pub(super) fn digest() -> Result<Digest, IntervalError> {
    let interval = Interval::of(Duration::from_secs(5))?;
    Ok(Digest::new(DIGEST, interval, Counts).with_max_users(MOST_USERS))
}

/// Says of each user how many updates there were, and when, so that no two notifications are alike.
#[derive(Debug)]
struct Counts;

impl DigestForm for Counts {
    fn body(&self, _scope: &Scope, window: &Window, users: &[DigestEntry]) -> Bytes {
        let when = |user: &DigestEntry| [user.first, user.last].map(|at| at.timestamp_micros());
        let counts = users.iter().map(|user| (&user.subject, user.updates));
        let body = serde_json::json!({
            "from": window.start(),
            "users": counts.collect::<Vec<_>>(),
            "when": users.iter().map(when).collect::<Vec<_>>(),
        });
        body.to_string().into()
    }
}

pub(super) fn all(profiles: &[PlainProfile]) -> Profiles {
    profiles
        .iter()
        .fold(Profiles::none(), |all, profile| all.with(profile.clone()))
}

pub(super) fn key() -> AuthConfig {
    AuthConfig::Hmac(HmacAuth::new(HmacScheme::BiSignature, "a key for simulations"))
}

/// What a world registers and enqueues.
#[derive(Debug)]
pub(super) struct World {
    pub(super) registrations: Vec<Registration>,
    lots: Lots,
    events: u64,
}

/// An event to enqueue, and the URL to ring back where it goes to one alone.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) event: Event,
    pub(super) call: Option<Call>,
}

impl World {
    pub(super) fn of(seed: u64) -> Self {
        let lots = Lots::new(seed, 2);
        let rules = Lots::new(seed, 11);
        let registrations = (0..4 + lots.below(4))
            .map(|no| registration(&lots, no).auto_disable(auto_disable(&rules)))
            .collect();
        Self {
            registrations,
            lots,
            events: 0,
        }
    }

    /// Which of `all` a part of the world picks.
    fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        pick(&self.lots, all)
    }

    /// The next event.
    pub(super) fn happens(&mut self) -> Option<Happening> {
        self.events += 1;
        let (scope, kind) = (*self.pick(&SCOPES), *self.pick(&KINDS));
        let id = format!("e{}", self.events);
        let event = event(scope, &id, kind, "1")?;
        let call = if self.lots.chance(150) {
            Some(self.call(scope, &id).ok()?)
        } else {
            None
        };
        Some(Happening { event, call })
    }

    fn call(&self, scope: &str, id: &str) -> Result<Call, UrlError> {
        let host = self.lots.below(2);
        Ok(Call {
            url: WebhookUrl::parse(&format!("https://caller-{host}.example/back?{scope}-{id}"))?,
            profile: (*self.pick(&PROFILES)).into(),
            auth: None,
            limits: Limits {
                in_flight: at_least_one(2 + host),
                rate: None,
            },
        })
    }
}

impl Happening {
    /// Another event under the same id.
    pub(super) fn contradicted(&self) -> Option<Self> {
        let Self { event: old, call } = self;
        Some(Self {
            event: event(old.scope().as_str(), old.id().as_str(), old.kind().as_str(), "2")?,
            call: call.clone(),
        })
    }
}

fn registration(lots: &Lots, no: u64) -> Registration {
    let interval = lots.millis(100, 600);
    let rate = lots.chance(250).then(|| Rate {
        interval,
        burst: at_least_one(1 + lots.below(3)),
    });
    let limits = Limits {
        in_flight: at_least_one(1 + lots.below(4)),
        rate,
    };
    // The first few belong to a scope each, so that none is without.
    let scope = SCOPES[(no % 3) as usize];
    let url = format!("https://receiver-{no}.example/hook");
    let registration = Registration::new(scope, url, *pick(lots, &PROFILES))
        .events([*pick(lots, &PATTERNS)])
        .limits(limits);
    let registration = match lots.below(4) {
        0 => registration.order(Order::Strict),
        1 | 2 => registration.flusher(flusher(lots)),
        _ => registration,
    };
    match lots.below(4) {
        0 => registration.auth(KEY),
        _ => registration,
    }
}

fn flusher(lots: &Lots) -> Option<Flusher> {
    let flusher = Flusher::default()
        .with_max_consecutive_failures(at_least_one(1 + lots.below(4)))
        .with_max_timeouts(at_least_one(1 + lots.below(2)));
    flusher.with_period(lots.millis(4_000, 12_000)).ok()
}

/// The users that some events are about, and that are temporary now and then.
pub(super) const USERS: [&str; 3] = ["user-1", "user-2", "user-3"];

/// Whom an event is about, by its id.
fn subject(id: &str) -> Option<&'static str> {
    USERS
        .into_iter()
        .find(|user| id.ends_with(&user[user.len() - 1..]))
}

/// Some are disabled after a few seconds of nothing but failures.
fn auto_disable(lots: &Lots) -> AutoDisable {
    let span = lots.millis(2_000, 9_000);
    match lots.chance(400) {
        true => AutoDisable::never().after(span),
        false => AutoDisable::never(),
    }
}

fn event(scope: &str, id: &str, kind: &str, version: &str) -> Option<Event> {
    let body = format!(r#"{{"scope":"{scope}","event":"{id}","version":{version}}}"#);
    let event = Event::builder(scope, id, kind).json(Bytes::from(body));
    let event = match subject(id) {
        Some(user) => event.subject(user),
        None => event,
    };
    event.build().ok()
}

fn pick<'a, T>(lots: &Lots, all: &'a [T]) -> &'a T {
    &all[lots.below(all.len() as u64) as usize]
}

fn at_least_one(number: u64) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(u32::try_from(number).unwrap_or(u32::MAX).saturating_sub(1))
}
