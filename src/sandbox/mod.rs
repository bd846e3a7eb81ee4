//! The only room that starts processes. Comes in: a [`CommandSpec`], a pure description. Goes out: the command's
//! output, chunk by chunk, and how it ended, once every process it started is dead. Never: a command outside
//! the sandbox, a shell, an inherited environment, or a weaker sandbox than the one it reports.

mod spec;

pub use spec::{Access, CommandSpec, Exit, Mount, Network, OutputSink, Stream};
