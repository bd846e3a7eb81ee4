//! Decides which parts of a project are built.
//!
//! * In: the project as `cargo metadata` describes it, and the options that the client chose.
//! * Out: the packages, programs and features that are built, and lines about those that are not.
//! * Never: a choice that the project does not have, or two files that would be one artifact.

use std::collections::{BTreeMap, BTreeSet};

use super::CargoError;
use super::metadata::{Metadata, Package, Selection, Target};
use crate::toolchain::options::CargoOptions;

/// The largest number of names that a refusal lists.
const MAX_LISTED: usize = 50;

/// The feature that is on unless the client switches it off.
const DEFAULT: &str = "default";

impl Metadata {
    /// Selects what `options` say, for the target platform `target`.
    ///
    /// # Errors
    /// The project has no such package, program or feature, everything that it has needs features
    /// that are off, or two of its packages make a file of the same name.
    pub(super) fn select(
        mut self,
        options: &CargoOptions,
        target: Option<&str>,
    ) -> Result<Self, CargoError> {
        if let Some(package) = &options.package {
            self.default_members = self.members_named(package.as_str())?;
        }
        let names = |names: &[_]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let bins = options.bins.as_deref().map(names);
        self.selection = Selection {
            bins: bins.map(|bins| bins.into_iter().collect()),
            features: options.features.as_deref().map(names).unwrap_or_default(),
            no_default_features: options.no_default_features.unwrap_or_default(),
            target: target.map(str::to_owned),
        };
        self.check_bins()?;
        self.check_features()?;
        self.check_names()?;
        self.check_anything_is_built()?;
        Ok(self)
    }

    /// Returns the packages of the workspace.
    fn all_members(&self) -> impl Iterator<Item = &Package> {
        let is_member = |package: &&Package| {
            self.members.contains(&package.id) || self.default_members.contains(&package.id)
        };
        self.packages.iter().filter(is_member)
    }

    /// Returns the ids of the workspace's packages with a name.
    fn members_named(&self, name: &str) -> Result<BTreeSet<String>, CargoError> {
        let members = self.all_members();
        let named: BTreeSet<_> = members
            .filter(|package| package.name == name)
            .map(|package| package.id.clone())
            .collect();
        if named.is_empty() {
            return Err(CargoError::NoSuchPackage {
                package: name.to_owned(),
                there: listed(self.all_members().map(|package| package.name.clone())),
            });
        }
        Ok(named)
    }

    /// Refuses a program that none of the selected packages has.
    fn check_bins(&self) -> Result<(), CargoError> {
        let selected: BTreeSet<&str> = self
            .default_members()
            .flat_map(Package::programs)
            .map(|target| target.name.as_str())
            .collect();
        let bins = self.selection.bins.iter().flatten();
        let Some(bin) = bins
            .into_iter()
            .find(|bin| !selected.contains(bin.as_str()))
        else {
            return Ok(());
        };
        let there = self.all_members().flat_map(|package| {
            let name = |target: &Target| format!("{} of package {}", target.name, package.name);
            package.programs().map(name).collect::<Vec<_>>()
        });
        Err(CargoError::NoSuchBin {
            bin: bin.clone(),
            there: listed(there),
        })
    }

    /// Checks the features of the project itself; cargo checks those of dependencies,
    /// `NAME/FEATURE`.
    fn check_features(&self) -> Result<(), CargoError> {
        let there = || {
            self.default_members()
                .flat_map(|package| package.features.keys())
        };
        let features = self.selection.features.iter();
        let mut own = features.filter(|feature| !feature.contains('/'));
        match own.find(|feature| !there().any(|known| known == *feature)) {
            Some(feature) => Err(CargoError::NoSuchFeature {
                feature: feature.clone(),
                there: listed(there().cloned()),
            }),
            None => Ok(()),
        }
    }

    /// Refuses two files of one name: cargo writes one over the other, and chance decides which
    /// stays.
    fn check_names(&self) -> Result<(), CargoError> {
        let is_library_only = self.is_library_only();
        let triple = self.selection.target.as_deref();
        let mut makers: BTreeMap<String, &Package> = BTreeMap::new();
        for package in self.default_members() {
            let targets = package.targets.iter();
            let built = targets.filter(|target| {
                let is_wanted = target.is_delivered() || is_library_only && target.is_library();
                is_wanted && self.is_built(package, target)
            });
            for name in built.flat_map(|target| target.file_names(is_library_only, triple)) {
                let Some(other) = makers.insert(name.clone(), package) else {
                    continue;
                };
                if other.id == package.id {
                    continue;
                }
                return Err(CargoError::SameName {
                    name: name.escape_default().to_string(),
                    packages: [other.spec(), package.spec()],
                });
            }
        }
        Ok(())
    }

    /// Refuses a project of which nothing is built because its programs need features.
    fn check_anything_is_built(&self) -> Result<(), CargoError> {
        let mut targets = self
            .default_members()
            .flat_map(|package| package.targets.iter().map(move |target| (package, target)));
        let gated = self.gated();
        let makes_files = |(package, target): (&Package, &Target)| {
            target.is_library() || target.is_delivered() && self.is_built(package, target)
        };
        if gated.is_empty() || targets.any(makes_files) {
            return Ok(());
        }
        Err(CargoError::AllGated {
            programs: listed(gated),
        })
    }

    /// Returns whether the build makes `target`: one that was chosen, or whose features are on.
    pub(super) fn is_built(&self, package: &Package, target: &Target) -> bool {
        if let Some(bins) = &self.selection.bins {
            return target.is_program() && bins.contains(&target.name);
        }
        !target.is_program() || self.missing_features(package, target).is_empty()
    }

    /// Returns the features that a program needs and that are off.
    fn missing_features<'a>(&self, package: &Package, target: &'a Target) -> Vec<&'a str> {
        if target.required_features.is_empty() {
            return Vec::new();
        }
        let on = self.features_on(package);
        let required = target.required_features.iter();
        required
            .filter(|feature| !on.contains(feature.as_str()))
            .map(String::as_str)
            .collect()
    }

    /// Returns the features of a package that are on, and the features of dependencies that they
    /// switch on, `NAME/FEATURE`.
    fn features_on<'a>(&'a self, package: &'a Package) -> BTreeSet<&'a str> {
        let own = |feature: &'a String| match feature.split_once('/') {
            Some((name, below)) if name == package.name => below,
            _ => feature.as_str(),
        };
        let mut queue: Vec<&str> = self.selection.features.iter().map(own).collect();
        if !self.selection.no_default_features {
            queue.push(DEFAULT);
        }
        let mut on = BTreeSet::new();
        while let Some(feature) = queue.pop() {
            if !on.insert(feature) {
                continue;
            }
            if let Some((dependency, _)) = feature.split_once('/') {
                queue.extend((!dependency.ends_with('?')).then_some(dependency));
            }
            let more = package.features.get(feature).into_iter().flatten();
            queue.extend(more.map(String::as_str));
        }
        on
    }

    /// Returns the selected programs that are not built, each with the features that it lacks.
    fn gated(&self) -> Vec<String> {
        if self.selection.bins.is_some() {
            return Vec::new();
        }
        let mut gated = Vec::new();
        for package in self.default_members() {
            for target in package.programs() {
                let missing = self.missing_features(package, target);
                if !missing.is_empty() {
                    gated.push(format!("{} needs {}", target.name, missing.join(",")));
                }
            }
        }
        gated
    }

    /// Returns a line for each program that a reader may miss, with the choice that builds it.
    pub(super) fn not_built(&self) -> Vec<String> {
        let gated = self.gated();
        let mut notes: Vec<_> = gated
            .iter()
            .take(MAX_LISTED)
            .map(|gated| format!("not built, for want of features: {gated} (choose with features)"))
            .collect();
        if self.is_library_only() {
            let others = self
                .all_members()
                .filter(|package| !self.is_default_member(package));
            let program = |package: &Package| {
                let name = |target: &Target| {
                    format!(
                        "not built: program {} of package {} (choose with package)",
                        target.name, package.name
                    )
                };
                package.programs().map(name).collect::<Vec<_>>()
            };
            notes.extend(others.flat_map(program).take(MAX_LISTED));
        }
        notes
    }

    /// Returns whether a selected package asks for a version of the compiler.
    pub(super) fn asks_for_a_version(&self) -> bool {
        self.default_members()
            .any(|package| package.rust_version.is_some())
    }

    /// Compares the versions that the selected packages ask for with the output of
    /// `rustc --version`.
    ///
    /// # Errors
    /// The compiler is older.
    pub(super) fn check_version(&self, rustc: &str) -> Result<(), CargoError> {
        let Some(have) = rustc.split_whitespace().nth(1) else {
            return Ok(());
        };
        for package in self.default_members() {
            let Some(wanted) = &package.rust_version else {
                continue;
            };
            if numbers(have) < numbers(wanted) {
                return Err(CargoError::RustVersion {
                    package: package.spec(),
                    wanted: wanted.clone(),
                    have: have.to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl Package {
    /// Returns the programs of the package.
    fn programs(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.is_program())
    }
}

/// Returns the major, minor and patch number of a version; text that is no number counts as 0.
fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version
        .split(['.', '-', '+'])
        .map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

/// Returns names as a refusal lists them, sorted and each once.
fn listed(names: impl IntoIterator<Item = String>) -> String {
    let names: BTreeSet<String> = names.into_iter().collect();
    let shown: Vec<_> = names.iter().take(MAX_LISTED).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::options::ItemName;

    /// A library with a program behind a feature, and a member with a program.
    const METADATA: &str = r#"{"packages":[
        {"id":"root","name":"root","version":"0.1.0","manifest_path":"/kettle/source/Cargo.toml","rust_version":"1.70",
            "features":{"default":["std"],"std":[],"cli":["dep:clap","clap/derive"],"all":["cli","std"]},"targets":[
            {"name":"root","kind":["lib"],"crate_types":["lib"]},
            {"name":"tool","kind":["bin"],"crate_types":["bin"],"required-features":["cli"]}]},
        {"id":"cli","name":"cli","version":"0.2.0","manifest_path":"/kettle/source/cli/Cargo.toml","targets":[
            {"name":"tool","kind":["bin"],"crate_types":["bin"]},{"name":"more","kind":["bin"],"crate_types":["bin"]}]}],
        "workspace_members":["root","cli"],"workspace_default_members":["root"],"workspace_root":"/kettle/source"}"#;

    fn names(names: &[&str]) -> Option<Vec<ItemName>> {
        Some(
            names
                .iter()
                .map(|name| ItemName::parse(name).unwrap())
                .collect(),
        )
    }

    fn select(options: &CargoOptions) -> Result<Metadata, CargoError> {
        select_of(METADATA, options)
    }

    fn select_of(metadata: &str, options: &CargoOptions) -> Result<Metadata, CargoError> {
        Metadata::parse(metadata.as_bytes())
            .unwrap()
            .select(options, None)
    }

    fn package(name: &str) -> CargoOptions {
        CargoOptions {
            package: ItemName::parse(name).ok(),
            ..CargoOptions::default()
        }
    }

    fn features(list: &[&str]) -> CargoOptions {
        CargoOptions {
            features: names(list),
            ..CargoOptions::default()
        }
    }

    fn bins(list: &[&str]) -> CargoOptions {
        CargoOptions {
            bins: names(list),
            ..CargoOptions::default()
        }
    }

    #[test]
    fn without_a_choice_the_library_is_built_and_the_programs_are_named() {
        let metadata = select(&CargoOptions::default()).unwrap();
        assert!(metadata.is_library_only());
        assert_eq!(
            metadata.not_built(),
            [
                "not built, for want of features: tool needs cli (choose with features)",
                "not built: program tool of package cli (choose with package)",
                "not built: program more of package cli (choose with package)",
            ]
        );
    }

    #[test]
    fn features_switch_programs_on_also_by_others() {
        for list in [&["cli"][..], &["all"], &["root/cli"]] {
            let metadata = select(&features(list)).unwrap();
            assert!(!metadata.is_library_only(), "{list:?}");
            assert_eq!(metadata.not_built(), [""; 0]);
        }
        assert!(select(&features(&["std"])).unwrap().is_library_only());
        assert!(
            select(&features(&["clap/derive"]))
                .unwrap()
                .is_library_only()
        );
    }

    #[test]
    fn a_package_and_its_programs_can_be_chosen() {
        let metadata = select(&package("cli")).unwrap();
        let ids: Vec<_> = metadata
            .default_members()
            .map(|package| package.id.clone())
            .collect();
        assert_eq!(
            (ids, metadata.is_library_only()),
            (vec!["cli".to_owned()], false)
        );
        let metadata = select(&CargoOptions {
            bins: names(&["more"]),
            ..package("cli")
        })
        .unwrap();
        let member = metadata.default_members().next().unwrap();
        let built: Vec<_> = member
            .targets
            .iter()
            .filter(|target| metadata.is_built(member, target))
            .collect();
        assert_eq!(
            built.iter().map(|target| &*target.name).collect::<Vec<_>>(),
            ["more"]
        );
    }

    #[test]
    fn a_choice_that_is_not_there_is_refused_with_what_is() {
        for (options, expected) in [
            (
                package("rot"),
                "the project has no package rot; it has: cli, root",
            ),
            (
                bins(&["more"]),
                "what is built has no program more; the project has: more of package cli, \
                 tool of package cli, tool of package root",
            ),
            (
                features(&["std", "clii"]),
                "what is built has no feature clii; it has: all, cli, default, std",
            ),
        ] {
            assert_eq!(select(&options).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn programs_that_all_need_features_are_named() {
        let metadata = METADATA.replace(
            r#"{"name":"root","kind":["lib"],"crate_types":["lib"]},"#,
            "",
        );
        let refusal = select_of(&metadata, &CargoOptions::default()).unwrap_err();
        assert!(
            matches!(&refusal, CargoError::AllGated { programs } if programs == "tool needs cli"),
            "{refusal}"
        );
        assert!(select_of(&metadata, &features(&["cli"])).is_ok());
    }

    #[test]
    fn two_files_of_one_name_are_refused_with_both_packages() {
        let both = METADATA.replace(
            r#""workspace_default_members":["root"]"#,
            r#""workspace_default_members":["root","cli"]"#,
        );
        assert!(select_of(&both, &CargoOptions::default()).is_ok());
        let refusal = select_of(&both, &features(&["cli"])).unwrap_err();
        assert!(
            matches!(
                &refusal,
                CargoError::SameName { name, packages }
                    if name == "tool" && packages == &["root@0.1.0", "cli@0.2.0"]
            ),
            "{refusal}"
        );
    }

    #[test]
    fn a_compiler_that_is_too_old_is_refused() {
        let metadata = select(&CargoOptions::default()).unwrap();
        assert!(metadata.asks_for_a_version());
        for new in [
            "rustc 1.70.0 (abc 2024-01-01)",
            "rustc 1.100.0-nightly",
            "rustc 2.0.0",
            "",
        ] {
            assert!(metadata.check_version(new).is_ok(), "{new}");
        }
        for old in ["rustc 1.69.9 (abc)", "rustc 0.99.0"] {
            assert!(
                matches!(
                    metadata.check_version(old),
                    Err(CargoError::RustVersion { .. })
                ),
                "{old}"
            );
        }
        assert!(!select(&package("cli")).unwrap().asks_for_a_version());
    }
}
