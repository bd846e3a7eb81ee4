//! A build that writes to its source, in the machine: what it wrote is in memory, and not kept.

use crate::client::{Port, Source};
use crate::image::Image;
use crate::machine::{Host, Machine};
use crate::support::package;

#[test]
#[ignore = "needs QEMU and a built image"]
fn a_build_in_the_image_writes_to_its_source_and_nothing_of_that_is_kept() {
    let script = "fn main() { std::fs::write(\"src/generated.rs\", \"\").unwrap() }\n";
    let files = [
        ("src/main.rs", "mod generated;\nfn main() {}\n"),
        ("build.rs", script),
    ];
    let image = Image::from_environment();
    let machine = Machine::serving(&image, &Host::honest(&image));
    let source = Source::Archive {
        bytes: &package(&files),
        name: "package.tar",
    };
    let outcome = machine.build(Port::Tls, &source);
    outcome.assert_succeeded();
    let note = "the build changed its source, of which nothing is kept: \"src/generated.rs\"";
    let has_note = outcome.lines.iter().any(|line| line.contains(note));
    assert!(has_note, "{}", outcome.lines.join("\n"));
}
