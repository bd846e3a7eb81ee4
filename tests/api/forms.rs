//! Tricky forms and forms over a limit, over a socket and with the appliance's own reader of
//! submissions: each is refused with a problem document that names the limit, leaves no file, and
//! does not take the slot.

use kettle::api::submission::limits::{
    MAX_BOUNDARY_BYTES, MAX_FIELD_BYTES, MAX_FORM_BODY_BYTES, MAX_OUTSIDE_PARTS_BYTES,
    MAX_PART_HEADER_BYTES, MAX_PART_HEADERS, MAX_SOURCE_NAME_BYTES,
};
use kettle::provenance::MAX_NONCE_BYTES;
use kettle::source::repository::{MAX_REF_BYTES, MAX_URL_BYTES};

use crate::support::{Appliance, Response, post_head};

/// The boundary of every form here that is not about boundaries.
const BOUNDARY: &str = "x";
/// A count far above every limit.
const MANY: usize = 5000;

fn form_type(boundary: &str) -> String {
    format!("Content-Type: multipart/form-data; boundary={boundary}\r\nPrefer: respond-async")
}

fn part(header: &str, content: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {header}\r\n\r\n{content}\r\n")
}

fn whole(parts: &str) -> String {
    format!("{parts}--{BOUNDARY}--\r\n")
}

/// Returns a form that is accepted.
fn valid() -> String {
    whole(&part("name=repo_url", "https://example.org/hello.git"))
}

/// Returns the response, which is the same for a body with a length and for a chunked one.
fn submit(appliance: &Appliance, content_type: &str, body: &str) -> Response {
    let measured = appliance.post("/build", content_type, body);
    if measured.status == 202 {
        return measured;
    }
    let mut client = appliance.connect();
    client.send_head(&format!(
        "POST /build HTTP/1.1\r\n{content_type}\r\nTransfer-Encoding: chunked"
    ));
    for piece in body.as_bytes().chunks(1000) {
        client.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    let chunked = client.response(false);
    assert_eq!(
        (chunked.status, &chunked.body),
        (measured.status, &measured.body)
    );
    measured
}

/// Asserts that nothing of the refused form is left, and that the slot is free.
fn nothing_happened(appliance: &Appliance) {
    assert!(appliance.no_build());
    assert_eq!(
        std::fs::read_dir(appliance.work.path().join("uploads"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        submit(appliance, &form_type(BOUNDARY), &valid()).status,
        202
    );
}

#[test]
fn boundaries_are_those_of_the_standard() {
    let longest = "b".repeat(MAX_BOUNDARY_BYTES);
    for boundary in [
        "0",
        longest.as_str(),
        "-",
        "--",
        "a b",
        "'()+_,-./:=?",
        "----WebKitFormBoundary7MA4YWxk",
    ] {
        let appliance = Appliance::with_intake();
        let body = valid().replace(&format!("--{BOUNDARY}"), &format!("--{boundary}"));
        let quoted = submit(&appliance, &form_type(&format!("\"{boundary}\"")), &body);
        assert_eq!(quoted.status, 202, "{boundary:?}");
    }
    let appliance = Appliance::with_intake();
    let too_long = "b".repeat(MAX_BOUNDARY_BYTES + 1);
    let far_too_long = "b".repeat(MANY);
    for boundary in [
        "",
        "\"\"",
        "\" \"",
        "\"ends in a space \"",
        "\"not closed",
        "\"a\\\"b\"",
        "\"a\tb\"",
        "a b",
        "a/b",
        "x; boundary=x",
        "x; Boundary=y",
        "a!b",
        too_long.as_str(),
        far_too_long.as_str(),
    ] {
        let refused = submit(&appliance, &form_type(boundary), &valid());
        refused.is_problem(400, "form-malformed");
        assert!(
            refused
                .text()
                .contains(&format!("1 to {MAX_BOUNDARY_BYTES} ")),
            "{boundary:?}"
        );
    }
    submit(&appliance, "Content-Type: multipart/form-data", &valid())
        .is_problem(400, "form-malformed");
    nothing_happened(&appliance);
}

/// A line that looks like a boundary is one for every reader, or data for every reader.
#[test]
fn a_boundary_in_the_data_ends_the_part_or_is_data() {
    let appliance = Appliance::with_intake();
    let url = part("name=repo_url", "https://example.org/hello.git");
    for (name, parts, code) in [
        (
            "a boundary with more on its line",
            part("name=nonce", "00\r\n--xy\r\n00"),
            "form-malformed",
        ),
        (
            "the last boundary, with more after it",
            part("name=nonce", "00\r\n--x--\r\n"),
            "source-missing",
        ),
        (
            "a boundary after a line feed alone",
            part("name=nonce", "00\n--x"),
            "nonce-invalid",
        ),
        (
            "a boundary in the middle of a line",
            part("name=nonce", "00--x"),
            "nonce-invalid",
        ),
        (
            "a boundary that is a header",
            url.clone() + &part("name=nonce\r\n--x: y", "00"),
            "form-malformed",
        ),
        (
            "a boundary in a name",
            part("name=\"nonce\r\n--x\"", "00"),
            "form-malformed",
        ),
        (
            "a whole part in the data of another",
            url.clone()
                + &part(
                    "name=nonce",
                    &format!("00\r\n{}", part("name=source; filename=a", "PK")),
                ),
            "source-ambiguous",
        ),
        (
            "a part for whom only the last one counts",
            format!("{url}{url}"),
            "field-repeated",
        ),
    ] {
        let refused = submit(&appliance, &form_type(BOUNDARY), &whole(&parts));
        assert_eq!(refused.status, 400, "{name}");
        assert_eq!(
            refused.json()["type"],
            format!("/problems/{code}"),
            "{name}: {}",
            refused.text()
        );
    }
    nothing_happened(&appliance);
}

#[test]
fn too_much_of_anything_is_refused_with_its_limit() {
    let appliance = Appliance::with_intake();
    let url = part("name=repo_url", "https://example.org/hello.git");
    let long = |bytes: usize| "y".repeat(bytes);
    let fields = |fields: usize| {
        part(
            &format!("name=nonce{}", "\r\nX: y".repeat(fields - 1)),
            "00",
        )
    };
    let outside = MAX_OUTSIDE_PARTS_BYTES;
    for (name, body, status, code, limit) in [
        (
            "a field's name",
            part(&format!("name={}", long(MANY * 2)), ""),
            413,
            "form-too-large",
            MAX_PART_HEADER_BYTES,
        ),
        (
            "a file's name",
            part(
                &format!("name=source; filename={}", long(MAX_SOURCE_NAME_BYTES + 1)),
                "",
            ),
            413,
            "field-too-large",
            MAX_SOURCE_NAME_BYTES,
        ),
        (
            "a file's name that fills the header",
            part(&format!("name=source; filename={}", long(MANY * 2)), ""),
            413,
            "form-too-large",
            MAX_PART_HEADER_BYTES,
        ),
        (
            "a header line",
            part(&format!("name=nonce\r\nX: {}", long(MANY * 2)), ""),
            413,
            "form-too-large",
            MAX_PART_HEADER_BYTES,
        ),
        (
            "header lines",
            fields(MAX_PART_HEADERS + 1),
            413,
            "form-too-large",
            MAX_PART_HEADERS,
        ),
        (
            "a header that does not end",
            format!("--x\r\n{}", long(MANY * 2)),
            413,
            "form-too-large",
            MAX_PART_HEADER_BYTES,
        ),
        (
            "blanks after a boundary",
            format!("--x{}", " ".repeat(MANY * 2)),
            413,
            "form-too-large",
            MAX_PART_HEADER_BYTES,
        ),
        (
            "what is before the parts",
            long(outside + 1) + "\r\n" + &whole(&url),
            413,
            "form-too-large",
            outside,
        ),
        (
            "an epilogue after the parts",
            whole(&url) + &long(outside + 1),
            413,
            "form-too-large",
            outside,
        ),
        (
            "a field",
            part("name=nonce", &long(MAX_FIELD_BYTES + 1)),
            413,
            "field-too-large",
            MAX_FIELD_BYTES,
        ),
        (
            "a nonce",
            part("name=nonce", &"00".repeat(MAX_NONCE_BYTES + 1)),
            400,
            "nonce-invalid",
            2 * MAX_NONCE_BYTES,
        ),
        (
            "a URL",
            part(
                "name=repo_url",
                &format!("https://example.org/{}", long(MAX_URL_BYTES)),
            ),
            400,
            "repository-url-invalid",
            MAX_URL_BYTES,
        ),
        (
            "a ref",
            url.clone() + &part("name=ref", &long(MAX_REF_BYTES + 1)),
            400,
            "ref-invalid",
            MAX_REF_BYTES,
        ),
    ] {
        let refused = submit(&appliance, &form_type(BOUNDARY), &whole(&body));
        assert_eq!(refused.status, status, "{name}: {}", refused.text());
        refused.is_problem(status, code);
        assert!(
            refused.text().contains(&limit.to_string()),
            "{name}: {}",
            refused.text()
        );
    }
    nothing_happened(&appliance);
}

#[test]
fn as_much_as_the_limits_allow_is_accepted() {
    let url = part("name=repo_url", "https://example.org/hello.git");
    let fields = part(
        &format!("name=nonce{}", "\r\nX: y".repeat(MAX_PART_HEADERS - 1)),
        "00",
    );
    let nonce = part("name=nonce", &"00".repeat(MAX_NONCE_BYTES));
    let outside = "y".repeat(MAX_OUTSIDE_PARTS_BYTES - 2);
    for body in [
        whole(&(url.clone() + &fields)),
        whole(&(url.clone() + &nonce)),
        whole(&url) + &outside,
    ] {
        let taken = submit(&Appliance::with_intake(), &form_type(BOUNDARY), &body);
        assert_eq!(taken.status, 202, "{}", taken.text());
    }
}

/// Each known field may come once, so that a repeated or unknown field ends a form of many parts.
#[test]
fn a_form_of_thousands_of_parts_ends_early() {
    let appliance = Appliance::with_intake();
    let nonce = part("name=nonce", "00");
    let unknown: String = (0..MANY)
        .map(|number| part(&format!("name=field{number}"), ""))
        .collect();
    let files: String = (0..MANY)
        .map(|number| part(&format!("name=source; filename={number}.zip"), "PK"))
        .collect();
    for (body, code) in [
        (nonce.repeat(MANY), "field-repeated"),
        (unknown, "unknown-field"),
        (files, "field-repeated"),
    ] {
        submit(&appliance, &form_type(BOUNDARY), &whole(&body)).is_problem(400, code);
        // The response does not wait for the rest.
        let mut client = appliance.connect();
        let head = post_head("/build", &form_type(BOUNDARY), &body);
        client.send_head(&head);
        client.send(&body.as_bytes()[..body.len() / 2]);
        client.response(false).is_problem(400, code);
    }
    let name = "n".repeat(MANY);
    let refused = submit(
        &appliance,
        &form_type(BOUNDARY),
        &whole(&part(&format!("name={name}"), "")),
    );
    refused.is_problem(400, "unknown-field");
    assert!(refused.body.len() < 1000, "a refusal repeats only a little");
    nothing_happened(&appliance);
}

#[test]
fn a_form_that_says_it_is_too_long_is_refused_before_it_comes() {
    let appliance = Appliance::with_intake();
    let mut client = appliance.connect();
    let length = MAX_FORM_BODY_BYTES + 1;
    client.send_head(&format!(
        "POST /build HTTP/1.1\r\n{}\r\nContent-Length: {length}",
        form_type(BOUNDARY)
    ));
    let refused = client.response(false);
    refused.is_problem(413, "body-too-large");
    assert!(refused.text().contains(&MAX_FORM_BODY_BYTES.to_string()));
    nothing_happened(&appliance);
}
