use std::{fmt, future::poll_fn, net::SocketAddr, pin::Pin};

use bytes::Bytes;
use hyper::{
    body::{Body, Incoming},
    http::request::Parts,
};
use tokio::time::{Instant, sleep_until};

use crate::{Link, Pace, shared::Shared};

/// A request, after its `Host` and `Origin` were found to be right.
pub struct Request {
    pub(crate) head: Parts,
    body: Incoming,
    link: Link,
    pace: Pace,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed; known before it is read if the client said its length.
    #[error("the body is longer than allowed")]
    TooLong,
    /// There is no room for it now.
    #[error("there is no room for the body")]
    NoRoom,
    /// The client takes too long.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The client has gone, or what it sends is no body.
    #[error("the body does not come")]
    Lost,
}

impl Request {
    pub(crate) fn new(request: hyper::Request<Incoming>, link: Link, shared: &Shared) -> Self {
        let (head, body) = request.into_parts();
        Self { head, body, link, pace: shared.limits().pace }
    }

    /// `GET`, `POST` or whatever it is.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// The path as it came: nothing is decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// What follows the first `?`, as it came.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The first header of that name, if it is ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// All headers, with their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Whether it asks for a WebSocket.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.accept().is_ok()
    }

    /// Where the client is, if it came over the network.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.link.peer
    }

    /// Where it came in.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.link.local
    }

    /// Whether it came over an encrypted connection.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.link.is_secure
    }

    /// Reads the body; what is longer than `most_bytes` is not read.
    ///
    /// # Errors
    /// If it is too long or does not come.
    pub async fn body(&mut self, most_bytes: usize) -> Result<Vec<u8>, BodyError> {
        self.body_within(most_bytes, |_| true).await
    }

    /// As [`Request::body`]; `has_room` is asked before a part of so many bytes is kept.
    ///
    /// # Errors
    /// If it is too long or does not come, or if there is no room for a part.
    pub async fn body_within(
        &mut self,
        most_bytes: usize,
        mut has_room: impl FnMut(usize) -> bool + Send,
    ) -> Result<Vec<u8>, BodyError> {
        let announced = self.body.size_hint().lower();
        if announced > most_bytes as u64 {
            return Err(BodyError::TooLong);
        }
        let begun = Instant::now();
        let mut whole = Vec::new();
        loop {
            let deadline = begun + self.pace.time_for(whole.len());
            // Both are cancel safe.
            let part = tokio::select! {
                part = self.next_part() => part?,
                () = sleep_until(deadline) => return Err(BodyError::TooSlow),
            };
            match part {
                None => return Ok(whole),
                Some(part) if whole.len() + part.len() > most_bytes => {
                    return Err(BodyError::TooLong);
                }
                Some(part) if !has_room(part.len()) => return Err(BodyError::NoRoom),
                Some(part) => whole.extend_from_slice(&part),
            }
        }
    }

    pub(crate) fn accept(&self) -> Result<String, crate::upgrade::NoUpgrade> {
        crate::upgrade::accept(&self.head.method, self.head.version, &self.head.headers)
    }

    async fn next_part(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                None => return Ok(None),
                Some(Err(_)) => return Err(BodyError::Lost),
                // Trailers are of no interest.
                Some(Ok(frame)) => {
                    if let Ok(part) = frame.into_data() {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Request {
    /// Without headers and query, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("peer", &self.link.peer)
            .finish_non_exhaustive()
    }
}
