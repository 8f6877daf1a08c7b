//! The notifications of `DATA_UPDATES`.

use bytes::Bytes;
use chrono::TimeDelta;

use super::{DataUpdates, Envelope, EventName, Link, Notification, User, UserDataRequest, UserUpdate};
use crate::delivery::{Digest, DigestEntry, DigestForm, Interval, Window};
use crate::id::Scope;
use crate::json::{Maybe, OneOrMany, UrlText};

/// The longest that `fromDate` and `toDate` of *Get User Data* may be apart \[YO\].
const LONGEST_REQUEST: TimeDelta = TimeDelta::minutes(60);

/// Yodlee's `DATA_UPDATES`: gathered over 15 minutes, at most 2000 users a notification \[YN\].
///
/// The body names the window, its end as the last second within, and for each user the call that fetches the data,
/// escaped, unlike the printed sample's. All notifications of a window name the same dates, but for one with a user
/// whose update came too late for the window before: it starts with that update, at most 60 minutes before its end, so
/// that the call finds what changed. Sent with the profile [`yodlee`](super::yodlee), which adds the
/// `notificationId`.
///
/// ```
/// use chrono::DateTime;
/// use ringback::delivery::{DigestEntry, Interval};
/// use ringback::provider::yodlee::{self, Event};
///
/// let digest = yodlee::data_updates();
/// let at = "2024-03-04T10:14:59.999Z".parse().unwrap();
/// let users = [DigestEntry::new("acme:7".into(), at)];
/// let body = digest.form().body(&"acme".into(), &digest.interval().window(at), &users);
/// assert_eq!(
///     body,
///     concat!(
///         r#"{"event":{"info":"DATA_UPDATES.USER_DATA","data":{"fromDate":"2024-03-04T10:00:00Z","#,
///         r#""toDate":"2024-03-04T10:14:59Z","userCount":1,"userData":[{"user":{"loginName":"acme:7"},"#,
///         r#""links":[{"methodType":"GET","rel":"getUserData","href":"dataExtracts/userData?"#,
///         r#"fromDate=2024-03-04T10%3A00%3A00Z&toDate=2024-03-04T10%3A14%3A59Z&loginName=acme%3A7"}]}]}}}"#,
///     )
/// );
/// ```
pub fn data_updates() -> Digest {
    Digest::new(
        EventName::DataUpdates.as_str(),
        Interval::QUARTER_HOUR,
        UserDataForm,
    )
}

#[derive(Debug)]
struct UserDataForm;

impl DigestForm for UserDataForm {
    fn body(&self, _scope: &Scope, window: &Window, users: &[DigestEntry]) -> Bytes {
        let window = reaching_back(window, users);
        let data = DataUpdates {
            from_date: Maybe::Value(window.from_date()),
            to_date: Maybe::Value(window.last_second()),
            user_count: Maybe::Value(i64::try_from(users.len()).unwrap_or(i64::MAX)),
            user_data: Maybe::Value(users.iter().map(|user| update(&window, user)).collect()),
            ..DataUpdates::default()
        };
        let notification = Notification {
            data: Maybe::Value(OneOrMany::One(data)),
            ..Notification::new("DATA_UPDATES.USER_DATA".to_owned())
        };
        // Texts and a number are written without fail.
        serde_json::to_vec(&Envelope::new(notification))
            .unwrap_or_default()
            .into()
    }
}

/// The window, from as early on as the first update that is told with it, as far as a request can reach.
fn reaching_back(window: &Window, users: &[DigestEntry]) -> Window {
    let first = users.iter().map(|user| user.first).min();
    let reach = window.end().checked_sub_signed(LONGEST_REQUEST);
    let start = first.into_iter().chain(reach).max();
    Window::new(
        start.map_or(window.start(), |start| start.min(window.start())),
        window.end(),
    )
}

fn update(window: &Window, user: &DigestEntry) -> UserUpdate {
    let login_name = user.subject.as_str().to_owned();
    let request = UserDataRequest {
        from_date: window.from_date(),
        to_date: window.last_second(),
        login_name: login_name.clone(),
    };
    let link = Link {
        method_type: Maybe::Value("GET".to_owned()),
        rel: Maybe::Value("getUserData".to_owned()),
        href: Maybe::Value(UrlText::from(request.href())),
        ..Link::default()
    };
    UserUpdate {
        user: Maybe::Value(User {
            login_name: Maybe::Value(login_name),
            ..User::default()
        }),
        links: Maybe::Value(vec![link]),
        ..UserUpdate::default()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::json;
    use crate::provider::yodlee::Event;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2024-03-04T{text}Z").parse().unwrap()
    }

    fn body(first_updates: &[&str]) -> Bytes {
        let digest = data_updates();
        let users: Vec<_> = (1..)
            .zip(first_updates)
            .map(|(number, first)| DigestEntry::new(format!("user-{number}").into(), at(first)))
            .collect();
        let window = Window::new(at("10:15:00"), at("10:30:00"));
        digest.form().body(&"s".into(), &window, &users)
    }

    fn dates(body: &[u8]) -> [String; 2] {
        let Event::DataUpdates(envelope) = Event::parse(body).unwrap() else {
            panic!("not a DATA_UPDATES");
        };
        assert!(json::unfamiliar(&*envelope).is_empty());
        let data = &envelope.event.data()[0];
        assert_eq!(data.user_count, Maybe::Value(data.requests().count() as i64));
        let text = |date: &Maybe<json::Timestamp>| date.value().unwrap().as_str().to_owned();
        [text(&data.from_date), text(&data.to_date)]
    }

    #[test]
    fn the_body_is_read_back_as_what_yodlee_sends() {
        assert_eq!(
            dates(&body(&["10:15:00", "10:29:59.999"])),
            ["2024-03-04T10:15:00Z", "2024-03-04T10:29:59Z"]
        );
    }

    #[test]
    fn a_late_update_is_within_the_dates_it_is_told_with() {
        assert_eq!(
            dates(&body(&["10:20:00", "10:14:58.7"])),
            ["2024-03-04T10:14:58Z", "2024-03-04T10:29:59Z"]
        );
        assert_eq!(
            dates(&body(&["03:00:00"])),
            ["2024-03-04T09:30:00Z", "2024-03-04T10:29:59Z"]
        );
    }

    #[test]
    fn names_are_quoted_and_escaped() {
        let user = DigestEntry::new("a\"b&c=d\u{e9}".into(), at("10:15:00"));
        let window = Window::new(at("10:15:00"), at("10:30:00"));
        let body = data_updates().form().body(&"s".into(), &window, &[user]);
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains(r#""loginName":"a\"b&c=dé""#), "{text}");
        assert!(text.contains("&loginName=a%22b%26c%3Dd%C3%A9\""), "{text}");
    }
}
