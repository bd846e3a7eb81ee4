//! Any bytes as nix's description of its store.

use std::collections::BTreeMap;

use kettle::provenance::ResourceDescriptor;
use kettle::toolchain::nix::key::TrustedKeys;
use kettle::toolchain::nix::ledger::{self, Added, Ledger, PathInfo};
use kettle::toolchain::nix::nar::Nar;
use kettle::toolchain::nix::store_path::StorePath;

const KEY: &str = include_str!("../../data/nix/cache.pub");

/// The only text that was signed with the key.
const SIGNED: &str = "1;/nix/store/cd702inh1qxjkpdb45s2bk58ly9ckv4g-greeting-2.1;\
    sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h;120;";

/// Each path occurs once and has one origin, or was only evaluated and is counted; a path that
/// counts as signed was signed with all its references.
pub fn target(data: &[u8]) {
    let Ok(infos) = ledger::parse(data) else {
        return;
    };
    assert!(
        infos.is_sorted_by(|one, next| one.path < next.path),
        "a path is there twice"
    );
    for info in &infos {
        assert_eq!(
            StorePath::parse(&info.path.to_string()).as_ref(),
            Ok(&info.path)
        );
    }
    let keys = TrustedKeys::parse(KEY).expect("a key");
    let added: BTreeMap<_, _> = infos
        .iter()
        .take(1)
        .map(|info| (info.path.clone(), Added::Input))
        .collect();
    let said = |path: &StorePath| Ok(nar(of(&infos, path)));
    let Ok(ledger) = Ledger::new(infos.clone(), &keys, &BTreeMap::new(), &added, said) else {
        return;
    };
    let descriptors = ledger.descriptors();
    let count = |descriptor: &ResourceDescriptor| descriptor.annotations.get("count")?.as_u64();
    let counted: Vec<_> = descriptors.iter().filter_map(count).collect();
    assert!(counted.len() <= 1, "{counted:?}");
    assert_eq!(
        (descriptors.len() - counted.len()) as u64 + counted.iter().sum::<u64>(),
        infos.len() as u64
    );
    for info in &infos {
        let name = Some(info.path.to_string());
        let Some(descriptor) = descriptors
            .iter()
            .find(|descriptor| descriptor.name == name)
        else {
            assert!(
                !info.ultimate && info.ca.is_some(),
                "{info:?} is only counted"
            );
            continue;
        };
        let origins = ["realised", "added"].map(|origin| descriptor.annotations.get(origin));
        match origins {
            [Some(realised), None] if realised == "substituted" => {
                assert!(!info.ultimate && info.fingerprint() == SIGNED, "{info:?}");
            }
            [Some(_), None] => assert!(info.ultimate, "{info:?}"),
            [None, Some(_)] => assert!(!info.ultimate && info.ca.is_some(), "{info:?}"),
            _ => panic!("{info:?} has no origin, or two"),
        }
        let outputs = ledger.outputs(&BTreeMap::from([("out".to_owned(), info.path.clone())]));
        assert_eq!(outputs.map(|outputs| outputs.len()).ok(), Some(1));
    }
}

fn of<'a>(infos: &'a [PathInfo], path: &StorePath) -> &'a PathInfo {
    infos
        .iter()
        .find(|info| info.path == *path)
        .expect("one of them")
}

fn nar(info: &PathInfo) -> Nar {
    Nar {
        sha256: info.nar_hash,
        size: info.nar_size,
    }
}
