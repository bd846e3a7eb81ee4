//! A log of a build, in memory.

use std::io;

use kettle::sandbox::Stream;
use kettle::toolchain::Log;

pub(super) struct Kept(pub Vec<u8>);

impl Log for Kept {
    fn note(&mut self, _line: &str) -> io::Result<()> {
        Ok(())
    }

    fn output(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
