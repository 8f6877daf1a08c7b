//! How each provider sends, told from the first request to the last, at exact times, on every store, and with the
//! crew crashing.

/// Makes a test of each story. On another store, the same word makes something else of them.
macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        mod told {
            $(#[test]
            fn $story() {
                super::$story();
            })+
        }
    };
}

mod backing;
mod digests;
mod disabling;
mod flusher;
mod holds;
mod intake;
mod keys;
mod notices;
mod providers;
mod scopes;
mod slowing;
pub(crate) mod stage;
