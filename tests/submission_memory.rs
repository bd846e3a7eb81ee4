//! Does memory grow with the size of an upload? This test is its own process, so that its peak
//! means something.
#![cfg(feature = "appliance")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::fs;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Request as HttpRequest;
use hyper::body::{Body, Bytes, Frame};
use kettle::api::submission::{Intake, receive};

/// The size of each upload.
const UPLOAD_BYTES: usize = 64 << 20;

/// How much the peak may grow: by buffers, not by uploads.
const MAX_GROWTH_KIB: u64 = 8 << 10;

/// One frame of the flood, a whole number of base64 quads.
const FRAME_BYTES: usize = 1 << 20;

/// `head`, then the same frame over and over, then `tail`.
struct Flood {
    head: Option<&'static str>,
    frame: Bytes,
    left: usize,
    tail: Option<&'static str>,
}

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.head.take() {
            Some(head) => Some(Bytes::from_static(head.as_bytes())),
            None if self.left > 0 => {
                self.left -= 1;
                Some(self.frame.clone())
            }
            None => self
                .tail
                .take()
                .map(|tail| Bytes::from_static(tail.as_bytes())),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_peak_does_not_follow_the_size_of_uploads() {
    let directory = tempfile::TempDir::new().unwrap();
    let intake = Intake::open(directory.path().join("uploads")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let frame = Bytes::from(vec![b'A'; FRAME_BYTES]);
    let before = peak_kib();
    let floods = [
        (
            "application/json",
            r#"{"nonce":"00","source_data":""#,
            r#""}"#,
        ),
        (
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=source\r\n\r\n",
            "\r\n--XX--\r\n",
        ),
        // Data that no field accepts has to be refused while it comes, not kept.
        ("application/json", r#"{"nonce":"00"#, r#""}"#),
        (
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=nonce\r\n\r\n",
            "",
        ),
        ("multipart/form-data; boundary=XX", "--XX\r\nX: ", ""),
        ("multipart/form-data; boundary=XX", "preamble", ""),
    ];
    for (content_type, head, tail) in floods {
        let request = HttpRequest::post("/build")
            .header("content-type", content_type)
            .header("transfer-encoding", "chunked")
            .body(())
            .unwrap();
        let left = UPLOAD_BYTES / FRAME_BYTES;
        let body = Flood {
            head: Some(head),
            frame: frame.clone(),
            left,
            tail: Some(tail),
        };
        let error = runtime
            .block_on(receive(&request.into_parts().0, body, &intake))
            .unwrap_err();
        assert!(error.status() < 500, "{error}");
        let growth = peak_kib() - before;
        assert!(
            growth < MAX_GROWTH_KIB,
            "the peak grew by {growth} KiB with {content_type} {head}"
        );
    }
}
