//! Any bytes as an artifact.

use std::io::Cursor;

use kettle::toolchain::libraries::needed;

/// Every name of a library is in the artifact, with a NUL after it.
pub fn target(data: &[u8]) {
    let Ok(names) = needed(&mut Cursor::new(data)) else {
        return;
    };
    for name in names {
        let text = [name.as_bytes(), b"\0"].concat();
        assert!(data.windows(text.len()).any(|part| part == text));
    }
}
