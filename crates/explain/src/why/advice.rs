//! What to do about each reason.

use talon_core::condition::Reason;

/// What to do about a reason. Never empty.
pub fn advice(name: &str, reason: Reason) -> Vec<String> {
    use Reason as R;
    let lines: &[&str] = match reason {
        R::InvalidSpec => &[
            "correct the manifest and talon apply -f it, or UPDATE the column named above by SQL",
            "talon export {agent} prints what is stored now",
        ],
        R::SecretValueMissing => &[
            "put a value where the reference points: in a file, then talon reconcile {agent}; in the daemon's environment, then restart the daemon",
            "a key that came over HTTP is set again with talon secrets set {agent} KEY (Talon keeps no copy)",
            "or point spec.apiKeyRefs at a source that has one, and talon apply",
        ],
        R::SecretOutOfScope => &[
            "use a reference that this owner may read (talon config show lists secretScopes)",
            "or let the owner read it: secretScopes in talon.yaml, then restart the daemon",
        ],
        R::SecretRefDiscarded => &[
            "what was stored was not a reference and was thrown away: if it was a key, rotate it, it was exposed to your SQL client",
            "then write a reference: env:NAME, file:NAME or vault:path#field",
        ],
        R::AwaitingKeys => &[
            "give the model's provider a key: spec.apiKeyRefs.PROVIDER: env:TALON_SECRET_…, then talon apply",
            "or hand it in without storing it: talon secrets set {agent} PROVIDER_API_KEY",
        ],
        R::NameConflict => &[
            "rename or remove what bears this name at Cloudflare, then talon reconcile {agent}; or delete this agent and choose another name",
            "Talon never touches what stands there without its mark",
        ],
        R::CloudflareAuth => &[
            "talon doctor says which permission the token lacks",
            "give the daemon a token that has it (TALON_CLOUDFLARE_API_TOKEN), and restart it",
        ],
        R::NoSubdomain => &[
            "choose a workers.dev subdomain in the Cloudflare dashboard (Workers & Pages), then talon reconcile {agent}",
        ],
        R::R2NotEnabled => &[
            "enable R2 in the Cloudflare dashboard (R2 object storage), then talon reconcile {agent}",
        ],
        R::QuotaReached => {
            &["raise the limit at Cloudflare or delete something, then talon reconcile {agent}"]
        }
        R::Unschedulable => &[
            "no account has room: raise a limit or delete agents; it goes on by itself afterwards",
        ],
        R::CloudflareRejected => &[
            "Cloudflare refuses the request as it stands: what it said is above; correct the spec and talon apply",
            "if the spec is right, this is a defect: talon events {agent} has the ray id to report",
        ],
        R::MassChange => &[
            "make sure that it is meant: talon get --status deleting lists what is to be deleted, talon events --warnings what vanished",
            "then talon release-hold",
        ],
        R::RestoredDatabase => &[
            "the database is older than it was: check that it is the one you want",
            "then talon release-hold; agents made since the backup are reported as orphans",
        ],
        R::HeldByOperator => &["talon release-hold, when whoever set it is done"],
        R::ObserveOnly => &[
            "the daemon runs with --observe-only: talon diff {agent} shows what it would do",
            "restart it without the flag to let it act",
        ],
        R::Suspended => &["talon resume {agent}"],
        R::InternalError => &[
            "talon events {agent} shows what the controller met; please report it",
            "talon reconcile {agent} tries again now",
        ],
        R::RateLimited => {
            &["nothing: Cloudflare asks to wait, and the controller does; it goes on by itself"]
        }
        R::BackingOff | R::CloudflareError | R::RegistryError | R::Unsettled => &[
            "nothing: it is tried again by itself",
            "or try now: talon reconcile {agent}",
        ],
        R::LeftOver => &["nothing at once: the sweep goes on trying"],
        R::Deleting | R::Deleted => &["wait for it: talon wait {agent} --for=delete"],
        R::Disconnected => &["nothing at once: it is woken and connects again"],
        R::Asleep => &["nothing: a task wakes it"],
        R::AsExpected
        | R::Deployed
        | R::NotDeployed
        | R::OutOfDate
        | R::Idle
        | R::InProgress
        | R::AwaitingObservation
        | R::Provisioned
        | R::Missing
        | R::Pushed
        | R::PushedUnverified
        | R::CardAccepted
        | R::Registered
        | R::NotObserved => &["nothing; to watch: talon wait {agent} --for=condition=Ready"],
    };
    lines.iter().map(|l| l.replace("{agent}", name)).collect()
}
