//! What runs the corpus: how it is read, the service that it is sent to, and the attacks that are not projects.

pub mod archives;
pub mod confinement;
pub mod corpus;
pub mod repositories;
pub mod server;
pub mod site;
