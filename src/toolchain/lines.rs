//! Separates the messages of a tool from the other lines that it prints.
//!
//! * In: chunks of one stream, cut anywhere.
//! * Out: whole lines that can be messages, and everything else as it comes.
//! * Never: memory that grows with a line.

/// A line that is held back while it can still begin with `start`, or be `exact`.
pub(super) struct HeldLine {
    pub start: Vec<u8>,
    pub exact: &'static [u8],
    limit: usize,
    line: Vec<u8>,
    is_passing: bool,
}

impl HeldLine {
    /// Holds back lines of up to `limit` bytes that begin with `start`.
    pub fn new(start: impl Into<Vec<u8>>, limit: usize) -> Self {
        Self {
            start: start.into(),
            exact: b"",
            limit,
            line: Vec::new(),
            is_passing: false,
        }
    }

    /// Returns whether the current line can still be a message.
    pub fn is_held(&self) -> bool {
        !self.is_passing
    }

    /// Returns the bytes that are held back.
    #[cfg(test)]
    pub fn held(&self) -> &Vec<u8> {
        &self.line
    }

    /// Takes a part of a line, and returns the bytes that are not held back.
    pub fn take(&mut self, part: &[u8]) -> Vec<u8> {
        if self.is_passing {
            return part.to_vec();
        }
        self.line.extend_from_slice(part);
        let common = self.line.len().min(self.start.len());
        let can_start =
            self.line[..common] == self.start[..common] && self.line.len() <= self.limit;
        if can_start || self.exact.starts_with(&self.line) {
            return Vec::new();
        }
        self.is_passing = true;
        std::mem::take(&mut self.line)
    }

    /// Ends the line and returns it; it is empty when its bytes were passed on.
    pub fn end(&mut self) -> Vec<u8> {
        self.is_passing = false;
        std::mem::take(&mut self.line)
    }
}

/// Divides a chunk into parts of lines; the flag tells whether the part ends its line.
pub(super) fn parts(chunk: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    chunk
        .split_inclusive(|&byte| byte == b'\n')
        .map(|part| (part, part.ends_with(b"\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes that are passed on, and the lines that are messages.
    fn divided(text: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut held = HeldLine::new(*b"@ ", 8);
        held.exact = b"x\n";
        let (mut passed, mut lines) = (Vec::new(), Vec::new());
        for (part, is_end) in text.chunks(size).flat_map(parts) {
            passed.extend(held.take(part));
            if is_end {
                lines.push(held.end());
            }
        }
        lines.retain(|line| !line.is_empty());
        (passed, lines)
    }

    #[test]
    fn only_what_can_be_a_message_is_held_back_however_it_is_cut() {
        let text = b"@ a\nother\nx\n\n@b\n@ 12345\n@ 123456\nxy\n@";
        for size in 1..text.len() {
            let (passed, lines) = divided(text, size);
            assert_eq!(passed, b"other\n\n@b\n@ 123456\nxy\n");
            assert_eq!(lines, [&b"@ a\n"[..], b"x\n", b"@ 12345\n"]);
        }
    }
}
