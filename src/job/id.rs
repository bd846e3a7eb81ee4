//! Names a job by an id, which is also the permission to see the job.
//!
//! * In: random bytes, or text that claims to be an id.
//! * Out: a [`JobId`].
//! * Never: an id in a log, or a comparison whose duration depends on the ids.

use std::fmt;

/// The length in bytes: 128 random bits cannot be guessed.
const JOB_ID_BYTES: usize = 16;

/// The id of a job: 128 random bits, printed as 32 hexadecimal digits in lower case. It is a
/// capability: only the client that submitted gets it, and no log contains it.
#[derive(Clone, Copy)]
pub struct JobId([u8; JOB_ID_BYTES]);

impl JobId {
    /// Draws a new id at random.
    ///
    /// # Errors
    /// The kernel returns no random bytes.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; JOB_ID_BYTES];
        getrandom::getrandom(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads exactly what `Display` prints. Returns `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; JOB_ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let id = Self(bytes);
        (id.to_string() == text).then_some(id)
    }
}

impl PartialEq for JobId {
    /// Compares every byte, so that the duration does not tell where a guess is wrong.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let difference = pairs.fold(0, |difference, (one, other)| difference | (one ^ other));
        difference == 0
    }
}

impl Eq for JobId {}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for JobId {
    /// Writes no digit of the id, because values formatted for debugging end up in logs.
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
