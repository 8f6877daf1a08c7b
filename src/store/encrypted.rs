//! Which columns are encrypted, in every store that keeps rows.

/// What is encrypted: a table, the column by which it is gone through, the columns that identify a row, and those that are
/// encrypted.
pub(super) struct Encrypted {
    pub(super) table: &'static str,
    pub(super) by: &'static str,
    pub(super) row: &'static [&'static str],
    pub(super) columns: &'static [&'static str],
}

pub(super) const ENCRYPTED: &[Encrypted] = &[
    Encrypted {
        table: "webhooks",
        by: "id",
        row: &["id"],
        columns: &["webhooks.json"],
    },
    Encrypted {
        table: "auths",
        by: "id",
        row: &["id"],
        columns: &["auths.config"],
    },
    Encrypted {
        table: "events",
        by: "id",
        row: &["scope", "event_id"],
        columns: &["events.headers", "events.fingerprint", "events.body"],
    },
    Encrypted {
        table: "intake",
        by: "number",
        row: &["number"],
        columns: &["intake.headers", "intake.body"],
    },
    Encrypted {
        table: "contents",
        by: "delivery",
        row: &["delivery"],
        columns: &["contents.body", "contents.call"],
    },
    Encrypted {
        table: "attempts",
        by: "seq",
        row: &["delivery", "number"],
        columns: &["attempts.excerpt"],
    },
    Encrypted {
        table: "tasks",
        by: "number",
        row: &["id"],
        columns: &[
            "tasks.request_uri",
            "tasks.results_uri",
            "tasks.webhook_uri",
            "tasks.input",
            "tasks.progress",
            "tasks.results",
            "tasks.description",
        ],
    },
];

/// What encrypting anew has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EncryptedAnew {
    /// Values that were under an older key, and are now under the one that encrypts.
    pub values: u64,
    /// Values that no key could read, since they were damaged. They are left as they are.
    pub unreadable: u64,
}
