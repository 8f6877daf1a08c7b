//! Webhooks, and the auths that they name.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{AutoDisable, Compression, EventPattern, Limits, Order, Rate, Webhook};
use ringback::retry::Flusher;
use ringback::store::{AuthRecord, Store, Switch};
use ringback::url::WebhookUrl;

use super::{Caller, scope_of, shown, skew};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Save(Saving),
    /// Whether in place of what is there, or of what was.
    Replace(Saving, bool),
    /// Which, how, and by how much off from the instant since which it is failing.
    Switch(u8, u8, i64),
    Remove(u8),
    SaveAuth(u8),
    ReplaceAuth(u8, u8),
    RemoveAuth,
    List(u8, usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Saving {
    webhook: u8,
    in_flight: u32,
    rate: Option<(u64, u32)>,
    is_strict: bool,
    enabled: bool,
    /// Of its flusher, in milliseconds.
    period: Option<u64>,
    when_gone: bool,
    is_elsewhere: bool,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let save = (
        0u8..3,
        1u32..4,
        proptest::option::of((1u64..300, 1u32..4)),
        any::<bool>(),
        prop::bool::weighted(0.85),
        proptest::option::of(1u64..300),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    let save = save.prop_map(
        |(webhook, in_flight, rate, is_strict, enabled, period, when_gone, is_elsewhere)| Saving {
            webhook,
            in_flight,
            rate,
            is_strict,
            enabled,
            period,
            when_gone,
            is_elsewhere,
        },
    );
    prop_oneof![
        3 => save.clone().prop_map(Op::Save),
        2 => (save, any::<bool>()).prop_map(|(saving, is_late)| Op::Replace(saving, is_late)),
        2 => (0u8..4, 0u8..4, skew()).prop_map(|(webhook, how, skew)| Op::Switch(webhook, how, skew)),
        1 => (0u8..3).prop_map(Op::Remove),
        1 => (0u8..3).prop_map(Op::SaveAuth),
        1 => (0u8..4, 0u8..3).prop_map(|(old, new)| Op::ReplaceAuth(old, new)),
        1 => Just(Op::RemoveAuth),
        1 => (0u8..5, 0usize..4).prop_map(|(after, max)| Op::List(after, max)),
    ]
}

impl Caller {
    pub(super) async fn call_webhooks(&self, store: &dyn Store, op: &Op) -> String {
        let now = self.now;
        match op {
            Op::Save(saving) => shown(store.save_webhook(saving.webhook(now), now).await),
            Op::Replace(saving, is_late) => {
                let new = saving.webhook(now);
                let old = store.webhook(&new.id).await.unwrap();
                let old = old.as_deref().filter(|_| !is_late);
                shown(store.replace_webhook(old, new, now).await)
            }
            Op::Switch(webhook, how, skew) => {
                let id = format!("w{webhook}").into();
                let failing = store.failing_webhooks(None, 9).await.unwrap();
                let since = failing.iter().find(|failing| failing.webhook.id == id);
                let since = since.map_or(now, |failing| failing.since);
                let switch = match how {
                    0 => Switch::On,
                    1 => Switch::Off,
                    _ => Switch::OffIfFailingSince(since + TimeDelta::microseconds(*skew)),
                };
                shown(store.switch_webhook(&id, switch, now).await)
            }
            Op::Remove(webhook) => shown(store.remove_webhook(&format!("w{webhook}").into(), now).await),
            Op::SaveAuth(key) => shown(store.save_auth(auth(*key)).await),
            Op::ReplaceAuth(old, new) => {
                let old = (*old < 3).then(|| auth(*old));
                shown(store.replace_auth(old.as_ref(), auth(*new)).await)
            }
            Op::RemoveAuth => shown(store.remove_auth(&"a0".into()).await),
            Op::List(after, max) => list(store, *after, *max).await,
        }
    }
}

impl Saving {
    fn webhook(&self, now: DateTime<Utc>) -> Webhook {
        let rate = self.rate.map(|(ms, burst)| Rate {
            interval: Duration::from_millis(ms),
            burst: NonZeroU32::new(burst).unwrap(),
        });
        let flusher = self.period.map(|ms| {
            let flusher = Flusher::default().with_max_consecutive_failures(NonZeroU32::new(2).unwrap());
            flusher.with_period(Duration::from_millis(ms)).unwrap()
        });
        let (webhook, in_flight) = (self.webhook, self.in_flight);
        Webhook {
            id: format!("w{webhook}").into(),
            scope: scope_of((webhook == 2) != self.is_elsewhere).into(),
            name: "name".into(),
            events: vec![EventPattern::any()],
            url: WebhookUrl::parse(&format!("https://w{webhook}.example/?limit={in_flight}")).unwrap(),
            auth: Some(format!("a{webhook}").into()),
            profile: "p".into(),
            limits: Limits {
                in_flight: NonZeroU32::new(in_flight).unwrap(),
                rate,
            },
            order: if self.is_strict { Order::Strict } else { Order::Any },
            enabled: self.enabled,
            disabled: None,
            auto_disable: AutoDisable {
                when_gone: self.when_gone,
                ..AutoDisable::never()
            },
            deadline: None,
            flusher,
            guard: None,
            compression: Compression::None,
            created_at: now,
            updated_at: now,
        }
    }
}

fn auth(key: u8) -> AuthRecord {
    AuthRecord {
        id: "a0".into(),
        name: format!("key {key}"),
        config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, format!("key {key}"))),
    }
}

/// All lists, from the same place on.
async fn list(store: &dyn Store, after: u8, max: usize) -> String {
    let (webhook, auth) = (format!("w{after}").into(), format!("a{after}").into());
    let after = (after < 4).then_some((&webhook, &auth));
    let (webhook, auth) = (after.map(|after| after.0), after.map(|after| after.1));
    let mut text = shown(store.all_webhooks(webhook, max).await);
    text += &shown(store.failing_webhooks(webhook, max).await);
    text += &shown(store.auths(auth, max).await);
    text + &shown(store.webhooks_with_auth(&"a0".into(), max).await)
}

/// All webhooks and auths, however they are asked for.
pub(super) async fn everything(store: &dyn Store) -> String {
    let mut text = list(store, 9, 9).await;
    for scope in ["s0", "s1"] {
        text += &shown(store.webhooks(&scope.into()).await);
    }
    for id in 0..6 {
        text += &shown(store.webhook(&format!("w{id}").into()).await);
        text += &shown(store.auth(&format!("a{id}").into()).await);
    }
    text
}
