//! The providers' stories, as `tests/it` tells them on the other stores.

/// Lists the stories of a module, under their names.
macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        pub(crate) const STORIES: &[(&str, fn())] =
            &[$((concat!(module_path!(), "::", stringify!($story)), $story as fn())),+];
    };
}

mod backing;
#[path = "../../it/stories/digests.rs"]
mod digests;
#[path = "../../it/stories/disabling.rs"]
mod disabling;
#[path = "../../it/stories/flusher.rs"]
mod flusher;
#[path = "../../it/stories/holds.rs"]
mod holds;
#[path = "../../it/stories/intake.rs"]
mod intake;
#[path = "../../it/stories/keys.rs"]
mod keys;
#[path = "../../it/stories/notices.rs"]
mod notices;
#[path = "../../it/stories/providers.rs"]
mod providers;
#[allow(dead_code)] // not every story is told here
#[path = "../../it/stories/stage.rs"]
mod stage;

use libtest_mimic::Trial;

use crate::server::is_there;

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let all = [
        digests::STORIES,
        disabling::STORIES,
        flusher::STORIES,
        holds::STORIES,
        intake::STORIES,
        keys::STORIES,
        notices::STORIES,
        providers::STORIES,
    ];
    all.into_iter().flatten().map(|(name, story)| {
        let name = name.trim_start_matches("postgres::");
        let tell = move || {
            story();
            Ok(())
        };
        Trial::test(name, tell).with_ignored_flag(!is_there())
    })
}
