//! What does the API answer? Over real sockets, with stand-ins for the reader of submissions and for the pipeline.

mod connections;
mod contract;
mod downloads;
mod events;
mod submission;
mod support;
