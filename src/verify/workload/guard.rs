//! A client that crashes must not take its operation with it: whoever judges would never hear of something that
//! may well have happened.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;

use super::client::{Answer, Client, Site};
use super::operation::Request;

/// Lets `client` try once. The error is what it said when it crashed; it must not be used again then.
pub(super) async fn attempt(
    client: &mut dyn Client,
    site: Site<'_>,
    request: &Request,
    deadline: Instant,
) -> Result<Answer, String> {
    let mut invoking = pin!(client.invoke(site, request, deadline));
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| invoking.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(last_words(panic.as_ref()))),
    })
    .await
}

/// What a panic said.
pub(super) fn last_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why").to_owned()
}
