//! The account, the user, and the workers.dev subdomain.

use serde_json::{Value, json};

use super::Cx;
use crate::reply::{ApiError, Handled, Reply};
use crate::world::token::Owner;

const NAME: &str = "Local Cloudflare";
const CREATED: &str = "2024-01-01T00:00:00.000000Z";

fn one_page(items: Vec<Value>) -> Reply {
    let count = items.len();
    Reply::page(
        Value::Array(items),
        json!({"page": 1, "per_page": 50, "count": count, "total_count": count, "total_pages": 1}),
    )
}

fn account(cx: &Cx<'_>) -> Value {
    json!({"id": cx.world.account_id, "name": NAME, "type": "standard", "settings": {"enforce_twofactor": false}, "created_on": CREATED})
}

/// `GET /user`.
pub(crate) fn user(cx: &Cx<'_>) -> Handled {
    match cx.token.owner {
        Owner::User => Ok(Reply::ok(json!({
            "id": "0123456789abcdef0123456789abcdef",
            "email": "person@example.com",
            "first_name": null,
            "last_name": null,
        }))),
        Owner::Account => Err(ApiError::new(
            403,
            9109,
            "Valid user-level authentication not found",
        )),
    }
}

/// `GET /user/tokens/verify`: knows users' tokens only.
pub(crate) fn verify_user_token(cx: &Cx<'_>) -> Handled {
    match cx.token.owner {
        Owner::User => Ok(Reply::ok(
            json!({"id": cx.token.id, "status": cx.token.status_at(cx.now).as_str()}),
        )),
        Owner::Account => Err(ApiError::new(401, 1000, "Invalid API Token")),
    }
}

/// `GET /memberships`.
pub(crate) fn memberships(cx: &Cx<'_>) -> Handled {
    match cx.token.owner {
        Owner::User => Ok(one_page(vec![json!({
            "id": "fedcba9876543210fedcba9876543210",
            "status": "accepted",
            "account": account(cx),
            "roles": ["Super Administrator - All Privileges"],
        })])),
        // wrangler reads this code as "no membership to see" and goes on.
        Owner::Account => Err(ApiError::forbidden()),
    }
}

/// `GET /accounts`.
pub(crate) fn list(cx: &Cx<'_>) -> Handled {
    Ok(one_page(vec![account(cx)]))
}

/// `GET /accounts/{a}`.
pub(crate) fn get(cx: &Cx<'_>) -> Handled {
    Ok(Reply::ok(account(cx)))
}

/// Lists of products that are not simulated.
pub(crate) fn nothing() -> Handled {
    Ok(one_page(Vec::new()))
}

/// `GET …/workers/subdomain`.
pub(crate) fn subdomain(cx: &Cx<'_>) -> Handled {
    match &cx.world.subdomain {
        Some(subdomain) => Ok(Reply::ok(json!({"subdomain": subdomain}))),
        None => Err(ApiError::new(
            404,
            10007,
            "You do not have a workers.dev subdomain. Please register one first.",
        )),
    }
}

/// `PUT …/workers/subdomain`.
pub(crate) fn register_subdomain(cx: Cx<'_>) -> Handled {
    let body = cx.json()?;
    let wanted = body
        .get("subdomain")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let valid = (1..=63).contains(&wanted.len())
        && !wanted.starts_with('-')
        && !wanted.ends_with('-')
        && wanted
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        return Err(ApiError::new(
            400,
            10031,
            "This subdomain is not available. Please choose another one.",
        ));
    }
    match &cx.world.subdomain {
        Some(current) if current != wanted => Err(ApiError::new(
            409,
            10036,
            "Your account already has a workers.dev subdomain.",
        )),
        Some(_) | None => {
            cx.world.subdomain = Some(wanted.to_owned());
            Ok(Reply::ok(json!({"subdomain": wanted})))
        }
    }
}
