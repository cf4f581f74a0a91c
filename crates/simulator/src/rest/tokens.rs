//! Account API tokens.

use serde_json::{Value, json};

use super::Cx;
use crate::reply::{ApiError, Handled, Reply};
use crate::world::permission::GROUPS;
use crate::world::token::{Owner, check_id, not_found};

/// `GET …/tokens/verify`: knows the account's tokens only.
pub(crate) fn verify(cx: &Cx<'_>) -> Handled {
    match cx.token.owner {
        Owner::Account => Ok(Reply::ok(
            json!({"id": cx.token.id, "status": cx.token.status_at(cx.now).as_str()}),
        )),
        Owner::User => Err(ApiError::new(401, 1000, "Invalid API Token")),
    }
}

/// `GET …/tokens/permission_groups`, filtered by `name` and `scope`.
pub(crate) fn permission_groups(cx: &Cx<'_>) -> Handled {
    let wanted = |key: &str, value: &str| cx.query.get(key).is_none_or(|v| v == value);
    Ok(Reply::ok(
        GROUPS
            .iter()
            .filter(|g| wanted("name", g.name) && wanted("scope", g.scope))
            .map(|g| json!({"id": g.id, "name": g.name, "category": "developer_platform", "scopes": [g.scope]}))
            .collect(),
    ))
}

/// `GET …/tokens`: pages of at most [`SimConfig::token_page_limit`](crate::SimConfig::token_page_limit).
pub(crate) fn list(cx: Cx<'_>) -> Handled {
    let per_page = cx.number("per_page", 20, cx.world.token_page_limit);
    let page = cx.number("page", 1, usize::MAX);
    let descending = cx.query.get("direction").is_some_and(|d| d == "desc");
    let now = cx.now;
    let mut tokens: Vec<_> = cx
        .world
        .listed(now)
        .tokens
        .iter()
        .filter(|t| t.owner == Owner::Account)
        .collect();
    if descending {
        tokens.reverse();
    }
    let total = tokens.len();
    let shown: Vec<Value> = tokens
        .into_iter()
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .map(|t| t.show(now))
        .collect();
    let info = json!({
        "page": page,
        "per_page": per_page,
        "count": shown.len(),
        "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok(Reply::page(Value::Array(shown), info))
}

/// `POST …/tokens`: the only answer with the value, besides a roll.
pub(crate) fn create(cx: Cx<'_>) -> Handled {
    let token = cx.world.create_token(&cx.json()?, cx.now)?;
    let mut shown = token.show(cx.now);
    shown["value"] = token.value.show();
    Ok(Reply::ok(shown))
}

/// `GET …/tokens/{id}`.
pub(crate) fn get(cx: Cx<'_>) -> Handled {
    let id = cx.param(0).to_owned();
    check_id(&id)?;
    let token = cx
        .world
        .seen(cx.now)
        .token(&id)
        .cloned()
        .ok_or_else(not_found)?;
    Ok(Reply::ok(token.show(cx.now)))
}

/// `DELETE …/tokens/{id}`.
pub(crate) fn delete(cx: Cx<'_>) -> Handled {
    let id = cx.param(0).to_owned();
    cx.world.delete_token(&id, cx.now)?;
    Ok(Reply::ok(json!({"id": id})))
}

/// `PUT …/tokens/{id}/value`: the new value, once.
pub(crate) fn roll(cx: Cx<'_>) -> Handled {
    let id = cx.param(0).to_owned();
    let value = cx.world.roll_token(&id, cx.now)?;
    Ok(Reply::ok(value.show()))
}
