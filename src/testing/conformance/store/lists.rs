//! Lists of webhooks and auth records.

use super::scene::*;
use super::{Store, Violation, equal};
use crate::auth::{AuthConfig, HmacAuth, HmacScheme};
use crate::delivery::Webhook;
use crate::id::{AuthId, WebhookId};
use crate::store::{AuthRecord, Next, Saved, Switch};

/// In the order of their bytes.
const IDS: [&str; 5] = ["B", "a", "a/1", "b", "\u{e9}"];

fn auth(id: &str, secret: &str) -> AuthRecord {
    AuthRecord {
        id: id.into(),
        name: format!("auth {id}"),
        config: AuthConfig::Hmac(HmacAuth::new(HmacScheme::Truv, secret)),
    }
}

/// Webhooks of every scope are listed page by page; of those that fail, and are enabled, there is a list too.
pub async fn webhooks_come_in_pages(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a list is in the order of ids, begins after the id given, and is whole";
    for (number, id) in [3, 0, 4, 1, 2].map(|number| (number, IDS[number])) {
        let webhook = Webhook {
            scope: format!("scope {number}").into(),
            url: url(&format!("https://host{number}.example/")),
            id: id.into(),
            ..webhook("any")
        };
        save(store, webhook.clone(), at(0)).await?;
        let event = crate::delivery::Event::builder(webhook.scope, id, "kind").build();
        let event = event.expect("the checks' own events are whole");
        enqueue_event(store, new(event, vec![to_webhook(id)]), at(0)).await?;
    }
    for claimed in claim(store, 10, at(0)).await? {
        settle_held(store, settlement(&claimed, ERROR, Next::Exhausted, at(1)), at(1)).await?;
    }
    for page in 1..=6 {
        let (mut all, mut failing) = (Vec::<WebhookId>::new(), Vec::<WebhookId>::new());
        for _ in 0..IDS.len() {
            let next = store.all_webhooks(all.last(), page).await?;
            equal(CLAUSE, next.len(), page.min(IDS.len() - all.len()))?;
            all.extend(next.iter().map(|webhook| webhook.id.clone()));
            let next = store.failing_webhooks(failing.last(), page).await?;
            equal(CLAUSE, next.len(), page.min(IDS.len() - failing.len()))?;
            failing.extend(next.iter().map(|failing| failing.webhook.id.clone()));
        }
        equal(CLAUSE, all, IDS.map(WebhookId::from).to_vec())?;
        equal(CLAUSE, failing, IDS.map(WebhookId::from).to_vec())?;
    }
    equal(
        "what begins after an id need not have that one",
        store
            .all_webhooks(Some(&"a/0".into()), 1)
            .await?
            .first()
            .map(|webhook| webhook.id.clone()),
        Some("a/1".into()),
    )
}

/// Auth records are listed page by page.
pub async fn auth_records_come_in_pages(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a list is in the order of ids, begins after the id given, and is whole";
    for number in [3, 0, 4, 1, 2] {
        store.save_auth(auth(IDS[number], "secret")).await?;
    }
    for page in 1..=6 {
        let mut listed = Vec::<AuthRecord>::new();
        for _ in 0..IDS.len() {
            let next = store.auths(listed.last().map(|record| &record.id), page).await?;
            equal(CLAUSE, next.len(), page.min(IDS.len() - listed.len()))?;
            listed.extend(next.iter().map(|record| AuthRecord::clone(record)));
        }
        equal(CLAUSE, listed, IDS.map(|id| auth(id, "secret")).to_vec())?;
    }
    Ok(())
}

/// A store knows which webhooks name an auth record, whether it has the record or not.
pub async fn who_names_an_auth_record_is_known(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "the webhooks that name an auth record are listed by id";
    let naming = |id: &str, auth: Option<&str>| Webhook {
        auth: auth.map(AuthId::from),
        ..webhook(id)
    };
    for (id, auth) in [
        ("c", Some("k")),
        ("a", Some("k")),
        ("b", Some("other")),
        ("d", None),
        ("e", Some("k")),
    ] {
        save(store, naming(id, auth), at(0)).await?;
    }
    let named =
        async |max| -> Checked<Vec<WebhookId>> { Ok(store.webhooks_with_auth(&"k".into(), max).await?) };
    let names = |ids: &[&str]| ids.iter().copied().map(WebhookId::from).collect::<Vec<_>>();
    equal(CLAUSE, named(10).await?, names(&["a", "c", "e"]))?;
    equal(CLAUSE, named(2).await?, names(&["a", "c"]))?;
    save(store, naming("a", Some("other")), at(1)).await?;
    save(store, naming("d", Some("k")), at(1)).await?;
    store.remove_webhook(&"c".into(), at(1)).await?;
    equal(CLAUSE, named(10).await?, names(&["d", "e"]))
}

/// A webhook is replaced only as long as it is what its replacer thinks it is.
pub async fn a_webhook_is_replaced_as_it_was(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "a webhook is replaced if it is still as it was, and only then";
    let named = |name: &str| Webhook {
        name: name.into(),
        ..webhook("a")
    };
    let [first, second, third] = ["1", "2", "3"].map(named);
    let replaced =
        async |old: Option<&Webhook>, new: &Webhook, expected: Saved, then: Option<&Webhook>| -> Checked {
            equal(
                CLAUSE,
                store.replace_webhook(old, new.clone(), at(0)).await?,
                expected,
            )?;
            equal(CLAUSE, store.webhook(&"a".into()).await?.as_deref(), then)
        };
    replaced(Some(&first), &second, Saved::Changed, None).await?;
    replaced(None, &first, Saved::Done, Some(&first)).await?;
    replaced(None, &second, Saved::Changed, Some(&first)).await?;
    replaced(Some(&third), &second, Saved::Changed, Some(&first)).await?;
    let elsewhere = Webhook {
        scope: "elsewhere".into(),
        ..second.clone()
    };
    replaced(Some(&first), &elsewhere, Saved::OtherScope, Some(&first)).await?;
    replaced(Some(&first), &second, Saved::Done, Some(&second)).await?;
    store.switch_webhook(&"a".into(), Switch::Off, at(1)).await?;
    let off = store.webhook(&"a".into()).await?;
    replaced(Some(&second), &third, Saved::Changed, off.as_deref()).await
}

/// What has taken the place of a webhook is what claims go by.
pub async fn what_replaces_a_webhook_is_gone_by(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "claims go by what a webhook was replaced with";
    let replaced = async |old: &Webhook, new: &Webhook, claims: usize| -> Checked {
        equal(
            CLAUSE,
            store.replace_webhook(Some(old), new.clone(), at(0)).await?,
            Saved::Done,
        )?;
        equal(CLAUSE, claim(store, 10, at(0)).await?.len(), claims)
    };
    let first = webhook("a");
    save(store, first.clone(), at(0)).await?;
    for id in ["1", "2", "3"] {
        enqueue_event(store, new(event(id), vec![to_webhook("a")]), at(0)).await?;
    }
    let off = Webhook {
        enabled: false,
        ..first.clone()
    };
    let narrow = Webhook {
        limits: in_flight(1),
        ..first.clone()
    };
    replaced(&first, &off, 0).await?;
    replaced(&off, &narrow, 1).await?;
    replaced(&narrow, &first, 2).await
}

/// An auth record is replaced only as long as it is what its replacer thinks it is.
pub async fn an_auth_record_is_replaced_as_it_was(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "an auth record is replaced if it is still as it was, and only then";
    let (first, second, third) = (auth("k", "1"), auth("k", "2"), auth("k", "3"));
    let is_now = async |expected: Option<&AuthRecord>| -> Checked {
        equal(CLAUSE, store.auth(&"k".into()).await?.as_deref(), expected)
    };
    equal(
        CLAUSE,
        store.replace_auth(Some(&first), second.clone()).await?,
        false,
    )?;
    is_now(None).await?;
    equal(CLAUSE, store.replace_auth(None, first.clone()).await?, true)?;
    is_now(Some(&first)).await?;
    equal(CLAUSE, store.replace_auth(None, second.clone()).await?, false)?;
    equal(
        CLAUSE,
        store.replace_auth(Some(&third), second.clone()).await?,
        false,
    )?;
    is_now(Some(&first)).await?;
    equal(
        CLAUSE,
        store.replace_auth(Some(&first), second.clone()).await?,
        true,
    )?;
    is_now(Some(&second)).await
}
