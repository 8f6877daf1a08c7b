//! The suite for stores: every trait that a [`Store`] implements.
//!
//! Each check wants a fresh, empty store. None waits, since time is what the check says it is; only a bell that has
//! not rung when its call was answered is given half a second more.

pub mod claims;
pub mod digests;
pub mod enqueue;
pub mod extremes;
pub mod failing;
pub mod history;
pub mod holds;
pub mod intake;
pub mod lanes;
pub mod leases;
pub mod lists;
pub mod pace;
pub mod purge;
pub mod replay;
pub mod runs;
mod scene;
pub mod scopes;
pub mod seen;
pub mod settle;
pub mod task_course;
pub mod tasks;
pub mod waking;
pub mod webhooks;

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Report, Violation, ensure, equal};
use crate::store::Store;

/// A check of this suite.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its path in the suite.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn Store) -> BoxFuture<'a, Result<(), Violation>>,
}

impl Check {
    /// Runs it on a fresh, empty store.
    ///
    /// # Errors
    ///
    /// The first violation it comes upon.
    pub async fn run(&self, store: &dyn Store) -> Result<(), Violation> {
        (self.run)(store).await
    }
}

macro_rules! checks {
    ($($module:ident: $($check:ident),+;)+) => {
        /// Every check of this suite, in the order in which [`run_all`] runs them.
        pub const CHECKS: &[Check] = &[$($(Check {
            name: concat!(stringify!($module), "::", stringify!($check)),
            run: |store| Box::pin($module::$check(store)),
        }),+),+];
    };
}

checks! {
    enqueue:
        a_duplicate_adds_nothing,
        a_conflict_changes_nothing,
        a_batch_is_answered_in_order,
        ids_rise,
        an_event_without_deliveries_takes_its_id,
        an_unknown_webhook_means_dead,
        what_is_enqueued_is_due_at_once,
        everything_is_kept_byte_for_byte,
        scopes_are_kept_apart,
        numbers_are_given_out_once;
    claims:
        only_what_is_due_is_claimed,
        a_claim_takes_no_more_than_asked,
        the_oldest_due_goes_first,
        a_claim_brings_things_as_they_stand,
        a_call_is_claimed_as_given,
        claims_at_the_same_time_do_not_overlap,
        a_dropped_call_loses_nothing;
    lanes:
        lanes_take_turns,
        turns_are_even,
        a_claim_shares_its_places,
        the_limit_in_flight_holds,
        a_full_lane_keeps_nobody,
        strict_order_holds,
        strict_order_does_not_go_by_the_clock,
        the_rate_holds,
        a_disabled_webhook_keeps_its_deliveries,
        changed_limits_take_effect,
        calls_wait_by_origin,
        a_clock_set_back_stops_nothing;
    pace:
        a_slowed_lane_gives_less,
        of_what_was_sent_together_one_counts,
        a_pause_holds_up_its_lane_alone,
        what_comes_back_uncounted_is_not_waited_for,
        the_pace_is_won_back,
        a_webhook_enabled_again_begins_at_full_pace,
        calls_to_one_origin_have_one_pace,
        a_pause_holds_up_runs,
        a_clock_set_back_ends_pauses;
    runs:
        what_failed_awaits_a_run,
        a_run_takes_one_at_a_time,
        a_run_goes_before_first_sends,
        a_run_leaves_out_what_comes_during_it,
        failures_in_a_row_stop_a_run,
        timeouts_stop_a_run,
        an_ended_lease_is_a_failure_in_a_run,
        what_is_not_counted_is_no_outcome_in_a_run,
        runs_keep_their_beat,
        runs_keep_to_limits,
        without_its_flusher_nothing_awaits_runs,
        there_are_no_runs_in_strict_order,
        what_awaits_a_run_can_end,
        a_clock_set_back_stops_no_runs;
    holds:
        a_held_webhook_gets_nothing,
        what_is_released_goes_in_order,
        a_release_leaves_out_what_is_older,
        a_held_subject_waits,
        what_is_under_way_is_settled,
        two_holds_both_hold,
        a_large_hold_is_lifted_in_steps,
        a_hold_can_be_placed_again,
        what_awaits_a_run_is_held_too,
        a_removed_webhook_is_not_held,
        a_webhook_can_be_held_before_it_is_there,
        a_clock_set_back_loses_nothing_held;
    leases:
        a_lease_keeps_others_away,
        each_claim_has_its_own_lease,
        an_ended_lease_is_an_interrupted_attempt,
        interruptions_add_up,
        small_claims_find_every_ended_lease,
        fences_rise,
        a_late_settlement_changes_nothing,
        only_what_is_claimed_can_be_settled,
        an_ended_lease_holds_until_it_is_taken,
        a_batch_settles_each_once;
    settle:
        an_attempt_and_its_outcome_are_one,
        attempts_add_up,
        without_an_attempt_nothing_counts,
        an_interrupted_delivery_can_end,
        a_release_counts_nothing;
    replay:
        a_replay_starts_anew,
        only_what_is_final_is_replayed,
        a_deleted_webhook_gets_no_replay,
        the_dead_are_replayed_in_batches,
        a_deleted_webhook_gets_no_batch;
    history:
        pages_show_each_attempt_once,
        what_is_recorded_meanwhile_comes_after,
        a_cursor_from_outside_is_harmless,
        an_entry_tells_what_was_attempted,
        filters_leave_what_passes,
        history_goes_back_only_with_the_clock,
        health_adds_up,
        what_was_not_attempted_is_not_there;
    purge:
        what_is_over_goes_in_time,
        bodies_go_first,
        what_is_not_over_stays,
        old_attempts_go_from_what_goes_on,
        figures_outlive_attempts,
        purging_is_bounded;
    waking:
        next_due_is_never_too_late,
        next_due_knows_the_rate,
        next_due_knows_strict_order,
        the_bell_rings,
        the_bell_rings_for_changed_webhooks;
    webhooks:
        what_is_saved_is_read_back,
        webhooks_are_listed_by_scope,
        auth_records_are_kept,
        a_deleted_webhook_buries_what_waits,
        a_webhook_registered_anew_starts_empty;
    digests:
        updates_are_merged_by_user,
        windows_are_half_open,
        nothing_goes_into_a_sealed_window,
        chunks_go_in_order,
        a_chunk_and_its_notification_are_one,
        a_chunk_is_taken_once,
        takes_at_the_same_time_do_not_overlap,
        a_conflict_takes_nothing,
        sealed_windows_come_until_they_are_empty,
        scopes_and_digests_are_kept_apart,
        another_interval_cuts_windows,
        a_clock_set_back_stops_nothing,
        the_next_end_is_never_too_late,
        the_ends_of_time_are_instants;
    intake:
        what_is_submitted_is_taken_in_whole,
        submissions_come_in_order,
        a_submission_is_taken_in_once,
        a_submitted_duplicate_adds_nothing,
        what_cannot_be_enqueued_is_set_aside,
        the_bells_ring;
    lists:
        webhooks_come_in_pages,
        auth_records_come_in_pages,
        who_names_an_auth_record_is_known,
        a_webhook_is_replaced_as_it_was,
        what_replaces_a_webhook_is_gone_by,
        an_auth_record_is_replaced_as_it_was;
    scopes:
        a_webhook_keeps_its_scope,
        what_is_enqueued_across_scopes_is_dead,
        a_reused_id_gets_nothing_of_the_old_scope;
    failing:
        failing_begins_and_ends,
        our_own_failures_do_not_count,
        tests_do_not_count,
        tests_wait_for_nobody,
        a_switch_says_what_it_did,
        a_switch_for_failing_compares,
        gone_disables_where_asked;
    tasks:
        a_task_is_created_once,
        claims_go_in_the_order_of_creation,
        an_ended_lease_is_claimed_again,
        a_lease_can_be_renewed,
        an_end_comes_with_its_callback,
        an_end_needs_no_callback,
        a_late_end_changes_nothing,
        an_ended_lease_holds_until_it_is_taken,
        what_is_finished_stays_so,
        waiting_ends_in_time,
        inputs_and_results_are_bytes;
    task_course:
        a_retry_waits_until_it_is_due,
        a_handover_counts_nothing,
        interruptions_are_counted,
        only_the_holder_can_pause,
        what_has_run_goes_first,
        the_latest_progress_is_kept,
        only_the_holder_reports_progress,
        a_task_can_be_cancelled_whoever_holds_it,
        a_cancelled_task_is_nobodys,
        results_go_when_their_time_has_come,
        purging_is_bounded,
        a_forgotten_task_lends_its_id;
    seen:
        one_copy_is_handled,
        of_many_at_once_one_is_fresh,
        an_ended_lease_is_taken_over,
        an_ended_lease_holds_until_it_is_taken,
        an_abandoned_key_is_fresh_again,
        keys_are_kept_as_long_as_asked,
        forgetting_is_bounded,
        receivers_are_kept_apart;
    extremes:
        the_ends_of_time_are_instants,
        ordinary_deliveries_go_on,
        the_ends_of_numbers_are_numbers,
        spans_without_end;
}

/// Runs every check, each on a store that the factory makes for it.
///
/// ```
/// use std::sync::Arc;
/// use ringback::store::MemoryStore;
/// use ringback::testing::conformance;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let report = conformance::store::run_all(async || Arc::new(MemoryStore::new())).await;
/// assert!(report.failures().is_empty(), "{report}");
/// # });
/// ```
pub async fn run_all<S, F>(fresh: impl Fn() -> F) -> Report
where
    S: Store,
    F: Future<Output = Arc<S>>,
{
    let mut report = Report::default();
    for check in CHECKS {
        let store = fresh().await;
        report.run(check.name, check.run(&*store)).await;
    }
    report
}
