//! The name of a job, which is also the permission to see it.

use std::fmt;

/// Length in bytes: 128 random bits cannot be guessed.
const JOB_ID_BYTES: usize = 16;

/// 128 random bits. Prints as 32 hexadecimal digits, lower case. A capability: it goes to whoever submitted, and to
/// nobody else; no log has it.
#[derive(Clone, Copy)]
pub struct JobId([u8; JOB_ID_BYTES]);

impl JobId {
    /// Draws a new one.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; JOB_ID_BYTES];
        getrandom::getrandom(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads exactly what `Display` prints. `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; JOB_ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let id = Self(bytes);
        (id.to_string() == text).then_some(id)
    }
}

impl PartialEq for JobId {
    /// Looks at every byte, so that the time taken says nothing about where a guess is wrong.
    fn eq(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs))
            == 0
    }
}

impl Eq for JobId {}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for JobId {
    /// Says nothing: what is formatted for people who debug ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_it_prints() {
        let id = JobId::draw().unwrap();
        let text = id.to_string();
        assert_eq!(JobId::parse(&text), Some(id));
        for other in [
            "",
            "ab",
            &text.to_uppercase().replace(char::is_numeric, "A"),
            &format!("{text}00"),
            &text[1..],
        ] {
            assert_eq!(JobId::parse(other), None, "{other}");
        }
        assert_ne!(JobId::draw().unwrap(), id);
        assert_eq!(format!("{id:?}"), "JobId(…)");
    }
}
