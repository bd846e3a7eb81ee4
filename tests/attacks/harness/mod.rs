//! What runs the corpus: how it is read, the service that it is sent to, and the attacks that are not projects.

pub mod archives;
pub mod confinement;
pub mod corpus;
#[path = "../../e2e/harness/networks.rs"]
mod networks;
pub mod repositories;
pub mod server;
pub mod site;
