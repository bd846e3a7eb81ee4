//! Runs the corpus: reads it, starts the services, and has the attacks that are not projects.

pub mod archives;
pub mod confinement;
pub mod corpus;
#[path = "../../e2e/harness/networks.rs"]
mod networks;
pub mod repositories;
pub mod server;
pub mod site;
