//! What a thing costs for as long as it is not cleaned up. List prices of Cloudflare, named as estimates.

use talon_core::resource::ResourceKind;

/// In words; `None`: it costs nothing that anybody is billed for.
pub fn standing(kind: ResourceKind) -> Option<&'static str> {
    match kind {
        ResourceKind::R2Bucket | ResourceKind::R2Objects => {
            Some("costs an estimated $0.015 per GB and month")
        }
        ResourceKind::R2Token => Some("costs nothing, but still opens its bucket"),
        ResourceKind::Worker => {
            Some("costs nothing while idle, but counts towards the account's limit of scripts")
        }
        ResourceKind::WorkerRoute | ResourceKind::AgentCard => None,
    }
}
