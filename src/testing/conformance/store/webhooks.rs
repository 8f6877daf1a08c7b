//! Registrations, and what becomes of deliveries when one is removed.

use std::sync::Arc;
use std::time::Duration;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::auth::{AuthConfig, HmacAuth, HmacScheme};
use crate::delivery::{
    AutoDisable, Compression, DeadReason, DisableReason, Disabled, EventPattern, Limits, Order, Rate, State,
    Webhook,
};
use crate::retry::Flusher;
use crate::store::AuthRecord;
use crate::transport::Guard;

/// How many claims a store may take to bury what waits in one lane.
const CLAIMS_TO_BURY: usize = 100;

/// What is saved is read back equal, and replaces what was there.
pub async fn what_is_saved_is_read_back(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "what is saved is read back equal";
    let patterns = ["payment_*", "exact", "*"].map(|pattern| EventPattern::try_from(pattern.to_owned()));
    let full = Webhook {
        id: "ein 'Name' / \u{1f514}".into(),
        scope: "scope".into(),
        name: String::new(),
        events: patterns.into_iter().flatten().collect(),
        url: url("https://a.example:8443/path/%41?query=1&x="),
        auth: Some("auth".into()),
        profile: "profile".into(),
        limits: Limits {
            rate: Some(Rate {
                interval: Duration::from_millis(1_500),
                burst: in_flight(7).in_flight,
            }),
            ..in_flight(u32::MAX)
        },
        order: Order::Strict,
        enabled: false,
        flusher: Some(Flusher::default()),
        disabled: Some(Disabled {
            at: at(2),
            reason: DisableReason::Failing { since: at(1) },
        }),
        auto_disable: AutoDisable::never()
            .after(Duration::from_millis(1_500))
            .when_gone(),
        guard: Some(Arc::new(Guard::default().allow_loopback().only_host("a.example"))),
        compression: Compression::gzip_above(1_024),
        deadline: Some(Duration::from_millis(2_500)),
        created_at: at(1),
        updated_at: at(2),
    };
    let bare = Webhook {
        id: full.id.clone(),
        events: Vec::new(),
        ..webhook("bare")
    };
    equal(
        "what was not saved is not there",
        store.webhook(&full.id).await?,
        None,
    )?;
    for saved in [&full, &bare, &full] {
        save(store, saved.clone(), at(3)).await?;
        equal(CLAUSE, store.webhook(&full.id).await?.as_deref(), Some(saved))?;
    }
    let listed = only(store.webhooks(&"scope".into()).await?)?;
    equal(CLAUSE, &*listed, &full)
}

/// Webhooks are listed by scope, in the order of their ids; a removed one is gone from every answer.
pub async fn webhooks_are_listed_by_scope(store: &dyn Store) -> Result<(), Violation> {
    for (id, scope) in [("b", "one"), ("a", "one"), ("c", "two"), ("d", "one")] {
        let webhook = Webhook {
            scope: scope.into(),
            ..webhook(id)
        };
        save(store, webhook, at(0)).await?;
    }
    let listed = async |scope: &str| -> Checked<Vec<String>> {
        let webhooks = store.webhooks(&scope.into()).await?;
        Ok(webhooks.iter().map(|webhook| webhook.id.to_string()).collect())
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    equal(
        "all webhooks of a scope are listed by id",
        listed("one").await?,
        names(&["a", "b", "d"]),
    )?;
    equal(
        "all webhooks of a scope are listed by id",
        listed("two").await?,
        names(&["c"]),
    )?;
    equal(
        "a scope has only its own webhooks",
        listed("on").await?,
        names(&[]),
    )?;

    equal(
        "a removal says whether there was one",
        store.remove_webhook(&"b".into(), at(1)).await?,
        true,
    )?;
    equal(
        "a removal says whether there was one",
        store.remove_webhook(&"b".into(), at(1)).await?,
        false,
    )?;
    equal(
        "a removed webhook is gone from every answer",
        listed("one").await?,
        names(&["a", "d"]),
    )?;
    equal(
        "a removed webhook is gone from every answer",
        store.webhook(&"b".into()).await?,
        None,
    )
}

/// Auth records are kept, replaced and removed.
pub async fn auth_records_are_kept(store: &dyn Store) -> Result<(), Violation> {
    let auth = |scheme, secret: &[u8]| AuthRecord {
        id: "key".into(),
        name: "a key".into(),
        config: AuthConfig::Hmac(HmacAuth::new(scheme, crate::secret::Secret::new(secret))),
    };
    let mut rotated = HmacAuth::new(HmacScheme::StandardWebhooks, "old");
    rotated.rotate("new", LEASE, at(0));
    let rotated = AuthRecord {
        config: AuthConfig::Hmac(rotated),
        ..auth(HmacScheme::Truv, b"")
    };
    equal(
        "what was not saved is not there",
        store.auth(&"key".into()).await?,
        None,
    )?;
    let records = [
        auth(HmacScheme::Truv, b"\x00\xff binary"),
        auth(HmacScheme::BiSignature, b"text"),
        rotated,
    ];
    for record in records {
        store.save_auth(record.clone()).await?;
        ensure(
            "what is saved is read back equal",
            store.auth(&"key".into()).await?.as_deref() == Some(&record),
            || "another auth record".into(),
        )?;
    }
    equal(
        "a removal says whether there was one",
        store.remove_auth(&"key".into()).await?,
        true,
    )?;
    equal(
        "a removal says whether there was one",
        store.remove_auth(&"key".into()).await?,
        false,
    )?;
    equal(
        "what was removed is not there",
        store.auth(&"key".into()).await?,
        None,
    )
}

/// What waits for a deleted webhook becomes dead within a few claims; none of it is sent, and nobody waits for it.
pub async fn a_deleted_webhook_buries_what_waits(store: &dyn Store) -> Result<(), Violation> {
    const NEVER: &str = "what waits for a deleted webhook is never claimed";
    save(store, webhook("gone"), at(0)).await?;
    save(store, webhook("a"), at(0)).await?;
    let mut waiting = enqueue(store, "gone", 0..600, at(0)).await?;
    let flying = claim(store, 2, at(0)).await?;
    let [delivered, failed] = &flying[..] else {
        return Err(Violation::new(
            "what is due is claimed",
            format!("{}", flying.len()),
        ));
    };
    waiting.retain(|id| *id != delivered.id);
    store.remove_webhook(&"gone".into(), at(1)).await?;
    deliver(store, delivered, at(2)).await?;
    fail(store, failed, 10, at(2)).await?;
    let late = only(enqueue(store, "gone", 600..601, at(2)).await?)?;
    equal(
        "what is enqueued for a webhook that the store does not know is recorded as dead",
        record(store, late).await?.state,
        State::Dead(DeadReason::WebhookDeleted),
    )?;
    let alive = enqueue_one(store, "a", at(2)).await?;
    let mut sent = Vec::new();
    for _ in 0..CLAIMS_TO_BURY {
        sent.extend(claim(store, 5, at(20)).await?);
    }
    ensure(NEVER, count_to(&sent, "gone") == 0, || {
        format!("{:?}", ids(&sent))
    })?;
    equal("the others go on", ids(&sent), vec![alive])?;
    for id in waiting {
        equal(
            "what waits for a deleted webhook becomes dead once claims have passed its lane often enough",
            record(store, id).await?.state,
            State::Dead(DeadReason::WebhookDeleted),
        )?;
    }
    equal(
        "what was in flight when its webhook was deleted is settled as it went",
        record(store, delivered.id).await?.state,
        State::Delivered,
    )?;
    deliver_all(store, &sent, at(20)).await?;
    equal(
        "next_due is `None` if there is nothing to wait for",
        store.next_due(at(20)).await?,
        None,
    )
}

/// A webhook whose id was used before starts with nothing.
pub async fn a_webhook_registered_anew_starts_empty(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let old = enqueue(store, "a", 0..3, at(0)).await?;
    store.remove_webhook(&"a".into(), at(1)).await?;
    save(store, webhook("a"), at(2)).await?;
    let new = only(enqueue(store, "a", 3..4, at(3)).await?)?;
    let mut sent = Vec::new();
    for _ in 0..CLAIMS_TO_BURY {
        sent.extend(ids(&claim(store, 5, at(4)).await?));
    }
    equal(
        "what waited for a deleted webhook is never claimed",
        sent,
        vec![new],
    )?;
    for id in old {
        equal(
            "what waits for a deleted webhook becomes dead",
            record(store, id).await?.state,
            State::Dead(DeadReason::WebhookDeleted),
        )?;
    }
    Ok(())
}
