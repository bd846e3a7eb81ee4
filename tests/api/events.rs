//! Progress of a build: replay, following, resuming, and readers of different speed.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kettle::api::limits::EVENT_HEARTBEAT;
use kettle::error_type::ErrorType;
use kettle::job::{Event, Job, MAX_LINE_BYTES};
use serde_json::{Value, json};

use crate::support::{
    Appliance, Events, JSON, SentEvent, fail, line, long_provenance, open_events, post_head,
};

fn ids(events: &[SentEvent]) -> Vec<u64> {
    events.iter().map(|event| event.id.unwrap()).collect()
}

fn whole_build(job: &Job) {
    job.emit(Event::Init("fetching")).unwrap();
    job.emit(Event::Init("checking\ninputs")).unwrap();
    job.emit(Event::Detect("cargo")).unwrap();
    job.emit(Event::Start("cargo build --release")).unwrap();
    line(job, "   Compiling \"hello\" \u{1b}[32m").unwrap();
    line(job, "zwölf\t🦀").unwrap();
    line(job, "[kettle] a note\u{202e}").unwrap();
    line(job, "Generating provenance").unwrap();
    job.emit(Event::Note("a note")).unwrap();
    job.emit(Event::Provenance("writing")).unwrap();
    job.emit(Event::Attest("requesting")).unwrap();
}

#[test]
fn typed_events_are_replayed_followed_and_ended() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    running.emit(Event::Init("early")).unwrap();
    let (_, mut events) = open_events(&appliance, &format!("GET /api/build/{id}/events HTTP/1.1"));
    let mut next = || events.next().unwrap();
    assert_eq!(
        next(),
        SentEvent {
            id: Some(0),
            data: json!({"type":"queued","position":0})
        }
    );
    assert_eq!(
        next(),
        SentEvent {
            id: Some(1),
            data: json!({"type":"vm","msg":"kettle test"})
        }
    );
    assert_eq!(
        next(),
        SentEvent {
            id: Some(2),
            data: json!({"type":"init","msg":"early"})
        }
    );
    whole_build(running.job());
    let expected = [
        json!({"type":"init","msg":"fetching"}),
        json!({"type":"init","msg":"checking\\u{a}inputs"}),
        json!({"type":"detect","msg":"cargo"}),
        json!({"type":"build","msg":"   Compiling \"hello\" \\u{1b}[32m"}),
        json!({"type":"build","msg":"zwölf\t🦀"}),
        json!({"type":"build","msg":"\\u{5b}kettle] a note\\u{202e}"}),
        json!({"type":"build","msg":"Generating provenance"}),
        json!({"type":"note","msg":"a note"}),
        json!({"type":"provenance","msg":"writing"}),
        json!({"type":"attest","msg":"requesting"}),
    ];
    for (number, data) in expected.into_iter().enumerate() {
        assert_eq!(
            next(),
            SentEvent {
                id: Some(number as u64 + 3),
                data
            }
        );
    }
    appliance.succeed(running, b"bundle");
    let complete = next();
    assert_eq!(complete.id, Some(13));
    let mut result = complete.data["result"].clone();
    assert_eq!(
        (&complete.data["type"], &result["status"]),
        (&"complete".into(), &"ok".into())
    );
    assert!(events.next().is_none());
    // Except for the word, it is the result of the job document.
    result["status"] = "success".into();
    assert_eq!(
        result,
        appliance.get(&format!("/build/{id}")).json()["result"]
    );
}

#[test]
fn the_stream_says_the_milestones_with_the_output_between_them() {
    for (path, headers) in [
        ("/build/stream", JSON.to_owned()),
        ("/v1/build/stream", JSON.to_owned()),
        ("/build", format!("{JSON}\r\nAccept: text/event-stream")),
    ] {
        let appliance = Appliance::start();
        let mut client = appliance.connect();
        client.send_head(&post_head(path, &headers, "valid"));
        client.send(b"valid");
        let head = client.head();
        let mut events = client.events();
        let running = appliance.build();
        let id = running.id().to_string();
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some("text/event-stream"))
        );
        assert_eq!(head.header("cache-control"), Some("no-cache"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        assert_eq!(head.header("kettle-job-id"), Some(id.as_str()));
        let first = events.next().unwrap().data;
        assert_eq!(
            (&first["type"], &first["job_id"]),
            (&"info".into(), &id.clone().into())
        );
        whole_build(running.job());
        fail(running, ErrorType::AttestationFailed);
        let rest: Vec<SentEvent> = events.collect();
        let (complete, infos) = rest.split_last().unwrap();
        assert!(infos.iter().all(|event| event.data["type"] == "info"));
        let messages: Vec<&str> = infos
            .iter()
            .map(|event| event.data["message"].as_str().unwrap())
            .collect();
        assert_eq!(
            messages,
            [
                "[kettle] kettle test",
                "Initializing build environment",
                "[kettle] checking\\u{a}inputs",
                "Detecting project type",
                "Running cargo build --release",
                "   Compiling \"hello\" \\u{1b}[32m",
                "zwölf\t🦀",
                "\\u{5b}kettle] a note\\u{202e}",
                "\\u{47}enerating provenance",
                "[kettle] a note",
                "Generating provenance",
                "Creating attestation",
            ]
        );
        let expected = json!({"type":"complete","result":{
            "build_id": id, "job_id": id, "status": "failed", "error": "it does not compile",
            "error_type": "AttestationFailed"}});
        assert_eq!(complete.data, expected);
        // Its numbers are those of the typed events: a dropped stream resumes there.
        let typed: Vec<_> = open_events(&appliance, &format!("GET /build/{id}/events HTTP/1.1"))
            .1
            .collect();
        assert_eq!(typed.last().unwrap().id, complete.id);
        let compiling = typed
            .iter()
            .find(|event| event.data["msg"] == messages[5])
            .unwrap();
        assert_eq!(compiling.id, rest[5].id);
    }
}

#[test]
fn no_line_of_the_stream_is_the_appliances_own_unless_the_appliance_says_it() {
    let appliance = Appliance::start();
    let mut client = appliance.connect();
    client.send_head(&post_head("/build/stream", JSON, "valid"));
    client.send(b"valid");
    client.head();
    let events = client.events();
    let running = appliance.build();
    whole_build(running.job());
    let told = [
        "kettle test",
        "checking\\u{a}inputs",
        "a note",
        "more",
        "cargo",
    ]
    .map(|text| format!("[kettle] {text}"));
    let milestones = [
        "Build accepted",
        "Initializing build environment",
        "Detecting project type",
        "Running cargo build --release",
        "Running nix build",
        "Generating provenance",
        "Creating attestation",
    ];
    for text in told.iter().map(String::as_str).chain(milestones) {
        for imitation in [
            text.to_owned(),
            format!("  {text}"),
            format!("x {text}"),
            text.to_uppercase(),
        ] {
            line(&running, &imitation).unwrap();
        }
    }
    running.emit(Event::Init("more")).unwrap();
    running.emit(Event::Detect("cargo")).unwrap();
    fail(running, ErrorType::BuildFailed);
    let messages = events.filter_map(|event| Some(event.data["message"].as_str()?.to_lowercase()));
    let messages: Vec<String> = messages.collect();
    let own: Vec<_> = messages
        .iter()
        .filter(|text| text.trim_start().starts_with("[kettle]"))
        .collect();
    assert_eq!(
        own,
        told.iter()
            .map(|text| text.to_lowercase())
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    for milestone in milestones.map(str::to_lowercase) {
        let said = messages
            .iter()
            .filter(|text| text.contains(&milestone))
            .count();
        assert_eq!(
            said,
            usize::from(milestone != "running nix build"),
            "{milestone}: {messages:?}"
        );
    }
}

/// Published clients split each piece that they read at line ends, and a record of TLS ends at 16
/// KiB.
#[test]
fn no_line_of_the_stream_is_too_long_for_clients_that_read_by_pieces() {
    const LONGEST_LINE: usize = 12 * 1024;
    let appliance = Appliance::start();
    let mut client = appliance.connect();
    client.send_head(&post_head("/build/stream", JSON, "valid"));
    client.send(b"valid");
    client.head();
    let running = appliance.build();
    let id = running.id().to_string();
    let mut texts = vec![
        "x".repeat(MAX_LINE_BYTES),
        "\"".repeat(MAX_LINE_BYTES),
        "\\\t".repeat(MAX_LINE_BYTES / 2),
        "🦀\u{1b}".repeat(MAX_LINE_BYTES / 10),
        "short".to_owned(),
    ];
    // One of these is cut where its second part begins like a note.
    texts.extend((1..=8).map(|shift| "y".repeat(shift) + &"[kettle]".repeat(2000)));
    for text in &texts {
        line(&running, text).unwrap();
        running.emit(Event::Note(text)).unwrap();
    }
    appliance.succeed_with(running, b"bundle", &long_provenance());

    let mut text = Vec::new();
    while let Some(chunk) = client.chunk() {
        assert!(chunk.ends_with(b"\n\n") && chunk.len() <= 15 * 1024);
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    let (mut numbered, mut parts) = (Vec::new(), Vec::new());
    let mut complete = None;
    for event in text.split_terminator("\n\n") {
        let (id, data) = match event.split_once('\n') {
            Some((id, data)) => (Some(id), data),
            None => (None, event),
        };
        assert!(data.len() < LONGEST_LINE, "{}", data.len());
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let Some(message) = data["message"].as_str() else {
            complete = Some(data);
            continue;
        };
        parts.push(message.to_owned());
        // The last part has the number: whoever has not read it resumes with the whole.
        if let Some(id) = id {
            let number: u64 = id.strip_prefix("id: ").unwrap().parse().unwrap();
            numbered.push((number, std::mem::take(&mut parts)));
        }
    }
    assert!(parts.is_empty());

    let head = format!("GET /build/{id}/events HTTP/1.1");
    let typed: Vec<SentEvent> = open_events(&appliance, &head).1.collect();
    // The last one is `complete`; the first one has its own words in the stream.
    assert_eq!(typed.len(), numbered.len() + 1);
    let mut escaped = 0;
    for (event, (number, parts)) in typed.iter().zip(&numbered).skip(1) {
        assert_eq!(event.id, Some(*number));
        let from_a_tool = event.data["type"] == "build";
        let mut message = String::new();
        for part in parts {
            assert_eq!(part.starts_with("[kettle] "), !from_a_tool);
            assert!(!(from_a_tool && part.starts_with("[kettle]")));
            message += part.strip_prefix("[kettle] ").unwrap_or(part);
        }
        escaped += usize::from(from_a_tool && parts[parts.len() - 1].starts_with("\\u{5b}kettle"));
        let plain = |text: &str| text.replace("\\u{5b}", "[");
        assert!(plain(&message) == plain(event.data["msg"].as_str().unwrap()));
        assert_eq!(parts.len() > 1, message.len() > LONGEST_LINE - 64);
    }
    assert_eq!(escaped, 1);

    let complete = complete.unwrap();
    let mut result = appliance.get(&format!("/build/{id}")).json()["result"].take();
    let members = result.as_object_mut().unwrap();
    assert!(members.remove("provenance").is_some() && members.remove("evidence").is_some());
    let url = format!("/build/{id}/provenance.json");
    assert_eq!(appliance.get(&url).body, long_provenance());
    members.insert("provenance_url".to_owned(), url.into());
    members.insert("evidence_url".to_owned(), Value::Null);
    assert_eq!(complete, json!({"type": "complete", "result": result}));
}

#[test]
fn readers_resume_where_they_want() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    for number in 2..2000 {
        line(&running, &number.to_string()).unwrap();
    }
    fail(running, ErrorType::BuildFailed);
    let read = |query: &str, headers: &str| -> Vec<SentEvent> {
        open_events(
            &appliance,
            &format!("GET /build/{id}/events{query} HTTP/1.1{headers}"),
        )
        .1
        .collect()
    };
    let all = read("", "");
    assert_eq!(ids(&all), (0..=2000).collect::<Vec<_>>());
    for (query, headers, first) in [
        ("?from=0", "", 0),
        ("?from=1500", "", 1500),
        ("?from=2000", "", 2000),
        ("?from=2001", "", 2001),
        ("?from=99999999999999999999999999", "", 2001),
        ("", "\r\nLast-Event-ID: 0", 1),
        ("", "\r\nLast-Event-ID: 1023", 1024),
        ("", "\r\nLast-Event-ID: 1999", 2000),
        ("", "\r\nLast-Event-ID: 18446744073709551615", 2001),
        ("?from=3", "\r\nLast-Event-ID: 1700", 1701),
    ] {
        assert_eq!(read(query, headers), all[first..], "{query}{headers}");
    }
    for (query, headers) in [
        ("?from=", ""),
        ("?from=x", ""),
        ("?from=-1", ""),
        ("?from=%2B1", ""),
        ("?from=1.0", ""),
        ("", "\r\nLast-Event-ID: x"),
        ("", "\r\nLast-Event-ID: -1"),
        ("?from=1", "\r\nLast-Event-ID: x"),
    ] {
        appliance
            .ask(&format!("GET /build/{id}/events{query} HTTP/1.1{headers}"))
            .is_problem(400, "event-number-invalid");
    }
}

/// A browser asks again after every end, until there is nothing to ask for.
#[test]
fn a_reader_that_has_the_last_event_is_told_that_there_is_no_more() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let asks = |method: &str, last: u64| {
        let mut client = appliance.connect();
        client.send_head(&format!(
            "{method} /build/{id}/events HTTP/1.1\r\nLast-Event-ID: {last}"
        ));
        client.head()
    };
    // Nobody knows yet which event will be the last one.
    assert_eq!(asks("GET", 2).status, 200);
    line(&running, "one line").unwrap();
    fail(running, ErrorType::BuildFailed);
    for (last, status) in [(2, 200), (3, 204), (4, 200)] {
        for method in ["GET", "HEAD"] {
            assert_eq!(asks(method, last).status, status, "{method} {last}");
        }
    }
    let none = asks("GET", 3);
    assert_eq!(
        (
            none.header("content-length"),
            none.header("transfer-encoding")
        ),
        (None, None)
    );
    let mut again = appliance.connect();
    let head = format!("GET /build/{id}/events?from=1 HTTP/1.1\r\nLast-Event-ID: 3");
    again.send_head(&head);
    assert_eq!(again.head().status, 204);
    assert_eq!(
        again.ask("GET /health HTTP/1.1", "").text(),
        "ok",
        "the connection is of further use"
    );
}

#[test]
fn from_beyond_the_end_gives_what_comes_after() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let (_, mut events) = open_events(
        &appliance,
        &format!("GET /build/{id}/events?from=1000 HTTP/1.1"),
    );
    line(&running, "later").unwrap();
    assert_eq!(
        events.next().unwrap(),
        SentEvent {
            id: Some(2),
            data: json!({"type":"build","msg":"later"})
        }
    );
    fail(running, ErrorType::BuildFailed);
    assert_eq!(events.next().unwrap().data["type"], "complete");
    assert!(events.next().is_none());
}

#[test]
fn events_come_promptly_while_nothing_else_happens() {
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let (_, mut events) = open_events(
        &appliance,
        &format!("GET /build/{id}/events?from=2 HTTP/1.1"),
    );
    for number in 0..20 {
        let sent = Instant::now();
        line(&running, &number.to_string()).unwrap();
        assert_eq!(events.next().unwrap().data["msg"], number.to_string());
        // An event arrives also while the stream has nothing else to send.
        assert!(sent.elapsed() < EVENT_HEARTBEAT, "{:?}", sent.elapsed());
    }
}

#[test]
fn head_gives_the_headers_and_does_not_wait() {
    let appliance = Appliance::start();
    let (_running, id) = appliance.accepted();
    let head = appliance.ask(&format!("HEAD /build/{id}/events HTTP/1.1"));
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
}

/// Checks the numbers and texts of a long log while it is read.
fn check_lines(events: Events<TcpStream>, lines: u64, mut between: impl FnMut(u64)) {
    let mut expected = 0;
    for event in events {
        assert_eq!(event.id, Some(expected));
        between(expected);
        match &event.data["type"] {
            Value::String(kind) if kind == "build" => {
                assert_eq!(event.data["msg"], format!("line {expected} \"quoted\""));
            }
            Value::String(kind) if kind == "complete" => assert_eq!(expected, lines + 2),
            _ => assert!(expected < 2),
        }
        expected += 1;
    }
    assert_eq!(expected, lines + 3);
}

#[test]
fn a_slow_reader_and_a_fast_one_see_every_line_once() {
    const LINES: u64 = 200_000;
    let appliance = Appliance::start();
    let (running, id) = appliance.accepted();
    let job = Arc::clone(running.job());
    let head = format!("GET /build/{id}/events HTTP/1.1");
    let (_, fast) = open_events(&appliance, &head);
    let (_, slow) = open_events(&appliance, &head);
    std::thread::scope(|scope| {
        scope.spawn(move || check_lines(fast, LINES, |_| ()));
        scope.spawn(move || {
            check_lines(slow, LINES, |number| {
                if number % 10_000 == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        });
        for number in 2..LINES + 2 {
            line(&job, &format!("line {number} \"quoted\"")).unwrap();
        }
        fail(running, ErrorType::BuildFailed);
    });
    let mut log = Vec::new();
    job.log().write_build_log(&mut log).unwrap();
    assert_eq!(
        log.iter().filter(|byte| **byte == b'\n').count() as u64,
        LINES
    );
}
