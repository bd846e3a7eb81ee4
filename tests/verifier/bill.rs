//! The bill of materials, as a file that the statement records.

use kettle::bundle::read::HashedFile;
use kettle::digest::Sha256Digest;
use kettle::verifier::Check;
use serde_json::json;

use super::rejections::Case;
use super::scene::{Scene, digest};

const NAME: &str = "sbom.cdx.json";

/// Returns a good bundle, with the digests of these contents in the statement.
fn recorded(contents: &[&[u8]]) -> Scene {
    let mut scene = Scene::good();
    let byproducts = &mut scene.statement["predicate"]["runDetails"]["byproducts"];
    let byproducts = byproducts.as_array_mut().unwrap();
    for content in contents {
        byproducts.push(json!({"name": NAME, "digest": digest(content)}));
    }
    scene
}

/// Puts a file with this content into the bundle.
fn bundled(mut scene: Scene, content: &'static [u8]) -> Scene {
    scene.edit_bundle = Box::new(move |bundle| {
        bundle.sbom = Some(HashedFile {
            name: NAME.to_owned(),
            sha256: Sha256Digest::of(content),
            size: content.len() as u64,
            executable: false,
        });
    });
    scene
}

/// Returns each rejection, with its check.
pub fn cases() -> Vec<Case> {
    let case = |code, scene: Scene| Case(code, Check::Subjects, scene.verify());
    vec![
        case("record-missing", recorded(&[b"{}"])),
        case("record-unlisted", bundled(recorded(&[]), b"{}")),
        case("record-digest", bundled(recorded(&[b"{}"]), b"{} ")),
        case(
            "record-contradiction",
            bundled(recorded(&[b"{}", b"{} "]), b"{}"),
        ),
    ]
}

#[test]
fn a_bill_of_materials_is_the_recorded_one_or_there_is_none() {
    for scene in [bundled(recorded(&[b"{}"]), b"{}"), recorded(&[])] {
        let result = scene.verify();
        assert!(result.is_accepted(), "{result:?}");
    }
}
