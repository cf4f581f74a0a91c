//! What is known of the Cloudflare account as a whole: its workers.dev subdomain, read once.

use talon_core::cloud::{CallClass, CallCx, Cloud, CloudResult};
use talon_plan::Subdomain;
use tokio::sync::Mutex;

/// Remembers the account's subdomain once it is known.
#[derive(Debug, Default)]
pub struct Account {
    subdomain: Mutex<Option<String>>,
}

impl Account {
    /// The subdomain. Asks Cloudflare until there is one, then never again.
    pub async fn subdomain(&self, cloud: &dyn Cloud, class: CallClass) -> CloudResult<Subdomain> {
        let mut known = self.subdomain.lock().await;
        if known.is_none() {
            *known = cloud
                .account_subdomain(CallCx {
                    class,
                    remaining: None,
                })
                .await?;
        }
        Ok(known.clone().map_or(Subdomain::Missing, Subdomain::Known))
    }
}
