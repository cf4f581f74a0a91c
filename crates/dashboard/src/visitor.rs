//! Who is in front of the browser: whoever holds an API token, with the token's role and owner.

use talon_core::Owner;
use talon_core::guesses::ClientAddress;
use talon_core::turns::counted_as;
pub use talon_store::access::Role;
use talon_store::fleet::Actor;
use talon_store::{StoreResult, WholeStore};

use crate::session::same;

/// Where changes come from, in the audit log, where the address is not known.
const SOURCE: &str = "dashboard";

/// Somebody whose token is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// What the token is for: shown on the page.
    pub name: String,
    /// Who it is, for the audit log.
    id: String,
    /// What they may do.
    pub role: Role,
    /// Whose agents they see and change; `None`: everybody's.
    pub owner: Option<Owner>,
    /// Where their browser is, if that is known.
    pub from: Option<ClientAddress>,
}

impl Visitor {
    /// Whether agents of this owner exist for them.
    pub fn sees(&self, owner: &Owner) -> bool {
        self.owner.as_ref().is_none_or(|own| own == owner)
    }

    /// As whom they are counted.
    pub fn counted_as(&self) -> String {
        counted_as(self.owner.as_ref(), &self.id)
    }

    /// Whether they came with the token of this id.
    pub fn is_token(&self, id: &str) -> bool {
        self.id.strip_prefix("token:") == Some(id)
    }

    /// Whether the audit log is for them.
    pub fn may_audit(&self) -> bool {
        self.is_admin() && self.owner.is_none()
    }

    /// Whether they may see and make tokens.
    pub fn is_admin(&self) -> bool {
        self.role >= Role::Admin
    }

    /// In whose name changes are made.
    pub fn actor(&self) -> Actor {
        Actor {
            name: self.id.clone(),
            source: match self.from {
                Some(ClientAddress(address)) => address.to_string(),
                None => SOURCE.to_owned(),
            },
        }
    }
}

/// How a session names the operator, in place of a hash that others may use as a key.
pub const OPERATOR: &str = "operator";

/// Whose token has this SHA-256, if it is accepted now. Asked on every request, so that a revoked token ends its sessions.
pub async fn admit(
    store: &dyn WholeStore,
    operator_sha256: &str,
    sha256: &str,
) -> StoreResult<Option<Visitor>> {
    if sha256 == OPERATOR || same(sha256, operator_sha256) {
        return Ok(Some(Visitor {
            name: OPERATOR.to_owned(),
            id: OPERATOR.to_owned(),
            role: Role::Admin,
            owner: None,
            from: None,
        }));
    }
    Ok(store.token(sha256).await?.map(|token| Visitor {
        name: talon_explain::safe(&token.label),
        id: format!("token:{}", token.id),
        role: token.role,
        owner: token.owner,
        from: None,
    }))
}
