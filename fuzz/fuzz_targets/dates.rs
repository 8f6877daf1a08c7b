#![no_main]

use chrono::SecondsFormat;
use libfuzzer_sys::fuzz_target;
use ringback::signature::date::{iso8601, unix_seconds};

fuzz_target!(|text: &[u8]| {
    if let Ok(date) = iso8601(text) {
        let written = date.to_rfc3339_opts(SecondsFormat::Nanos, true);
        // An offset can lead out of the four-digit years, into which ISO 8601 dates are read.
        if written.len() == "2022-06-27T11:08:52.123456789Z".len() && !written.starts_with("0000") {
            assert_eq!(iso8601(written.as_bytes()), Ok(date));
        }
    }
    if let Ok(date) = unix_seconds(text) {
        assert_eq!(unix_seconds(date.timestamp().to_string().as_bytes()), Ok(date));
    }
});
