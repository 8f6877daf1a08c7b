#![no_main]

use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;
use ringback::retry::RetryAfter;

fuzz_target!(|input: (i64, &[u8])| {
    let (now, value) = input;
    let Some(now) = DateTime::from_timestamp_micros(now) else {
        return;
    };
    if let Some(hint) = RetryAfter::parse(value) {
        let delay = TimeDelta::from_std(hint.delay_from(now)).expect("no hint is that far off");
        if let RetryAfter::At(instant) = hint {
            assert!(instant <= now || now + delay == instant);
        }
    }
});
