//! Bodies that do not arrive: whoever reads one is told so in time, whatever they are and wherever they read.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

/// The body did not arrive in time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the body did not arrive in time")]
pub struct Late;

/// A body that ends with [`Late`] if it has not arrived whole by then.
struct Timed {
    body: Body,
    until: Pin<Box<Sleep>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        // The clock first: a body that comes byte by byte is always ready.
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Box::new(Late))));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Gives every body of a server so long to arrive.
pub async fn limit_bodies(
    State(patience): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let request = request.map(|body| {
        // Most requests have none.
        if body.is_end_stream() {
            return body;
        }
        Body::new(
            Timed {
                body,
                until: Box::pin(tokio::time::sleep(patience)),
            }
            .boxed_unsync(),
        )
    });
    next.run(request).await
}
