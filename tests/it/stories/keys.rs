//! Keys: made, shown once, rotated while deliveries go on, and taken away.

use std::time::Duration;

use http::{Request, StatusCode};
use ringback::auth::{GeneratedKey, HmacScheme};
use ringback::engine::{
    AuthKind, GenerateAuthError, RegisterError, Registration, RemoveAuthError, RotateAuthError,
};
use ringback::signature::{
    BiSignature, HmacKey, MaxAge, Message, StandardWebhooks, TruvSignature, Verifier, VerifyingKey,
};
use ringback::testing::Reply;

use super::stage::{On, Stage, URL, at, event, minutes, seconds};

const SCHEMES: [HmacScheme; 3] = [
    HmacScheme::BiSignature,
    HmacScheme::Truv,
    HmacScheme::StandardWebhooks,
];

/// A webhook whose key was made by the engine, and the key.
fn signed(on: On, scheme: HmacScheme) -> (Stage, GeneratedKey) {
    let stage = Stage::new(on, |_: &Request<_>, _| Reply::status(StatusCode::OK));
    let dispatcher = stage.dispatcher();
    let key = stage
        .ask(dispatcher.generate_auth("key", "a key", scheme))
        .unwrap();
    let registration = Registration::new("s", URL, "truelayer").id("w").auth("key");
    stage.ask(dispatcher.register(registration)).unwrap();
    (stage, key)
}

fn verifier(scheme: HmacScheme, key: &str) -> Verifier {
    let prepared = |key: Result<HmacKey, _>| VerifyingKey::from(key.unwrap());
    let age = MaxAge::minutes(5);
    match scheme {
        HmacScheme::StandardWebhooks => {
            Verifier::new(StandardWebhooks, [prepared(HmacKey::from_whsec(key))], age)
        }
        HmacScheme::Truv => Verifier::new(TruvSignature, [prepared(HmacKey::new(key))], age),
        _ => Verifier::new(BiSignature::path_only(), [prepared(HmacKey::new(key))], age),
    }
}

/// Sends an event at that instant, and says which of these keys its receiver can verify it with.
fn accepted_at(stage: &mut Stage, scheme: HmacScheme, keys: &[&GeneratedKey], when: Duration) -> Vec<bool> {
    stage.run_until(when);
    stage.enqueue(event(&format!("{when:?}").replace('.', "_"), "{}"));
    stage.run_for(Duration::ZERO);
    let sent = stage.sent().pop().unwrap();
    assert_eq!(sent.at, when);
    let accepts = |key: &&GeneratedKey| {
        let message = Message::from(&sent.request);
        verifier(scheme, key.expose()).verify(&message, at(when)).is_ok()
    };
    keys.iter().map(accepts).collect()
}

fn where_several_signatures_fit_both_keys_sign_until_the_overlap_ends() {
    for on in On::ALL {
        let scheme = HmacScheme::StandardWebhooks;
        let (mut stage, old) = signed(on, scheme);
        let other = scheme.key(&[9; 32]);
        let keys = [&old, &other];
        assert_eq!(accepted_at(&mut stage, scheme, &keys, minutes(1)), [true, false]);

        let rotated = stage
            .ask(stage.dispatcher().rotate_auth(&"key".into(), minutes(60)))
            .unwrap();
        assert_eq!(rotated.overlap_ends, at(minutes(61)));
        let keys = [&old, &rotated.key];
        assert_eq!(
            accepted_at(&mut stage, scheme, &keys, minutes(1) + seconds(1)),
            [true, true]
        );
        let end = minutes(61);
        assert_eq!(
            accepted_at(&mut stage, scheme, &keys, end - seconds(1)),
            [true, true]
        );
        assert_eq!(accepted_at(&mut stage, scheme, &keys, end), [false, true]);
    }
}

fn where_one_fits_the_new_key_takes_over_when_the_overlap_ends() {
    for (on, scheme) in On::ALL
        .into_iter()
        .flat_map(|on| [(on, HmacScheme::BiSignature), (on, HmacScheme::Truv)])
    {
        let (mut stage, old) = signed(on, scheme);
        let rotated = stage
            .ask(stage.dispatcher().rotate_auth(&"key".into(), minutes(60)))
            .unwrap();
        let keys = [&old, &rotated.key];
        assert_eq!(accepted_at(&mut stage, scheme, &keys, seconds(1)), [true, false]);
        // A restart on the way changes nothing: the times are in the store.
        stage.crash();
        stage.start();
        assert_eq!(
            accepted_at(&mut stage, scheme, &keys, minutes(60) - seconds(1)),
            [true, false]
        );
        assert_eq!(accepted_at(&mut stage, scheme, &keys, minutes(60)), [false, true]);
    }
}

fn a_retry_is_signed_with_the_key_of_its_own_time() {
    for on in On::ALL {
        let mut stage = Stage::new(on, |_: &Request<_>, now| match now < minutes(10) {
            true => Reply::status(StatusCode::SERVICE_UNAVAILABLE),
            false => Reply::status(StatusCode::OK),
        });
        let dispatcher = stage.dispatcher();
        let old = stage
            .ask(dispatcher.generate_auth("key", "", HmacScheme::Truv))
            .unwrap();
        let registration = Registration::new("s", URL, "yodlee").auth("key");
        stage.ask(dispatcher.register(registration)).unwrap();
        stage.enqueue(event("e", r#"{"event":{}}"#));
        let rotated = stage
            .ask(dispatcher.rotate_auth(&"key".into(), minutes(10)))
            .unwrap();
        stage.run_until(minutes(20));
        let sent = stage.sent();
        assert_eq!(sent.len(), 2);
        for (sent, key) in sent.iter().zip([&old, &rotated.key]) {
            let message = Message::from(&sent.request);
            verifier(HmacScheme::Truv, key.expose())
                .verify(&message, at(sent.at))
                .unwrap();
        }
    }
}

fn a_key_is_shown_once_and_its_id_is_never_given_another_by_accident() {
    for (on, scheme) in On::ALL
        .into_iter()
        .flat_map(|on| SCHEMES.map(|scheme| (on, scheme)))
    {
        let (stage, key) = signed(on, scheme);
        let dispatcher = stage.dispatcher();
        let again = stage.ask(dispatcher.generate_auth("key", "another", scheme));
        assert!(matches!(again, Err(GenerateAuthError::IdTaken(id)) if id.as_str() == "key"));
        let info = stage.ask(dispatcher.auth(&"key".into())).unwrap().unwrap();
        assert_eq!((info.name.as_str(), info.id.as_str()), ("a key", "key"));
        assert!(
            matches!(&info.kind, AuthKind::Hmac { scheme: of, keys, .. } if *of == scheme && keys.len() == 1)
        );
        let listed = stage.ask(dispatcher.auths(None, 10)).unwrap();
        assert_eq!(listed, [info]);
        for shown in [
            format!("{listed:?}"),
            format!("{key:?}"),
            format!("{dispatcher:?}"),
        ] {
            assert!(!shown.contains(key.expose()), "{shown}");
        }
    }
}

fn an_authentication_in_use_is_not_removed_but_can_be_revoked() {
    for on in On::ALL {
        let (mut stage, _) = signed(on, HmacScheme::Truv);
        let dispatcher = stage.dispatcher();
        let refused = stage.ask(dispatcher.remove_auth(&"key".into()));
        assert!(matches!(refused, Err(RemoveAuthError::InUse(users)) if users == ["w".into()]));

        assert!(stage.ask(dispatcher.revoke_auth(&"key".into())).unwrap());
        let id = stage.enqueue(event("e", "{}"));
        stage.run_for(minutes(5));
        assert!(stage.sent().is_empty(), "nothing goes without its proof");
        assert_eq!(stage.delivery(id).attempts, 0);

        let unknown = stage.ask(dispatcher.rotate_auth(&"key".into(), minutes(1)));
        assert!(matches!(unknown, Err(RotateAuthError::Unknown(_))));
        let registration = Registration::new("s", URL, "truv").auth("key");
        let unknown = stage.ask(dispatcher.register(registration));
        assert!(matches!(unknown, Err(RegisterError::UnknownAuth(_))));

        // With a new key it goes on.
        let _ = stage
            .ask(dispatcher.generate_auth("key", "", HmacScheme::Truv))
            .unwrap();
        stage.run_for(minutes(1));
        assert_eq!(stage.sent().len(), 1);
        stage.ask(dispatcher.remove(&"w".into())).unwrap();
        assert!(stage.ask(dispatcher.remove_auth(&"key".into())).unwrap());
        assert!(!stage.ask(dispatcher.remove_auth(&"key".into())).unwrap());
    }
}

stories! {
    where_several_signatures_fit_both_keys_sign_until_the_overlap_ends,
    where_one_fits_the_new_key_takes_over_when_the_overlap_ends,
    a_retry_is_signed_with_the_key_of_its_own_time,
    a_key_is_shown_once_and_its_id_is_never_given_another_by_accident,
    an_authentication_in_use_is_not_removed_but_can_be_revoked,
}
