//! R2 as Workers reach it through a binding: the protocol that workerd speaks, over the same buckets as REST and S3.
//!
//! One port serves every bucket. Which one a request means stands in a header that workerd adds itself; its value is a
//! ticket that nobody else can make, so that a Worker reaches only what is bound to it.
//!
//! One Worker does everything that the binding offers, here and in miniflare, and a test (`tests/miniflare.rs`) compares
//! what came of each call: put, get, head, list (prefix, delimiter, cursor, metadata), delete of many, ranges, conditions,
//! metadata, checksums, multipart. Where the two differ, this follows R2's documentation and miniflare does not:
//! - storage classes are kept and told; miniflare keeps none;
//! - a cursor that no list has given is refused; miniflare takes any text for one;
//! - custom metadata may have 8,192 bytes; miniflare stops at the 2,048 of old;
//! - a range of an empty object gets an answer; miniflare fails with a 500.

mod objects;
mod protocol;
mod uploads;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use http::{HeaderMap, Request};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::runner::RunBinding;
use crate::server::{MAX_BODY, respond};
use crate::shared::Shared;
use crate::world::BucketKey;
use crate::world::bucket::{ObjectStore, jurisdiction};
use objects::Served;
use protocol::{Ask, Refusal};

/// Says which bucket, with proof.
pub(crate) const BUCKET_HEADER: &str = "x-simulator-bucket";

/// Where the buckets are reached, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    key: [u8; 32],
}

impl Door {
    /// Takes a free port of this machine.
    pub(crate) async fn open() -> io::Result<(Self, TcpListener)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let key = rand::random();
        Ok((Self { address, key }, listener))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The header's value for an `r2_bucket` binding; `None` if it names no bucket.
    pub(crate) fn ticket(&self, binding: &RunBinding) -> Option<String> {
        let field = |name: &str| binding.fields.get(name).and_then(Value::as_str);
        let bucket = field("bucket_name")?;
        let jurisdiction = jurisdiction(field("jurisdiction"))?;
        let place = format!("{}/{bucket}", jurisdiction.as_str());
        let proof = hex::encode(self.mac(&place)?.finalize().into_bytes());
        Some(format!("{place}/{proof}"))
    }

    /// The bucket that a ticket is for, if it is one of ours.
    fn admitted(&self, ticket: &str) -> Option<BucketKey> {
        let (place, proof) = ticket.rsplit_once('/')?;
        let proof = hex::decode(proof).ok()?;
        self.mac(place)?.verify_slice(&proof).ok()?;
        let (location, bucket) = place.split_once('/')?;
        Some((jurisdiction(Some(location))?, bucket.to_owned()))
    }

    fn mac(&self, place: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(place.as_bytes());
        Some(mac)
    }
}

/// Serves the buckets behind a door.
pub(crate) fn router(shared: Arc<Shared>, door: Door) -> Router {
    Router::new().fallback(serve).with_state((shared, door))
}

async fn serve(
    State((shared, door)): State<(Arc<Shared>, Door)>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let reply = match to_bytes(body, MAX_BODY).await {
        Ok(body) => asked(&shared, &door, &parts.headers, &body),
        Err(_) => Err(Refusal::TOO_LARGE),
    };
    respond(reply.unwrap_or_else(Refusal::reply))
}

fn asked(shared: &Shared, door: &Door, headers: &HeaderMap, body: &Bytes) -> Served {
    let bucket = headers
        .get(BUCKET_HEADER)
        .and_then(|v| v.to_str().ok())
        .and_then(|ticket| door.admitted(ticket))
        .ok_or(Refusal::NOT_ADMITTED)?;
    let (ask, value) = protocol::read(headers, body)?;
    shared.with_world(|world, now| {
        // Whether it is used or not: one draw for each call keeps histories alike.
        let fresh = world.chance.hex32();
        let store = world.objects.get_mut(&bucket).ok_or(Refusal::NO_BUCKET)?;
        answered(store, ask, value, fresh, now)
    })
}

/// `fresh` becomes a version or the id of an upload.
fn answered(
    store: &mut ObjectStore,
    ask: Ask,
    value: Bytes,
    fresh: String,
    now: DateTime<Utc>,
) -> Served {
    match ask {
        Ask::Head { object } => objects::head(store, &object),
        Ask::Get {
            object,
            range,
            range_header,
            only_if,
        } => objects::get(
            store,
            &object,
            range,
            range_header.as_deref(),
            only_if.as_ref(),
        ),
        Ask::List(ask) => objects::list(store, &ask),
        Ask::Put(ask) => objects::put(store, &ask, value, fresh, now),
        Ask::Delete { object, objects } => {
            let keys: Vec<String> = object.into_iter().chain(objects).collect();
            objects::delete(store, &keys)
        }
        Ask::CreateMultipartUpload { object, about } => {
            uploads::create(store, object, &about, fresh, now)
        }
        Ask::UploadPart {
            object,
            upload_id,
            part_number,
        } => uploads::part(store, &object, &upload_id, part_number, value),
        Ask::CompleteMultipartUpload {
            object,
            upload_id,
            parts,
        } => uploads::complete(store, &object, &upload_id, &parts, fresh, now),
        Ask::AbortMultipartUpload { object, upload_id } => {
            uploads::abort(store, &object, &upload_id)
        }
    }
}
