//! Tails of Workers.

use serde_json::{Value, json};

use super::Cx;
use crate::reply::{Handled, Reply};
use crate::tails;
use crate::world::tail::Tail;
use crate::world::view::time;

fn show(cx: &Cx<'_>, tail: &Tail) -> Value {
    json!({
        "id": tail.id,
        // `wss` on the live service; here nothing is encrypted.
        "url": tails::address(cx.request.header("host").unwrap_or_default(), &tail.id),
        "expires_at": time(tail.expires_at),
    })
}

/// `POST …/tails`. The filters that wrangler sends are not simulated: everything is passed on.
pub(crate) fn create(cx: Cx<'_>) -> Handled {
    let worker = cx.param(0).to_owned();
    let tail = cx.world.open_tail(&worker, cx.now)?;
    Ok(Reply::ok(show(&cx, &tail)))
}

/// `GET …/tails`: one, by the published description. Which, it does not say: the newest here.
pub(crate) fn latest(cx: Cx<'_>) -> Handled {
    let worker = cx.param(0).to_owned();
    let tails = cx.world.live_tails(&worker, cx.now)?;
    let newest = tails.last();
    Ok(Reply::ok(newest.map_or(Value::Null, |t| show(&cx, t))))
}

/// `DELETE …/tails/{id}`.
pub(crate) fn delete(cx: Cx<'_>) -> Handled {
    let (worker, id) = (cx.param(0).to_owned(), cx.param(1).to_owned());
    cx.world.close_tail(&worker, &id, cx.now)?;
    Ok(Reply::ok(Value::Null))
}
