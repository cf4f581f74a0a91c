//! The suite that every store passes: one list of named cases, each run on a fresh, empty, migrated store.
//!
//! A case asserts, so a failure is a panic; [`run`] names every case that failed. Nothing here knows which store it
//! talks to. The store's clock must be a running one.

mod access;
mod apply;
mod claims;
mod commit;
mod credentials;
mod deletion;
pub mod differential;
mod events;
mod feed;
mod finish;
mod fleet;
mod glance;
mod installation;
mod presence;
mod resources;
mod rules;
mod search;
pub mod support;
mod tasks;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::WholeStore;
use support::Bench;

/// A running case.
pub type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// `theme::what_holds`
    pub name: &'static str,
    /// Runs it; panics if the store does not hold to it.
    pub run: fn(Arc<dyn WholeStore>) -> CaseFuture,
}

macro_rules! list {
    ($($theme:ident { $($case:ident),+ $(,)? })+) => {
        vec![$($(Case {
            name: concat!(stringify!($theme), "::", stringify!($case)),
            run: |store| Box::pin(async move { $theme::$case(Bench::new(store)).await }),
        }),+),+]
    };
}

/// Every case.
pub fn cases() -> Vec<Case> {
    list! {
        apply {
            creates_updates_and_leaves_alone, keeps_every_field, honours_if_generation, dry_run_leaves_nothing,
            refuses_another_owner, refuses_what_is_no_reference, refuses_what_does_not_fit, lists_in_name_order,
            loads_pages_in_id_order, suspends, asks_for_a_pass, does_not_find_what_is_not_there,
        }
        rules {
            persona_and_instructions_freeze, latch_compares_and_sets, identity_freezes, r2_freezes_with_the_bucket,
            status_writes_move_no_generation, observed_generation_never_goes_back, resources_belong_to_one_agent,
            generation_moves_once_for_each_change,
        }
        claims {
            a_new_agent_is_due_once, limit_holds, deletions_first_then_oldest, racing_claims_share_no_agent,
            a_newer_epoch_fences, a_lost_lease_is_unclean, a_lease_given_back_is_clean, renewal,
            an_expired_lease_unclaimed_may_write, enqueue_moves_only_what_is_not_due, next_due,
            one_agent_is_claimed_due_or_not,
        }
        finish {
            frees_and_schedules, counts_failures, counts_throttling, never_loses_a_spec_change,
            never_loses_a_request, never_loses_a_deletion, never_loses_a_release, keeps_the_plan_report,
            applies_its_mutations_or_nothing,
        }
        commit {
            is_one_transaction, names_and_status, conditions_keep_their_transition, what_differs_not_is_not_written,
            secrets, auth_tokens, cards, contacts, unknown_agents,
        }
        resources {
            unnamed_columns_stay, outcomes_count, intents_open_once, intents_settle_and_clear, confirmation,
            cleanup_results,
        }
        deletion {
            is_a_request, keeps_the_bucket_if_asked, protection_refuses_it, freezes_the_spec, archive_needs_a_request,
            archive_frees_the_name, latest_archived_is_shown, leftovers_are_named_and_corrected, ownership,
            leftovers_tell_where_the_bucket_lives, buckets_belong_to_rows_live_or_archived,
            a_card_left_over_can_be_removed,
        }
        events { fold, filter, of_the_controller, prune_takes_old_ones, prune_takes_retired_tokens }
        feed { grows_in_order, pages, prune_never_turns_it_back }
        installation {
            install_row_is_made_once, leases_exclude, leases_end, budget_has_a_ceiling, budget_comes_back,
            budget_is_per_account, budget_keeps_the_reserve, pause_stops_grants, one_hold_at_a_time, release_makes_all_due, brake_counts_deletions,
        }
        tasks {
            are_stored_whole, are_known_again, are_limited_by_agent, handed_in_at_once_are_one,
            one_id_for_two_agents_is_one_task, the_limit_holds_in_a_rush, progress, the_first_end_stands,
            racing_ends_are_one, open_ones_are_listed, deadlines_end_them, old_ones_are_pruned,
            texts_come_back_as_they_were, a_deletion_ends_them, a_deletion_races_with_new_ones,
        }
        presence {
            a_registration_is_kept_and_makes_due, snapshots_carry_it, what_happens_in_mid_pass_is_not_lost, signs_of_life_make_nobody_due,
            only_the_last_connection_ends_it, a_new_hub_process_ends_what_the_old_one_held,
            archived_agents_are_not_online, coming_and_going_wakes_the_controller, comings_and_goings_race_with_passes,
        }
        credentials {
            managed_agents_by_their_tokens, api_keys_live_until_revoked, api_keys_expire,
            self_hosted_names_belong_to_their_first_owner, self_hosted_agents_come_and_go,
            a_managed_agent_has_its_name_alone, racing_owners_share_no_name,
        }
        glance {
            pages_are_in_name_order_and_fit_every_filter, the_display_name_is_found_as_well,
            who_wants_a_look_is_counted_and_listed, counts_are_of_one_owner, cleanup_shows_what_is_going_and_what_was_left,
            events_are_of_one_owner_or_one_agent, the_controller_is_seen_at_work, granted_calls_and_pauses_are_shown,
        }
        fleet { pages_show_every_agent_once, filters_are_joined_by_and, what_was_decided_about_one_agent_befalls_no_other, a_spec_for_one_agent_is_written_to_no_other_of_its_name, the_feed_tells_where_it_begins }
        access {
            tokens_live_until_revoked, tokens_expire, an_attempt_is_made_once,
            an_attempt_that_was_given_up_may_come_again, racing_attempts_are_one,
            every_change_of_a_spec_is_in_the_audit_log,
            what_is_asked_beside_a_spec_is_in_the_audit_log,
        }
        search {
            cards_are_read_with_their_owners, the_version_moves_with_what_can_be_found,
            standings_tell_who_can_be_given_a_task, a_name_is_the_managed_agents, vectors_belong_to_one_card_and_model,
            vectors_go_with_their_card, vectors_of_other_models_are_dropped, vectors_fit_their_model,
        }
        waiting { returns_after_max, sees_what_happened_before_the_call, wakes_for_a_change }
    }
}

/// Runs every case on a store of its own and panics at the end with the names of those that failed.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn WholeStore>>,
{
    let mut failed = Vec::new();
    for case in cases() {
        let store = make().await;
        if tokio::spawn((case.run)(store)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(
        failed.is_empty(),
        "{} case(s) failed: {}",
        failed.len(),
        failed.join(", ")
    );
}
