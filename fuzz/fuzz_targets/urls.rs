#![no_main]

use libfuzzer_sys::fuzz_target;
use ringback::url::{MAX_LENGTH, WebhookUrl};
use url::Url;

fuzz_target!(|text: &str| {
    let Ok(ours) = WebhookUrl::parse(text) else {
        return;
    };
    let canonical = ours.expose();
    assert!(canonical.len() <= MAX_LENGTH);
    assert_eq!(WebhookUrl::parse(canonical).map(|again| again == ours), Ok(true));

    // The other reading may refuse what it cannot decode, but never reads something else.
    if let Ok(theirs) = Url::parse(text) {
        assert_eq!(theirs.as_str(), canonical);
        assert_eq!(theirs.path(), ours.uri().path());
        assert_eq!(theirs.query(), ours.uri().query());
        assert_eq!(theirs.host_str(), ours.uri().host());
        assert_eq!(theirs.port_or_known_default(), Some(ours.port()));
    }
    let shown = format!("{ours} {ours:?}");
    assert!(!shown.contains('?'), "a query may hold a secret");
});
