//! The variations that the documents know, and what is made rather than read.

use bytes::Bytes;
use ringback::json::{
    self, Decimal, Flag, Maybe, OneOrMany, OpaqueId, PayloadErrorKind, Survey, TextOrObject, unfamiliar,
};
use ringback::provider::powens::ConnectionState;
use ringback::provider::{powens, truelayer, truv, yodlee};
use ringback::task;
use serde::de::DeserializeOwned;

use super::{Tree, value};

/// Checks that a type has a name for each of these fields, and its wire name at that.
fn knows<T: DeserializeOwned + Survey>(names: &str) {
    let fields: Vec<_> = names
        .split_whitespace()
        .map(|name| format!("\"{name}\":null"))
        .collect();
    let body = format!("{{{}}}", fields.join(","));
    let payload: T = json::parse(body.as_bytes()).unwrap();
    assert_eq!(unfamiliar(&payload), [""; 0], "{}", std::any::type_name::<T>());
}

#[test]
fn every_documented_field_has_a_name() {
    knows::<powens::Connection>(
        "id id_user id_connector id_provider id_bank state error error_message fields last_update created last_push expire
         next_try active connector_uuid connector sources accounts all_accounts subscriptions id_webhook_data",
    );
    knows::<powens::ConnectionSource>(
        "id id_connection id_connector_source name last_update disabled access_expire expire next_try created state",
    );
    knows::<powens::Connector>(
        "id uuid name hidden charged code beta color slug capabilities urls sync_periodicity months_to_fetch auth_mechanism
         transfer_mechanism siret restricted sources fields countries",
    );
    knows::<powens::BankAccount>(
        "id id_connection id_user id_source id_parent number original_name balance coming display last_update deleted disabled
         iban currency type id_type bookmarked name error usage ownership company_name loan investments market_orders
         transactions recipients transfers id_webhook_data",
    );
    knows::<powens::Loan>(
        "total_amount available_amount used_amount subscription_date maturity_date next_payment_amount next_payment_date rate
         nb_payments_left nb_payments_done nb_payments_total last_payment_amount last_payment_date account_label
         insurance_label duration type",
    );
    knows::<powens::AccountOwnership>(
        "id_account id_connection id_user id_connector_source name bank_name multiple_holders calculated usage parties
         identifications",
    );
    knows::<powens::Attachment>(
        "id name description mime_type size created_date created_datetime last_update url",
    );
    knows::<powens::Subscription>(
        "id id_connection id_user id_source number label subscriber validity renewdate last_update deleted disabled error
         documents id_webhook_data",
    );
    knows::<powens::Transaction>(
        "id id_account date type date_scraped rdate coming active application_date datetime value gross_value original_value
         original_gross_value original_currency commission commission_currency wording id_category rdatetime vdate vdatetime
         bdate bdatetime id_cluster country card counterparty comment last_update deleted original_wording simplified_wording
         stemmed_wording webid state",
    );
    knows::<powens::Counterparty>("label account_scheme_name account_identification type");
    knows::<powens::Pocket>(
        "id id_account id_investment label value quantity availability_date condition last_update deleted",
    );
    knows::<powens::Payment>(
        "id state state_detail action error_code error_description fields validate_uri id_connector connector_uuid
         validate_mechanism register_date client_redirect_uri client_state payer instructions payer_identity id_webhook_data",
    );
    knows::<powens::Webhook>(
        "id created updated deleted id_service id_user id_event id_auth url add_to_data health_data warning",
    );
    knows::<powens::WebhookData>(
        "id id_webhook id_user created id_service id_resource data mimetype success",
    );
    knows::<powens::WebhookRequest>("id_user id_service id_auth url event params deleted");
    knows::<yodlee::ProviderAccount>(
        "id providerId isManual createdDate aggregationSource status requestId dataset lastUpdated isDeleted authType
         oauthMigrationStatus destinationProviderAccountId sourceProviderAccountIds",
    );
    knows::<yodlee::Dataset>(
        "name additionalStatus updateEligibility lastUpdated lastUpdateAttempt nextUpdateScheduled additionalStatusErrorCode",
    );
    knows::<yodlee::AutoRefresh>("status additionalStatus asOfDate");
    knows::<yodlee::CdvStatus>("providerAccountId accountId verificationId verificationStatus reason");
    knows::<yodlee::UserDataExtract>(
        "user totalTransactionsCount account transaction holding providerAccount",
    );
    knows::<truv::WebhookEndpoint>("id name webhook_url events env_type enabled created_at updated_at");
    knows::<truv::Task>(
        "id status product_type provider created_at updated_at link_id user_id error_message tracking_info bridge_token
         data_source is_suspicious order_id",
    );
    knows::<truelayer::Problem>("type title status detail trace_id");
}

#[test]
fn older_generations_of_truv_events_are_read() {
    for body in [
        // 2021: no event_created_at, user_id, data_source.
        r#"{"webhook_id":"w","event_type":"task-status-updated","updated_at":"2021-05-01T10:00:00Z","task_id":"t","link_id":"l","product":"income","tracking_info":null,"status":"base_parse"}"#,
        // 2022: a template, and no user yet.
        r#"{"webhook_id":"w","event_type":"link-connected","event_created_at":"2022-08-24T13:55:12.845645Z","updated_at":"2022-08-24T13:55:12.845666+00:00","link_id":"l","user_id":null,"template_id":"x","product":"income"}"#,
    ] {
        let event = truv::Event::parse(body.as_bytes()).unwrap();
        assert_eq!(unfamiliar(&event), [""; 0]);
        assert!(event.happened_at().is_some());
        assert_eq!(
            Tree::of_body(&serde_json::to_vec(&event).unwrap()),
            Tree::of(body)
        );
    }
    let endpoint: truv::WebhookEndpoint = json::parse(br#"{"events":"link-deleted"}"#).unwrap();
    assert_eq!(value(&endpoint.events).as_slice(), [truv::EventType::LinkDeleted]);
}

#[test]
fn absent_and_null_stay_apart() {
    let account: powens::BankAccount = json::parse(br#"{"id":1,"disabled":null}"#).unwrap();
    assert!(account.disabled.is_null());
    assert!(account.deleted.is_absent());
    assert_eq!(
        serde_json::to_string(&account).unwrap(),
        r#"{"id":1,"disabled":null}"#
    );
}

#[test]
fn documented_variations_are_read() {
    let account = |body: &str| json::parse::<powens::BankAccount>(body.as_bytes()).unwrap();

    let text = account(r#"{"type":"checking","bookmarked":0,"currency":"EUR"}"#);
    assert_eq!(
        value(&text.kind),
        TextOrObject::Text(powens::AccountTypeName::Checking)
    );
    assert!(!value(&text.bookmarked).is_set());
    assert_eq!(value(&text.currency), TextOrObject::Text("EUR".to_owned()));

    let object = account(r#"{"type":{"id":2,"name":"checking"},"bookmarked":true,"currency":{"id":"EUR"}}"#);
    let TextOrObject::Object(kind) = value(&object.kind) else {
        panic!()
    };
    assert_eq!(value(&kind.name), powens::AccountTypeName::Checking);
    assert_eq!(value(&object.bookmarked), Flag::Bool(true));
    assert_eq!(unfamiliar(&object), [""; 0]);

    for (body, count) in [
        (r#"{"account_ownerships":{"id_account":1}}"#, 1),
        (r#"{"account_ownerships":[{"id_account":1},{"id_account":2}]}"#, 2),
        (r#"{"account_ownerships":[]}"#, 0),
    ] {
        let found: powens::AccountOwnershipsFound = json::parse(body.as_bytes()).unwrap();
        assert_eq!(value(&found.account_ownerships).as_slice().len(), count);
        assert_eq!(unfamiliar(&found), [""; 0]);
        assert_eq!(serde_json::to_string(&found).unwrap(), body);
    }

    for (text, instant, naive) in [
        ("2026-03-09T08:15:41.120391+00:00", true, false),
        ("2026-03-09T08:15:41.120391Z", true, false),
        ("2026-03-09T10:15:41.120391+02:00", true, false),
        ("2026-03-09 08:15:41.120391", false, true),
        ("2026-03-09T08:15:41", false, true),
        ("2026-03-09", false, false),
    ] {
        let user: powens::User = json::parse(format!(r#"{{"signin":"{text}"}}"#).as_bytes()).unwrap();
        let signin = value(&user.signin);
        assert_eq!(
            (signin.instant().is_some(), signin.naive().is_some()),
            (instant, naive),
            "{text}"
        );
        assert_eq!(signin.date().unwrap().to_string(), "2026-03-09");
        assert_eq!(signin.as_str(), text);
    }
}

#[test]
fn yodlee_data_is_read_as_object_and_as_array_whatever_the_event() {
    for data in [r#"{"providerAccountId":7}"#, r#"[{"providerAccountId":7}]"#] {
        for info in [
            "AUTO_REFRESH_UPDATES",
            "LATEST_BALANCE_UPDATES",
            "LATEST_BALANCE.COMPLETED",
            "CDV_STATUS_UPDATES",
        ] {
            let body = format!(r#"{{"event":{{"info":"{info}","data":{data}}}}}"#);
            let event = yodlee::Event::parse(body.as_bytes()).unwrap();
            assert!(!matches!(event, yodlee::Event::Unknown(_)), "{info}");
            assert_eq!(unfamiliar(&event), [""; 0]);
            assert_eq!(
                Tree::of_body(&serde_json::to_vec(&event).unwrap()),
                Tree::of(&body)
            );
            if let yodlee::Event::LatestBalanceUpdates(envelope) = &event {
                let ids: Vec<_> = envelope
                    .event
                    .data()
                    .iter()
                    .map(|data| value(&data.provider_account_id))
                    .collect();
                assert_eq!(ids, [OpaqueId::from(7)]);
            }
        }
    }
    let consent = br#"{"event":{"info":"OB_CONSENT.REVOKED","data":{"amount":0.10}}}"#;
    let event = yodlee::Event::parse(consent).unwrap();
    assert_eq!(event.name(), yodlee::EventName::OpenBankingConsent);
    let yodlee::Event::Unknown(envelope) = &event else {
        panic!()
    };
    assert_eq!(envelope.event.kind(), Some("REVOKED"));
    assert_eq!(envelope.event.data()[0].as_str(), r#"{"amount":0.10}"#);
}

#[test]
fn events_of_unknown_type_keep_everything() {
    let body = br#"{"webhook_id":"w1","event_type":"paystub-shredded","event_created_at":"2026-01-01T00:00:00Z","n":0.10}"#;
    let event = truv::Event::parse(body).unwrap();
    assert!(matches!(&event, truv::Event::Unknown(_)));
    assert_eq!(event.event_type().as_str(), "paystub-shredded");
    assert!(event.happened_at().is_some());
    assert_eq!(
        Tree::of_body(&serde_json::to_vec(&event).unwrap()),
        Tree::of_body(body)
    );

    let name = powens::EventName::from("TRANSACTIONS_CLUSTERED");
    let body = Bytes::from_static(br#"{"id_webhook_data":12345678901234567890123,"amount":0.10}"#);
    let event = powens::Event::parse(&name, None, &body).unwrap();
    assert_eq!(
        event.id_webhook_data().unwrap().as_str(),
        "12345678901234567890123"
    );
    assert_eq!(event.name(), name);
    assert_eq!(unfamiliar(&event), ["/amount"]);
}

#[test]
fn bodies_that_are_not_json_pass_through() {
    let cfonb = Bytes::from_static(b"0117906    00042EUR2 00042718830  200524");
    for media_type in [
        Some("text/plain; charset=iso-8859-1"),
        Some("application/octet-stream"),
        None,
    ] {
        let event = powens::Event::parse(&powens::EventName::ConnectionSynced, media_type, &cfonb).unwrap();
        let powens::Event::NotJson(event) = event else {
            panic!()
        };
        assert_eq!((event.media_type.as_deref(), &event.body), (media_type, &cfonb));
    }
    for media_type in [
        "application/json",
        "Application/JSON ; charset=utf-8",
        "application/problem+json",
    ] {
        let error =
            powens::Event::parse(&powens::EventName::UserCreated, Some(media_type), &cfonb).unwrap_err();
        assert_eq!(error.kind(), PayloadErrorKind::Syntax);
    }
}

#[test]
fn payloads_are_made_as_well_as_read() {
    let mut callback = task::Callback::new("task-1", task::TaskStatus::Succeeded);
    callback.error = Maybe::Null;
    callback.results_uri = Maybe::from(json::UrlText::from("https://a.example/results/task-1"));
    assert_eq!(
        serde_json::to_string(&callback).unwrap(),
        r#"{"task_id":"task-1","status":"Succeeded","results_uri":"https://a.example/results/task-1","error":null}"#,
    );
    let found = powens::AccountFound {
        id: OpaqueId::from(15262).into(),
        kind: TextOrObject::Text(powens::AccountTypeName::Savings).into(),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        r#"{"id":15262,"type":"savings"}"#
    );
    let item = powens::AccountOwnership::default();
    assert_eq!(
        serde_json::to_string(&OneOrMany::Many(vec![item])).unwrap(),
        "[{}]"
    );
    let transaction = powens::Transaction {
        value: Decimal::from_scaled(-2380, 2).into(),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_string(&transaction).unwrap(),
        r#"{"value":-23.80}"#
    );
}

#[test]
fn known_names_come_back_from_their_text() {
    for name in powens::EventName::KNOWN {
        assert_eq!(&powens::EventName::from(name.as_str()), name);
    }
    assert_eq!(powens::EventName::KNOWN.len(), 16);
    assert_eq!(truv::EventType::KNOWN.len(), 19);
    assert_eq!(
        "paystub-shredded".parse::<truv::EventType>().unwrap().to_string(),
        "paystub-shredded"
    );
}

#[test]
fn truelayer_errors_say_whether_a_retry_helps() {
    use truelayer::{ErrorCode, RetryHelps};
    let helps = |code: &str| ErrorCode::from(code).retry_helps();
    assert_eq!(helps("provider_too_many_requests"), RetryHelps::Yes);
    assert_eq!(helps("validation_error"), RetryHelps::AfterFixing);
    assert_eq!(helps("sca_exceeded"), RetryHelps::No);
    assert_eq!(helps("invalid_credentials_key"), RetryHelps::Unstated);
    assert_eq!(helps("provider_error"), RetryHelps::Unstated);

    let problem: truelayer::Problem =
        json::parse(br#"{"type":"https://docs.truelayer.com/x","title":"Provider Error","status":502,"detail":"d","trace_id":"t"}"#)
            .unwrap();
    assert_eq!(problem.retry_helps(), RetryHelps::Yes);
    assert_eq!(unfamiliar(&problem), [""; 0]);
}

#[test]
fn a_connection_has_failed_unless_it_says_null() {
    let failure = |body: &str| {
        let connection: powens::Connection = json::parse(body.as_bytes()).unwrap();
        connection.failure().cloned()
    };
    let wrong = Some(ConnectionState::WrongPass);
    for body in [
        r#"{"state":"wrongpass"}"#,
        r#"{"state":"wrongpass","error":null}"#,
        r#"{"error":"wrongpass"}"#,
        r#"{"state":{"code":"wrongpass"},"error":"wrongpass"}"#,
    ] {
        assert_eq!(failure(body), wrong, "{body}");
    }
    for body in [
        r#"{"state":{"code":"wrongpass"}}"#,
        r#"{"state":7,"error":null}"#,
        r#"{"error":[]}"#,
        r#"{"state":7,"error":""}"#,
        r#"{"state":7,"error":"null"}"#,
    ] {
        assert!(matches!(failure(body), Some(ConnectionState::Other(_))), "{body}");
    }
    for body in [
        "{}",
        r#"{"state":null}"#,
        r#"{"state":null,"error":"wrongpass"}"#,
        r#"{"state":""}"#,
        r#"{"state":"null"}"#,
        r#"{"error":null}"#,
    ] {
        assert_eq!(failure(body), None, "{body}");
    }
}
