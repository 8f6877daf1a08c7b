//! What is done to a body for its way there.

use bytes::Bytes;
use http::HeaderValue;

use crate::store::Claimed;

/// A body as it goes over the wire, and what was done to it.
#[derive(Clone)]
pub(super) struct WireBody {
    pub(super) bytes: Bytes,
    pub(super) coding: Option<HeaderValue>,
}

/// The body of a delivery as its webhook wants it.
pub(super) async fn body(claimed: &Claimed) -> WireBody {
    let body = claimed.body.clone();
    match claimed.target.compression().is_for(body.len()) {
        true => compressed(body).await,
        false => plain(body),
    }
}

fn plain(bytes: Bytes) -> WireBody {
    WireBody { bytes, coding: None }
}

/// Without the feature no webhook is registered so by this process; one that another has registered gets it plain.
#[cfg(not(feature = "gzip"))]
async fn compressed(body: Bytes) -> WireBody {
    plain(body)
}

/// Compresses in slices, and lets others go on in between: all deliveries of a worker share its task.
#[cfg(feature = "gzip")]
async fn compressed(body: Bytes) -> WireBody {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// A millisecond or so each.
    const SLICE: usize = 64 * 1024;

    // The fastest level: the others take several times as long for a fifth less.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for slice in body.chunks(SLICE) {
        if encoder.write_all(slice).is_err() {
            return plain(body); // a vector takes everything
        }
        if encoder.get_ref().len() >= body.len() {
            break;
        }
        let_others_go().await;
    }
    match encoder.finish() {
        Ok(packed) if packed.len() < body.len() => WireBody {
            bytes: packed.into(),
            coding: Some(HeaderValue::from_static("gzip")),
        },
        _ => plain(body),
    }
}

#[cfg(feature = "gzip")]
async fn let_others_go() {
    use std::task::Poll;

    let mut was_polled = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut was_polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
