//! Permission groups and what a token's policies allow.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use talon_core::spec::Jurisdiction;

use super::chance::Chance;
use super::token::Token;
use crate::calllog::CallClass;
use crate::operation::Area;

/// One of Cloudflare's permission groups.
pub(crate) struct Group {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) scope: &'static str,
}

const ACCOUNT: &str = "com.cloudflare.api.account";
const BUCKET: &str = "com.cloudflare.edge.r2.bucket";

/// The groups the simulator knows. Ids of the R2 groups and of containers are Cloudflare's; the others are made up, and
/// clients must find them by name.
pub(crate) const GROUPS: &[Group] = &[
    group(
        "2efd5506f9c8494dacb1fa10a3e7d5b6",
        "Workers R2 Storage Bucket Item Write",
        BUCKET,
    ),
    group(
        "6a018a9f2fc74eb6b293b0c548f38b39",
        "Workers R2 Storage Bucket Item Read",
        BUCKET,
    ),
    group(
        "bf7481a1826f439697cb59a20b22293e",
        "Workers R2 Storage Write",
        ACCOUNT,
    ),
    group(
        "b4992e1108244f5d8bfbd5744320c2e1",
        "Workers R2 Storage Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d01",
        "Workers Scripts Write",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d02",
        "Workers Scripts Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d03",
        "Account API Tokens Write",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d04",
        "Account API Tokens Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d05",
        "Account Settings Write",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d06",
        "Account Settings Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d07",
        "Workers Tail Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d08",
        "Workers KV Storage Write",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d09",
        "Workers KV Storage Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d0a",
        "Workers AI Write",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d0b",
        "Workers AI Read",
        ACCOUNT,
    ),
    group(
        "0d0e5c3b1f6a4b7c8d9e0f1a2b3c4d0c",
        "Account Secrets Store Write",
        ACCOUNT,
    ),
    group(
        "bdbcd690c763475a985e8641dddc09f7",
        "Workers Containers Write",
        ACCOUNT,
    ),
];

const fn group(id: &'static str, name: &'static str, scope: &'static str) -> Group {
    Group { id, name, scope }
}

/// A policy of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) resources: Map<String, Value>,
    /// Ids of permission groups.
    pub(crate) groups: Vec<String>,
}

/// Whether a policy gives or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    Allow,
    Deny,
}

impl Policy {
    /// As the API shows it.
    pub(crate) fn show(&self) -> Value {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .filter_map(|id| GROUPS.iter().find(|g| g.id == id))
            .map(|g| json!({"id": g.id, "name": g.name}))
            .collect();
        json!({"id": self.id, "effect": self.effect, "resources": self.resources, "permission_groups": groups})
    }

    fn has(&self, names: &[&str]) -> bool {
        self.groups
            .iter()
            .any(|id| GROUPS.iter().any(|g| g.id == id && names.contains(&g.name)))
    }

    fn covers_account(&self, account: &str) -> bool {
        let all = Value::from("*");
        self.resources.get(&format!("{ACCOUNT}.{account}")) == Some(&all)
            || self.resources.get(&format!("{ACCOUNT}.*")) == Some(&all)
    }

    fn covers_bucket(&self, account: &str, jurisdiction: Jurisdiction, bucket: &str) -> bool {
        let all = Value::from("*");
        let one = format!("{BUCKET}.{account}_{}_{bucket}", jurisdiction.as_str());
        let every = self
            .resources
            .get(&format!("{ACCOUNT}.{account}"))
            .and_then(|nested| nested.get(format!("{BUCKET}.*")));
        self.resources.get(&one) == Some(&all) || every == Some(&all)
    }
}

/// The policies of a token that may do everything in the account.
pub(crate) fn everything(account: &str, chance: &mut Chance) -> Vec<Policy> {
    let account_groups = GROUPS
        .iter()
        .filter(|g| g.scope == ACCOUNT)
        .map(|g| g.id.to_owned())
        .collect();
    vec![Policy {
        id: chance.hex32(),
        effect: Effect::Allow,
        resources: Map::from_iter([(format!("{ACCOUNT}.{account}"), Value::from("*"))]),
        groups: account_groups,
    }]
}

/// Whether a token may call a REST endpoint of this area.
pub(crate) fn allows(token: &Token, account: &str, area: Area, class: CallClass) -> bool {
    let (write, read) = match area {
        Area::Open => return true,
        // Listening is reading, whatever the method.
        Area::Tail => {
            let sufficient = ["Workers Tail Read", "Workers Scripts Write"];
            return decide(&token.policies, |p| {
                p.covers_account(account) && p.has(&sufficient)
            });
        }
        Area::Workers => ("Workers Scripts Write", "Workers Scripts Read"),
        Area::R2 => ("Workers R2 Storage Write", "Workers R2 Storage Read"),
        Area::Tokens => ("Account API Tokens Write", "Account API Tokens Read"),
    };
    let sufficient: &[&str] = match class {
        CallClass::Write => &[write],
        CallClass::Read => &[write, read],
    };
    decide(&token.policies, |p| {
        p.covers_account(account) && p.has(sufficient)
    })
}

/// Whether a token may read or write the objects of a bucket over S3.
pub(crate) fn opens_bucket(
    token: &Token,
    account: &str,
    jurisdiction: Jurisdiction,
    bucket: &str,
    class: CallClass,
) -> bool {
    let (items, storage): (&[&str], &[&str]) = match class {
        CallClass::Write => (
            &["Workers R2 Storage Bucket Item Write"],
            &["Workers R2 Storage Write"],
        ),
        CallClass::Read => (
            &[
                "Workers R2 Storage Bucket Item Write",
                "Workers R2 Storage Bucket Item Read",
            ],
            &["Workers R2 Storage Write", "Workers R2 Storage Read"],
        ),
    };
    decide(&token.policies, |p| {
        (p.covers_bucket(account, jurisdiction, bucket) && p.has(items))
            || (p.covers_account(account) && p.has(storage))
    })
}

/// Some policy allows and none denies.
fn decide(policies: &[Policy], applies: impl Fn(&Policy) -> bool) -> bool {
    let mut allowed = false;
    for policy in policies.iter().filter(|p| applies(p)) {
        match policy.effect {
            Effect::Allow => allowed = true,
            Effect::Deny => return false,
        }
    }
    allowed
}
