//! What a deployer that is told to call back signs with.

use crate::id::AgentId;
use crate::secret::SecretValue;

/// Secrets of callbacks, one for each agent. Implemented where the install key is; nothing is stored.
pub trait CallbackSecrets: Send + Sync {
    /// The agent's secret, in the form of Standard Webhooks 1.0.0: `whsec_` and base64.
    fn callback_secret(&self, agent: AgentId) -> SecretValue;
}
