//! One write: in the database, then the keys handed in with it.

use std::collections::BTreeSet;

use axum::response::Response;
use serde_json::Value;
use talon_core::{AgentId, AgentSpec, Owner, Snapshot};
use talon_store::{ApplyOptions, ApplyOutcome, StoreError};

use super::changes::write_plan;
use super::params::WriteParams;
use super::wanted::{Wanted, fixed, invalid};
use super::written::CarriedOut;
use crate::App;
use crate::agents::look::actor;
use crate::agents::secrets;
use crate::agents::spec::Spec;
use crate::agents::wait::WaitParams;
use crate::auth::Caller;
use crate::http::{Answer, FieldError, Kind, Problem};

/// How one write goes.
pub struct Write<'a> {
    pub app: &'a App,
    pub caller: &'a Caller,
    pub params: &'a WriteParams,
    pub before: Option<Snapshot>,
    /// The generation at which it may happen; 0: only if there is nothing.
    pub if_generation: Option<i64>,
    /// The same was asked before, and nobody knows whether it was done: what stands there may be its own work.
    pub resumes: bool,
}

impl Write<'_> {
    /// Applies and answers, or rehearses.
    pub async fn run(self, wanted: Wanted) -> Answer<Response> {
        let app = self.app;
        self.carry_out(wanted).await?.answer(app).await
    }

    /// Applies, or rehearses.
    pub async fn carry_out(self, mut wanted: Wanted) -> Answer<CarriedOut> {
        let keys = std::mem::take(&mut wanted.keys);
        if !keys.is_empty() {
            secrets::takes_keys(self.app, self.caller)?;
            self.app.write_keys(self.caller, None)?;
        }
        let wait = WaitParams {
            wait: self.params.wait,
            timeout: self.params.timeout.clone(),
        };
        let wait = wait.read(self.app, self.caller)?;
        let owner = self.owner(&wanted)?;
        let dry_run = self.params.dry_run.is_some();
        let options = ApplyOptions {
            if_generation: self.if_generation,
            // What was looked at is what is written to, whoever has the name by then.
            if_agent: self.before.as_ref().map(|s| s.agent.id),
            dry_run,
        };
        let store = self.app.store();
        let applied = match store
            .apply_as(
                &actor(self.caller),
                &wanted.name,
                &owner,
                &wanted.spec,
                options,
            )
            .await
        {
            Ok(applied) => (applied.id, applied.outcome),
            Err(error) => match self.own_work(&error, &wanted, &owner).await? {
                Some(id) => (id, ApplyOutcome::Created),
                None => return Err(self.refused(error, &wanted.spec)),
            },
        };
        let (id, outcome) = applied;
        if dry_run {
            let plan = write_plan(self.before.as_ref(), &wanted.spec, outcome);
            return Ok(CarriedOut::Rehearsed(plan));
        }
        if !keys.is_empty() {
            // The row comes first: what fails from here on leaves an agent that waits for its keys.
            secrets::hand_in(self.app, self.caller, (id, &wanted.name), keys).await?;
        }
        Ok(CarriedOut::Written {
            id,
            created: outcome == ApplyOutcome::Created,
            name: wanted.name,
            warnings: wanted.warnings,
            wait,
        })
    }

    /// The agent that an earlier attempt made, whose answer was lost: untouched, and as it was asked for.
    async fn own_work(
        &self,
        error: &StoreError,
        wanted: &Wanted,
        owner: &Owner,
    ) -> Answer<Option<AgentId>> {
        if !self.resumes || !matches!(error, StoreError::Stale { expected: 0, .. }) {
            return Ok(None);
        }
        let found = self.app.store().get(wanted.name.as_str(), false).await?;
        let own = found.filter(|s| {
            let agent = &s.agent;
            agent.owner == *owner
                && agent.generation.0 == 1
                && !agent.is_deleting()
                && agent.spec == wanted.spec
        });
        Ok(own.map(|s| s.agent.id))
    }

    /// Whose the agent is or will be.
    fn owner(&self, wanted: &Wanted) -> Answer<Owner> {
        let own = self.before.as_ref().map(|s| &s.agent.owner);
        let own = own.or(self.caller.owner.as_ref());
        match (own, &wanted.owner) {
            (Some(own), Some(other)) if own != other => {
                let error = match self.before {
                    Some(_) => fixed("/owner"),
                    None => FieldError {
                        pointer: "/owner".to_owned(),
                        code: "not_yours".to_owned(),
                        detail: "is another than the token's: leave it out".to_owned(),
                    },
                };
                Err(invalid(vec![error]))
            }
            (Some(own), _) => Ok(own.clone()),
            (None, Some(wanted)) => Ok(wanted.clone()),
            (None, None) => Ok(Owner::default()),
        }
    }

    /// A refusal of the database. That a name is taken is a conflict, unless the request itself asked for that to be looked
    /// at. A rule about several fields points at those that the request would change.
    fn refused(&self, error: StoreError, wanted: &AgentSpec) -> Problem {
        match error {
            StoreError::Stale { expected: 0, .. } if self.before.is_none() => Problem::new(
                Kind::Conflict,
                "the name is taken: choose another, or change the agent by PUT or PATCH",
            ),
            error => match &self.before {
                Some(before) => Problem::from(error).only_at(&changed(&before.agent.spec, wanted)),
                None => error.into(),
            },
        }
    }
}

/// Pointers to the fields that differ.
fn changed(old: &AgentSpec, new: &AgentSpec) -> Vec<String> {
    let (old, new) = (Spec::from(old).into_json(), Spec::from(new).into_json());
    let fields = |spec: &Value| spec.as_object().cloned().unwrap_or_default();
    let (old, new) = (fields(&old), fields(&new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|n| old.get(*n) != new.get(*n));
    differ.map(|name| format!("/spec/{name}")).collect()
}
