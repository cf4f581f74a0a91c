//! The tables.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use talon_core::agent::Agent;
use talon_core::card::AgentCard;
use talon_core::condition::{ConditionType, StoredCondition};
use talon_core::contact::Contact;
use talon_core::event::NewEvent;
use talon_core::presence::{HostedAgent, Presence};
use talon_core::resource::{ResourceKind, ResourceRecord};
use talon_core::snapshot::{AuthTokenRecord, SecretRecord, Work};
use talon_core::{AgentId, AgentName, AgentSpec, Owner, Snapshot, TryId};

use super::access::Access;
use super::credentials::KeyRow;
use super::tasks::Tasks;
use crate::budget::Slot;
use crate::network::HostedConnection;
use crate::search::SkillVectors;
use crate::types::{Change, ChangeKind, Hold, Install};

/// The clock's time, read once for each call.
pub(super) type Now = DateTime<Utc>;

/// SplitMix64: small, seeded, good enough for ids.
#[derive(Clone)]
pub(super) struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Sixteen hexadecimal digits.
    pub(super) fn word(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    pub(super) fn agent(&mut self) -> AgentId {
        let bytes = (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes();
        AgentId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// One agent with all its child rows.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) agent: Agent,
    pub(super) work: Work,
    pub(super) resources: BTreeMap<ResourceKind, ResourceRecord>,
    pub(super) secrets: BTreeMap<String, SecretRecord>,
    pub(super) tokens: BTreeMap<TryId, AuthTokenRecord>,
    pub(super) conditions: BTreeMap<ConditionType, StoredCondition>,
    pub(super) card: Option<AgentCard>,
    /// By the id of the model.
    pub(super) vectors: BTreeMap<String, SkillVectors>,
    pub(super) presence: Option<Presence>,
    pub(super) contact: Option<Contact>,
    /// Something happened since the last claim that a pass under way may not have seen.
    pub(super) woken: bool,
}

impl Row {
    pub(super) fn new(
        id: AgentId,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        now: Now,
    ) -> Self {
        Self {
            agent: Agent::new(id, name.clone(), owner.clone(), spec.clone(), now),
            work: Work::new(now),
            resources: BTreeMap::new(),
            secrets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            conditions: BTreeMap::new(),
            card: None,
            vectors: BTreeMap::new(),
            presence: None,
            contact: None,
            woken: false,
        }
    }

    pub(super) fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            now,
            agent: self.agent.clone(),
            work: self.work.clone(),
            resources: self.resources.values().cloned().collect(),
            secrets: self.secrets.values().cloned().collect(),
            auth_tokens: self.tokens.values().cloned().collect(),
            conditions: self.conditions.values().cloned().collect(),
            presence: self.presence.clone(),
            contact: self.contact.clone(),
        }
    }

    /// The lease is in force.
    pub(super) fn leased(&self, now: Now) -> bool {
        self.work.lease_owner.is_some() && self.work.lease_until.is_some_and(|until| until > now)
    }

    /// Makes the agent due now, unless it is due already.
    pub(super) fn due(&mut self, now: Now) -> bool {
        if self.agent.is_archived() || self.work.next_due_at.is_some_and(|at| at <= now) {
            return false;
        }
        self.work.next_due_at = Some(now);
        true
    }

    pub(super) fn free(&mut self) {
        self.work.lease_owner = None;
        self.work.lease_until = None;
    }
}

#[derive(Clone)]
pub(super) struct EventRow {
    pub(super) agent: Option<AgentId>,
    pub(super) event: NewEvent,
    pub(super) count: i64,
    pub(super) first_at: Now,
    pub(super) last_at: Now,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) ids: Ids,
    pub(super) rows: BTreeMap<AgentId, Row>,
    pub(super) changes: Vec<(Change, Now)>,
    pub(super) change_seq: i64,
    pub(super) events: Vec<EventRow>,
    pub(super) install: Option<Install>,
    pub(super) leases: BTreeMap<String, (String, Now)>,
    pub(super) budgets: BTreeMap<String, Vec<Slot>>,
    pub(super) pauses: BTreeMap<String, Now>,
    pub(super) hold: Option<Hold>,
    pub(super) last_release: Option<Now>,
    pub(super) tasks: Tasks,
    pub(super) api_keys: Vec<KeyRow>,
    pub(super) access: Access,
    pub(super) hosted: BTreeMap<String, (HostedAgent, HostedConnection)>,
    /// Counts what may change what a search finds.
    pub(super) cards_version: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ids: Ids(seed),
            rows: BTreeMap::new(),
            changes: Vec::new(),
            change_seq: 0,
            events: Vec::new(),
            install: None,
            leases: BTreeMap::new(),
            budgets: BTreeMap::new(),
            pauses: BTreeMap::new(),
            hold: None,
            last_release: None,
            tasks: Tasks::default(),
            api_keys: Vec::new(),
            access: Access::default(),
            hosted: BTreeMap::new(),
            cards_version: 0,
        }
    }

    pub(super) fn changed(&mut self, agent_id: AgentId, kind: ChangeKind, now: Now) {
        self.change_seq += 1;
        let change = Change {
            seq: self.change_seq,
            agent_id,
            kind,
        };
        self.changes.push((change, now));
    }

    pub(super) fn live_id(&self, name: &str) -> Option<AgentId> {
        self.rows
            .values()
            .find(|row| row.agent.name.as_str() == name && !row.agent.is_archived())
            .map(|row| row.agent.id)
    }

    /// Folds an event into an equal one of the same agent, or appends it.
    pub(super) fn record_event(&mut self, agent: Option<AgentId>, event: &NewEvent, now: Now) {
        // The latest stand last; moving a folded one there keeps the order that reading asks for.
        let known = self
            .events
            .iter()
            .position(|row| row.agent == agent && row.event == *event);
        let row = match known {
            Some(at) => {
                let mut row = self.events.remove(at);
                row.count += 1;
                row.last_at = row.last_at.max(now);
                row
            }
            None => EventRow {
                agent,
                event: event.clone(),
                count: 1,
                first_at: now,
                last_at: now,
            },
        };
        self.events.push(row);
    }
}
