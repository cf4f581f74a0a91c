//! How the daemon behaves; every value has a default that suits a real account.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use talon_plan::Timing;

/// Settings of the daemon. Durations are given in (fractions of) seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControllerConfig {
    /// Address of the Hub that Workers connect to.
    pub hub_url: String,
    /// How many agents are worked on at once.
    pub concurrency: usize,
    /// How long a row lease lasts; renewed after a third of it.
    pub lease_seconds: f64,
    /// How often all rows are compared with the lists.
    pub resync_seconds: f64,
    /// Longest time one write to Cloudflare may take.
    pub request_timeout_seconds: f64,
    /// How much longer a write whose answer was lost may still land.
    pub settle_grace_seconds: f64,
    /// How long Cloudflare's lists may lag behind its answers.
    pub list_lag_seconds: f64,
    /// How long after the account's lists were fetched they are not fetched again, whoever needs newer ones.
    pub list_spacing_seconds: f64,
    /// How long cleanup is tried before the row is archived with its leftovers.
    pub cleanup_deadline_seconds: f64,
    /// How often at least.
    pub cleanup_rounds: i64,
    /// How long an agent that never was deployed may fail before it is called `failed`.
    pub failing_grace_seconds: f64,
    /// First wait after a failure.
    pub backoff_initial_seconds: f64,
    /// Longest wait after failures.
    pub backoff_max_seconds: f64,
    /// How long one pass may empty a bucket before others have their turn.
    pub empty_slice_seconds: f64,
    /// Calls to Cloudflare's API within five minutes.
    pub budget_calls: u32,
    /// Whether the budget is shared with other daemons through the database.
    pub budget_shared: bool,
    /// Plan and report, change nothing.
    pub observe_only: bool,
    /// The mass-change brake.
    pub brake: BrakeConfig,
    /// Whether the account is known to have nothing in it when the daemon starts: what the database says is there is not
    /// missed by the brake, but made again. No setting: only for a Cloudflare that lives no longer than its daemon.
    #[serde(skip)]
    pub account_starts_empty: bool,
    /// Where the highest change seen is kept, to notice a database that was set back. `None`: not kept.
    pub high_water_file: Option<PathBuf>,
    /// How long events and change-feed entries are kept.
    pub keep_events_seconds: f64,
    /// How long running passes get to end when the daemon is told to stop.
    pub shutdown_seconds: f64,
}

/// When effects are withheld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BrakeConfig {
    /// Hold if more known Workers than this vanish between two lists…
    pub vanished_min: u64,
    /// …and more than this share of them.
    pub vanished_share: f64,
    /// Hold if more agents than this enter deletion…
    pub deletions: u64,
    /// …within this time.
    pub deletions_window_seconds: f64,
}

impl Default for BrakeConfig {
    fn default() -> Self {
        Self {
            vanished_min: 5,
            vanished_share: 0.1,
            deletions: 20,
            deletions_window_seconds: 60.0,
        }
    }
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            hub_url: "wss://api.societyai.com/ws/agents".to_owned(),
            concurrency: 16,
            lease_seconds: 60.0,
            resync_seconds: 300.0,
            request_timeout_seconds: 30.0,
            settle_grace_seconds: 60.0,
            list_lag_seconds: 30.0,
            list_spacing_seconds: 10.0,
            cleanup_deadline_seconds: 600.0,
            cleanup_rounds: 3,
            failing_grace_seconds: 600.0,
            backoff_initial_seconds: 1.0,
            backoff_max_seconds: 300.0,
            empty_slice_seconds: 8.0,
            budget_calls: 1000,
            budget_shared: false,
            observe_only: false,
            brake: BrakeConfig::default(),
            account_starts_empty: false,
            high_water_file: None,
            keep_events_seconds: 30.0 * 86_400.0,
            shutdown_seconds: 8.0,
        }
    }
}

/// A duration from a setting; nonsense (negative, NaN, huge) becomes zero.
pub fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

impl ControllerConfig {
    /// What is wrong with these settings, if anything: the first one, by its name, and what it must be.
    pub fn check(&self) -> Result<(), String> {
        let above_zero = [
            ("leaseSeconds", self.lease_seconds),
            ("resyncSeconds", self.resync_seconds),
            ("requestTimeoutSeconds", self.request_timeout_seconds),
            ("backoffInitialSeconds", self.backoff_initial_seconds),
            ("backoffMaxSeconds", self.backoff_max_seconds),
            ("emptySliceSeconds", self.empty_slice_seconds),
            ("keepEventsSeconds", self.keep_events_seconds),
            (
                "deletionsWindowSeconds",
                self.brake.deletions_window_seconds,
            ),
        ];
        let not_below_zero = [
            ("settleGraceSeconds", self.settle_grace_seconds),
            ("listLagSeconds", self.list_lag_seconds),
            ("listSpacingSeconds", self.list_spacing_seconds),
            ("cleanupDeadlineSeconds", self.cleanup_deadline_seconds),
            ("failingGraceSeconds", self.failing_grace_seconds),
            ("shutdownSeconds", self.shutdown_seconds),
            ("vanishedShare", self.brake.vanished_share),
        ];
        let sane = |v: f64| v.is_finite() && v < 1e10;
        if let Some((name, _)) = above_zero.iter().find(|(_, v)| !sane(*v) || *v <= 0.0) {
            return Err(format!("{name} must be a number above zero"));
        }
        if let Some((name, _)) = not_below_zero.iter().find(|(_, v)| !sane(*v) || *v < 0.0) {
            return Err(format!("{name} must be zero or a number above it"));
        }
        if self.lease_seconds <= self.request_timeout_seconds {
            return Err("leaseSeconds must be longer than requestTimeoutSeconds: a write must end within its lease".to_owned());
        }
        if self.concurrency == 0 || self.budget_calls == 0 {
            return Err("concurrency and budgetCalls must be at least 1".to_owned());
        }
        Ok(())
    }

    /// The durations planning works with.
    pub fn timing(&self) -> Timing {
        Timing {
            request_timeout: seconds(self.request_timeout_seconds),
            settle_grace: seconds(self.settle_grace_seconds),
            list_lag: seconds(self.list_lag_seconds),
            cleanup_deadline: seconds(self.cleanup_deadline_seconds),
            cleanup_rounds: self.cleanup_rounds,
            failing_grace: seconds(self.failing_grace_seconds),
            ..Timing::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ControllerConfig;

    #[test]
    fn the_defaults_are_sane_and_nonsense_is_named() {
        let good = ControllerConfig::default();
        assert_eq!(good.check(), Ok(()));
        let no_lag = ControllerConfig {
            list_lag_seconds: 0.0,
            ..good.clone()
        };
        assert_eq!(no_lag.check(), Ok(()));
        assert_eq!(good.timing().list_lag, Duration::from_secs(30));
        type Spoil = fn(&mut ControllerConfig);
        let spoilt: [(&str, Spoil); 9] = [
            ("backoffMaxSeconds", |c| c.backoff_max_seconds = 1e10),
            ("listLagSeconds", |c| c.list_lag_seconds = -0.1),
            ("budgetCalls", |c| c.budget_calls = 0),
            ("leaseSeconds", |c| c.lease_seconds = 0.0),
            ("leaseSeconds", |c| {
                c.lease_seconds = c.request_timeout_seconds
            }),
            ("resyncSeconds", |c| c.resync_seconds = f64::NAN),
            ("keepEventsSeconds", |c| c.keep_events_seconds = -1.0),
            ("settleGraceSeconds", |c| {
                c.settle_grace_seconds = f64::INFINITY
            }),
            ("concurrency", |c| c.concurrency = 0),
        ];
        for (name, spoil) in spoilt {
            let mut config = good.clone();
            spoil(&mut config);
            let said = config.check().expect_err(name);
            assert!(said.contains(name), "{said}");
        }
    }
}
