//! Every parser of outside bytes, as a function that takes any bytes and panics where the parser
//! contradicts itself.

mod bundle;
mod certificate;
mod command_line;
mod commit;
mod config;
mod crate_archive;
mod decoding;
mod dhcp;
mod evidence;
mod firmware;
mod flake_lock;
mod form;
mod hcl;
mod header_block;
mod igvm;
mod json;
mod kds;
mod kept;
mod libraries;
mod lines;
mod lockfile;
mod messages;
mod metadata;
mod modules;
mod nix_messages;
mod quote;
mod reference;
mod report;
mod repository;
mod request;
mod runtime_claims;
mod statement;
mod store;
mod table;
mod tar;
mod unpacking;
mod zip;

/// A function that panics where a parser contradicts itself.
pub type Target = fn(&[u8]);

/// The name and function of each target. Its corpus is the archive of its name.
pub const TARGETS: [(&str, Target); 34] = [
    ("bundle", bundle::target),
    ("certificate", certificate::target),
    ("command_line", command_line::target),
    ("commit", commit::target),
    ("config", config::target),
    ("crate_archive", crate_archive::target),
    ("dhcp", dhcp::target),
    ("evidence", evidence::target),
    ("firmware", firmware::target),
    ("flake_lock", flake_lock::target),
    ("form", form::target),
    ("hcl", hcl::target),
    ("header_block", header_block::target),
    ("igvm", igvm::target),
    ("json", json::target),
    ("kds", kds::target),
    ("libraries", libraries::target),
    ("lines", lines::target),
    ("lockfile", lockfile::target),
    ("messages", messages::target),
    ("metadata", metadata::target),
    ("modules", modules::target),
    ("nix_messages", nix_messages::target),
    ("quote", quote::target),
    ("reference", reference::target),
    ("report", report::target),
    ("repository", repository::target),
    ("request", request::target),
    ("runtime_claims", runtime_claims::target),
    ("statement", statement::target),
    ("store", store::target),
    ("table", table::target),
    ("tar", tar::target),
    ("zip", zip::target),
];

/// Returns the target of that name. An unknown name does not compile.
pub const fn named(name: &str) -> Target {
    let mut index = 0;
    while index < TARGETS.len() {
        if is_same(TARGETS[index].0.as_bytes(), name.as_bytes()) {
            return TARGETS[index].1;
        }
        index += 1;
    }
    panic!("no target has this name")
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}
