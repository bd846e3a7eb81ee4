//! Any bytes as the output of a build, on its way into the log.

use std::convert::Infallible;

use kettle::job::{Line, LineSplitter, MAX_LINE_BYTES, NOTE_MARK};
use kettle::text::is_inert;

/// Every cut gives the same lines; none is long, could move a cursor, hides anything, or starts as
/// a note does.
pub fn target(data: &[u8]) {
    let whole = lines(data, data.len().max(1));
    for line in &whole {
        assert!(
            line.len() <= MAX_LINE_BYTES && line.chars().all(is_inert),
            "{line:?}"
        );
        let start = line.trim_start().get(..NOTE_MARK.len());
        assert!(
            !start.is_some_and(|start| start.eq_ignore_ascii_case(NOTE_MARK)),
            "{line:?}"
        );
    }
    assert_eq!(lines(data, 1), whole);
    assert_eq!(lines(data, 5), whole);
}

fn lines(data: &[u8], size: usize) -> Vec<String> {
    let (mut found, mut splitter) = (Vec::new(), LineSplitter::new());
    let mut keep = |line: Line<'_>| {
        found.push(line.as_str().to_owned());
        Ok::<(), Infallible>(())
    };
    for chunk in data.chunks(size) {
        let Ok(()) = splitter.push(chunk, &mut keep);
    }
    let Ok(()) = splitter.finish(&mut keep);
    found
}
