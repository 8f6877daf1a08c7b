//! What became of each message, for those who watch.

use std::fmt::{self, Debug};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Rejection;
use crate::observe;
use crate::store::SeenKey;
use crate::time::{Clock, elapsed};

/// Is told what became of each message that came to a [`Receiver`](super::Receiver): for logs and figures.
///
/// # Contract
///
/// Called once for each message, after it was handled or rejected and before the sender is answered. It must not
/// block, and must not panic.
///
/// ```
/// use ringback::receive::{Ending, Listener, Report};
///
/// #[derive(Debug)]
/// struct Rejections;
///
/// impl Listener for Rejections {
///     fn ended(&self, report: &Report<'_>) {
///         if let Ending::Rejected(why) = report.ending {
///             eprintln!("{}: {why}", report.receiver);
///         }
///     }
/// }
/// ```
pub trait Listener: Debug + Send + Sync + 'static {
    /// This is what became of a message.
    fn ended(&self, report: &Report<'_>);
}

/// Makes a listener of a closure.
pub fn listener_fn(listen: impl Fn(&Report<'_>) + Send + Sync + 'static) -> impl Listener {
    ListenerFn(listen)
}

/// What became of a message. Shows nothing secret.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The name of the receiver.
    pub receiver: &'a str,
    /// What tells the message's copies. `None` where it did not get so far as to be authentic.
    pub key: Option<&'a SeenKey>,
    /// How it ended.
    pub ending: Ending<'a>,
    /// How long it took, the handler included.
    pub took: Duration,
}

/// How it ended for a message.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Ending<'a> {
    /// The handler has succeeded.
    Handled,
    /// An earlier copy had been handled, so this one was not.
    Duplicate,
    /// It was not handled, and the sender may try again.
    Rejected(&'a Rejection),
    /// It was dropped in the middle: the sender hung up, or the handler panicked.
    Dropped,
}

/// `powens/90313: handled`.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "{key}: {}", self.ending),
            None => write!(f, "{}: {}", self.receiver, self.ending),
        }
    }
}

impl Ending<'_> {
    /// One word for it, for logs and figures: `handled`, `duplicate`, `dropped`, or what
    /// [`Rejection::as_str`] says.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Rejected(rejection) => rejection.as_str(),
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "rejected: {rejection}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

struct ListenerFn<F>(F);

impl<F: Fn(&Report<'_>) + Send + Sync + 'static> Listener for ListenerFn<F> {
    fn ended(&self, report: &Report<'_>) {
        (self.0)(report);
    }
}

impl<F> Debug for ListenerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerFn(..)")
    }
}

/// Nobody watches.
#[derive(Debug)]
pub(super) struct NoListener;

impl Listener for NoListener {
    fn ended(&self, _report: &Report<'_>) {}
}

/// How a message that was not rejected came to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handling {
    Handled,
    Duplicate,
}

/// A message under way. However it ends, it is reported once.
pub(super) struct Reporting<'a> {
    receiver: &'a str,
    listener: &'a dyn Listener,
    clock: &'a dyn Clock,
    since: DateTime<Utc>,
    key: Option<SeenKey>,
    is_reported: bool,
}

impl<'a> Reporting<'a> {
    pub(super) fn new(receiver: &'a str, listener: &'a dyn Listener, clock: &'a dyn Clock) -> Self {
        Self {
            receiver,
            listener,
            clock,
            since: clock.now(),
            key: None,
            is_reported: false,
        }
    }

    /// It is authentic, and told by this key.
    pub(super) fn key(&mut self, key: &SeenKey) {
        self.key = Some(key.clone());
    }

    pub(super) fn end(mut self, ended: Result<Handling, &Rejection>) {
        self.report(match ended {
            Ok(Handling::Handled) => Ending::Handled,
            Ok(Handling::Duplicate) => Ending::Duplicate,
            Err(rejection) => Ending::Rejected(rejection),
        });
    }

    fn report(&mut self, ending: Ending<'_>) {
        self.is_reported = true;
        let took = elapsed(self.since, self.clock.now());
        let why: Option<&dyn fmt::Display> = match &ending {
            Ending::Rejected(rejection) => Some(rejection),
            _ => None,
        };
        observe::received(self.receiver, self.key.as_ref(), ending.as_str(), why, took);
        self.listener.ended(&Report {
            receiver: self.receiver,
            key: self.key.as_ref(),
            ending,
            took,
        });
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(Ending::Dropped);
        }
    }
}
