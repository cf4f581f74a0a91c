//! What can be asked of Cloudflare without changing anything: the token, what it may do, the account.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::Unlimited;
use talon_core::cloud::{CallClass, CallCx, Cloud, CloudError};
use talon_core::spec::Jurisdiction;

use super::check::{Check, Verdict};
use crate::cloudflare;
use crate::exit::Exit;
use crate::output::{age, safe};
use crate::session::Session;
use crate::view;

/// Reads only; nothing is changed at Cloudflare.
pub async fn checks(session: &Session, checks: &mut Vec<Check>) {
    let settings = &session.config.settings.cloudflare;
    if settings.account_id.is_none() && settings.api_token.is_none() {
        checks.push(
            Check::new("cloudflare", Verdict::Skipped, "no account configured")
                .next("set TALON_CLOUDFLARE_ACCOUNT_ID and TALON_CLOUDFLARE_API_TOKEN; talon dev needs none"),
        );
        return;
    }
    let made = cloudflare::client_config(settings)
        .and_then(|config| cloudflare::client(config, Arc::new(Unlimited)));
    let client = match made {
        Ok(client) => client,
        Err(failure) => return checks.push(Check::failed("cloudflare", failure)),
    };
    let cx = CallCx {
        class: CallClass::UserChange,
        remaining: Some(Duration::from_secs(30)),
    };
    let verified = client.verify_token(cx).await;
    let accepted = verified.as_ref().is_ok_and(|t| t.status == "active");
    checks.push(match verified {
        Ok(t) if t.status == "active" => Check::new(
            "cloudflare token",
            Verdict::Ok,
            format!("active, id {}", view::short_hash(&safe(&t.id))),
        ),
        Ok(t) => Check {
            exit: Exit::NotAllowed,
            ..Check::new(
                "cloudflare token",
                Verdict::Failed,
                format!("is {}", safe(&t.status)),
            )
            .next("make a new token in the Cloudflare dashboard and give it to talon")
        },
        Err(CloudError::Auth(said)) => Check {
            exit: Exit::NotAllowed,
            ..Check::new("cloudflare token", Verdict::Failed, safe(&CloudError::Auth(said).to_string()))
                .next("check that TALON_CLOUDFLARE_API_TOKEN holds a token of this account, or make a new one in the Cloudflare dashboard")
        },
        Err(error) => cloud_failure("cloudflare token", &error, EVERY_PERMISSION),
    });
    if !accepted {
        return;
    }
    match client.account_subdomain(cx).await {
        Ok(Some(name)) => checks.push(Check::new(
            "subdomain",
            Verdict::Ok,
            format!("{}.workers.dev", safe(&name)),
        )),
        Ok(None) => checks.push(
            Check::new(
                "subdomain",
                Verdict::Failed,
                "the account has no workers.dev subdomain",
            )
            .next("choose one in the Cloudflare dashboard: Workers & Pages"),
        ),
        Err(error) => checks.push(cloud_failure("subdomain", &error, "Workers Scripts: Edit")),
    }
    let reads = [
        (
            "workers",
            "Workers Scripts: Edit",
            client.list_workers(cx).await.map(|l| l.len()),
        ),
        (
            "r2",
            "Workers R2 Storage: Edit",
            client
                .list_buckets(cx, Jurisdiction::Default)
                .await
                .map(|l| l.len()),
        ),
        (
            "tokens",
            "Account API Tokens: Edit",
            client.list_tokens(cx).await.map(|l| l.len()),
        ),
    ];
    for (check, permission, read) in reads {
        checks.push(match read {
            Ok(n) => Check::new(check, Verdict::Ok, format!("readable ({n} in the account)")),
            Err(error) => cloud_failure(check, &error, permission),
        });
    }
}

/// What the token needs.
const EVERY_PERMISSION: &str =
    "Workers Scripts: Edit, Workers R2 Storage: Edit, Account API Tokens: Edit";

fn cloud_failure(check: &'static str, error: &CloudError, permission: &str) -> Check {
    let (exit, next) = match error {
        CloudError::Auth(_) => (
            Exit::NotAllowed,
            format!(
                "give the token the permission \"{permission}\" on this account, or make a new one"
            ),
        ),
        CloudError::Throttled { retry_after } => (
            Exit::Unavailable,
            format!(
                "Cloudflare asks to wait; try again in {}",
                age::short(*retry_after)
            ),
        ),
        CloudError::Transient(_) | CloudError::Ambiguous(_) => (
            Exit::Unavailable,
            "check the network and cloudflare.apiBase, and try again".to_owned(),
        ),
        CloudError::NotFound(_)
        | CloudError::Exists(_)
        | CloudError::Conflict(_)
        | CloudError::NotEmpty(_)
        | CloudError::Invalid(_) => (
            Exit::Failure,
            format!(
                "check cloudflare.accountId, and that the token has \"{permission}\" on that account"
            ),
        ),
    };
    Check {
        exit,
        ..Check::new(check, Verdict::Failed, safe(&error.to_string())).next(next)
    }
}
