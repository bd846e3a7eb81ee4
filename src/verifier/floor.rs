//! The lowest firmware that is accepted by default.
//!
//! * In: `measurements/tcb-floor.json` as it was at compilation.
//! * Out: for a product and its processor, the lowest security version of each component, with the
//!   advisory that it answers.
//! * Never: a damaged file that demands nothing, or a value without its advisory.
//!
//! | member | value |
//! |---|---|
//! | `format` | 1 |
//! | `dated` | the day on which the values were looked up |
//! | `advisories` | list of `name`, `date`, `date_from`, `about`, `url`; the values name one of them |
//! | `products` | list of `product`, `floors`, `alias_check`, `without_value` |
//! | `floors` | list of `component`, `minimum`, `advisory`, `read_in`; with `family`, `model` and `stepping` only for these processors |
//! | `alias_check` | the first SNP version that looks for memory with two addresses: `snp`, `advisory`, `read_in` |
//! | `without_value` | list of `advisory`, `reason`: advisories that no version in a report can show |
//!
//! `read_in` names where a value was read. AMD numbers the microcode of each stepping separately,
//! so a product has several values; a report that names no processor, or one that is not listed,
//! has to meet the highest of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::snp::report::Processor;
use crate::snp::tcb::{Component, Product, TcbVersion};

use super::compiled_in::FLOOR;
use super::json::{self, JsonError};

/// The form of file that is known.
const FORMAT: u64 = 1;
/// The version that a damaged file demands of each component: no firmware has it.
const UNREACHABLE: u8 = u8::MAX;

/// The file that was compiled in.
static COMPILED_IN: LazyLock<TcbFloor> = LazyLock::new(|| match FLOOR {
    Some(file) => TcbFloor::read(file).unwrap_or_else(|error| TcbFloor::damaged(&error)),
    None => TcbFloor::default(),
});

/// Why a file cannot be used as a floor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each sentence is the documentation.
pub enum FloorError {
    #[error("this is no floor in the known form")]
    Json(#[from] JsonError),
    #[error("it has format {format}, {FORMAT} is known")]
    Format { format: u64 },
    #[error("{name:?} is no product")]
    Product { name: String },
    #[error("{product} has no component {name:?}")]
    Component { product: Product, name: String },
    #[error("it lists no advisory {name:?}")]
    Advisory { name: String },
    #[error("a processor is family, model and stepping, all three")]
    Processor,
}

/// The floors of all products.
#[derive(Debug, Default)]
pub struct TcbFloor {
    dated: String,
    products: BTreeMap<Product, ProductFloor>,
}

/// A security advisory by AMD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// The advisory's name, `AMD-SB-nnnn`.
    pub name: String,
    /// The advisory's date: year, month, day.
    pub date: String,
}

impl fmt::Display for Advisory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.name, self.date)
    }
}

/// The lowest accepted version of a component, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The lowest version that is accepted.
    pub minimum: u8,
    /// The advisory that firmware below it is exposed to.
    pub advisory: Advisory,
}

/// The floors of one product.
#[derive(Debug, Default)]
pub struct ProductFloor {
    /// The floor of each component; an entry with a processor is for that processor only.
    floors: Vec<(Component, Option<Processor>, Floor)>,
    /// The first SNP version whose alias check has to be complete.
    pub alias_check: Option<Floor>,
    /// Advisories that no version can show as answered, each with the reason.
    pub without_value: Vec<(String, String)>,
}

impl TcbFloor {
    /// Returns the floor that was compiled in; an empty one for a verifier without any published
    /// file.
    pub fn compiled_in() -> &'static Self {
        &COMPILED_IN
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not in the known form, or a value has no advisory.
    pub fn read(bytes: &[u8]) -> Result<Self, FloorError> {
        let FormatOnly { format } = json::read(bytes)?;
        if format != FORMAT {
            return Err(FloorError::Format { format });
        }
        json::read::<FloorFile>(bytes)?.floor()
    }

    /// Returns the floor in place of a file that cannot be read: no firmware meets it.
    fn damaged(error: &FloorError) -> Self {
        let name = format!("the floor that was compiled in cannot be read: {error}");
        let floor = Floor {
            minimum: UNREACHABLE,
            advisory: Advisory {
                name,
                date: "no date".to_owned(),
            },
        };
        let mut products = BTreeMap::new();
        for product in Product::ALL {
            let floors = components(product).map(|component| (component, None, floor.clone()));
            let of_product = ProductFloor {
                floors: floors.collect(),
                ..ProductFloor::default()
            };
            products.insert(product, of_product);
        }
        Self {
            dated: String::new(),
            products,
        }
    }

    /// Returns the day on which the values were looked up.
    pub fn dated(&self) -> &str {
        &self.dated
    }

    /// Returns the floors of a product; none if the file does not list it.
    pub fn of(&self, product: Product) -> Option<&ProductFloor> {
        self.products.get(&product)
    }
}

impl ProductFloor {
    /// Returns the floor of a component for this processor. For a processor that is unknown or not
    /// listed, it is the highest of the product: nothing shows that lower firmware is mended there.
    pub fn of(&self, component: Component, processor: Option<Processor>) -> Option<&Floor> {
        let is_listed = self.lists(component, processor);
        let applies = |only: &Option<Processor>| !is_listed || only.is_none() || *only == processor;
        let floors = self
            .floors
            .iter()
            .filter(|(of, only, _)| *of == component && applies(only));
        floors
            .map(|(_, _, floor)| floor)
            .max_by_key(|floor| floor.minimum)
    }

    /// Returns whether the floor of a component has a value for this very processor, or makes no
    /// difference between processors.
    pub fn lists(&self, component: Component, processor: Option<Processor>) -> bool {
        let mut of_component = self.floors.iter().filter(|(of, ..)| *of == component);
        let mut single = of_component
            .clone()
            .filter_map(|(_, only, _)| *only)
            .peekable();
        let is_single = single.peek().is_some();
        match processor {
            Some(processor) if is_single => single.any(|only| only == processor),
            Some(_) => of_component.next().is_some(),
            None => !is_single,
        }
    }
}

/// Returns the components that a product has.
pub fn components(product: Product) -> impl Iterator<Item = Component> {
    let tcb = TcbVersion::new([0; TcbVersion::BYTES], product);
    Component::ALL
        .into_iter()
        .filter(move |component| tcb.component(*component).is_some())
}

/// The member that tells the formats apart.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

/// The whole file, as the table above lists it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorFile {
    #[serde(rename = "format")]
    _format: u64,
    dated: String,
    advisories: Vec<ListedAdvisory>,
    products: Vec<ListedProduct>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedAdvisory {
    name: String,
    date: String,
    #[serde(rename = "date_from")]
    _date_from: String,
    #[serde(rename = "about")]
    _about: String,
    #[serde(rename = "url")]
    _url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedProduct {
    product: String,
    floors: Vec<ListedFloor>,
    alias_check: Option<ListedAliasCheck>,
    #[serde(default)]
    without_value: Vec<ListedReason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedFloor {
    component: String,
    family: Option<u8>,
    model: Option<u8>,
    stepping: Option<u8>,
    minimum: u8,
    advisory: String,
    #[serde(rename = "read_in")]
    _read_in: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedAliasCheck {
    snp: u8,
    advisory: String,
    #[serde(rename = "read_in")]
    _read_in: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedReason {
    advisory: String,
    reason: String,
}

impl FloorFile {
    fn floor(self) -> Result<TcbFloor, FloorError> {
        let advisories = Advisories(self.advisories);
        let mut products = BTreeMap::new();
        for listed in self.products {
            let (product, floor) = listed.read(&advisories)?;
            products.insert(product, floor);
        }
        Ok(TcbFloor {
            dated: self.dated,
            products,
        })
    }
}

/// The advisories that the values of a file may name.
struct Advisories(Vec<ListedAdvisory>);

impl Advisories {
    fn named(&self, name: &str) -> Result<Advisory, FloorError> {
        let Some(listed) = self.0.iter().find(|listed| listed.name == name) else {
            return Err(FloorError::Advisory {
                name: name.to_owned(),
            });
        };
        Ok(Advisory {
            name: listed.name.clone(),
            date: listed.date.clone(),
        })
    }
}

impl ListedProduct {
    fn read(self, advisories: &Advisories) -> Result<(Product, ProductFloor), FloorError> {
        let found = Product::ALL
            .into_iter()
            .find(|product| product.name() == self.product);
        let product = found.ok_or(FloorError::Product { name: self.product })?;
        let mut read = ProductFloor::default();
        for listed in self.floors {
            read.floors.push(listed.read(product, advisories)?);
        }
        if let Some(ListedAliasCheck { snp, advisory, .. }) = self.alias_check {
            read.alias_check = Some(Floor {
                minimum: snp,
                advisory: advisories.named(&advisory)?,
            });
        }
        let reasons = self.without_value.into_iter();
        read.without_value = reasons
            .map(|listed| (listed.advisory, listed.reason))
            .collect();
        Ok((product, read))
    }
}

impl ListedFloor {
    fn read(
        self,
        product: Product,
        advisories: &Advisories,
    ) -> Result<(Component, Option<Processor>, Floor), FloorError> {
        let component = components(product).find(|component| component.name() == self.component);
        let component = component.ok_or(FloorError::Component {
            product,
            name: self.component,
        })?;
        let processor = match (self.family, self.model, self.stepping) {
            (Some(family), Some(model), Some(stepping)) => Some(Processor {
                family,
                model,
                stepping,
            }),
            (None, None, None) => None,
            _ => return Err(FloorError::Processor),
        };
        let floor = Floor {
            minimum: self.minimum,
            advisory: advisories.named(&self.advisory)?,
        };
        Ok((component, processor, floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn processor(model: u8, stepping: u8) -> Option<Processor> {
        Some(Processor {
            family: 0x19,
            model,
            stepping,
        })
    }

    fn minimum(
        floor: &TcbFloor,
        product: Product,
        component: Component,
        processor: Option<Processor>,
    ) -> Option<u8> {
        floor
            .of(product)?
            .of(component, processor)
            .map(|floor| floor.minimum)
    }

    #[test]
    fn what_is_compiled_in_has_a_floor_for_every_product() {
        let text = include_bytes!("../../measurements/tcb-floor.json");
        let floor = TcbFloor::read(text).unwrap();
        for product in Product::ALL {
            let (ours, compiled) = (
                floor.of(product).unwrap(),
                TcbFloor::compiled_in().of(product).unwrap(),
            );
            for component in [Component::Snp, Component::Microcode] {
                let found = ours.of(component, None).unwrap();
                assert_eq!(
                    Some(found),
                    compiled.of(component, None),
                    "{product} {component}"
                );
                assert!(
                    found.minimum < UNREACHABLE && found.advisory.name.starts_with("AMD-SB-"),
                    "{found:?}"
                );
                assert_eq!(found.advisory.date.len(), "2026-01-31".len(), "{found:?}");
            }
        }
        assert_eq!(floor.dated().len(), "2026-01-31".len());
    }

    #[test]
    fn each_stepping_has_its_own_microcode_and_an_unnamed_one_the_highest() {
        let floor = TcbFloor::compiled_in();
        let microcode = |processor| minimum(floor, Product::Genoa, Component::Microcode, processor);
        let named = [(0x11, 1), (0x11, 2), (0xa0, 2)]
            .map(|(model, stepping)| microcode(processor(model, stepping)));
        assert!(named.iter().all(Option::is_some), "{named:?}");
        assert_eq!(microcode(None), named.into_iter().max().unwrap());
        let highest = microcode(None);
        for (model, stepping) in [(0x11, 9), (0xa0, 1), (0, 0), (0xff, 15)] {
            let unlisted = processor(model, stepping);
            assert_eq!(
                microcode(unlisted),
                highest,
                "a processor that nobody knows"
            );
            let genoa = floor.of(Product::Genoa).unwrap();
            assert!(!genoa.lists(Component::Microcode, unlisted));
            assert!(
                genoa.lists(Component::Snp, unlisted),
                "one for all processors"
            );
        }
        let other_family = Some(Processor {
            family: 0x1a,
            model: 0x11,
            stepping: 1,
        });
        assert_eq!(microcode(other_family), highest);
        let snp = |processor| minimum(floor, Product::Genoa, Component::Snp, processor);
        assert!(snp(None).is_some() && snp(None) == snp(processor(0x11, 9)));
    }

    #[test]
    fn a_file_that_cannot_be_read_demands_what_nobody_has() {
        let error = TcbFloor::read(b"{}").unwrap_err();
        let damaged = TcbFloor::damaged(&error);
        for product in Product::ALL {
            for component in components(product) {
                assert_eq!(
                    minimum(&damaged, product, component, None),
                    Some(UNREACHABLE)
                );
            }
        }
    }

    #[test]
    fn a_value_without_its_advisory_is_refused() {
        let text = String::from_utf8(include_bytes!("../../measurements/tcb-floor.json").to_vec())
            .unwrap();
        for (from, to) in [
            ("\"format\": 1", "\"format\": 2"),
            (
                "\"advisory\": \"AMD-SB-3030\",\n     \"read_in\"",
                "\"advisory\": \"AMD-SB-1\",\n     \"read_in\"",
            ),
            (
                "\"advisory\": \"AMD-SB-3030\",\n     \"read_in\"",
                "\"read_in\"",
            ),
            ("\"read_in\"", "\"read\""),
            ("\"product\": \"Milan\"", "\"product\": \"Naples\""),
            ("\"component\": \"snp\"", "\"component\": \"fmc\""),
            ("\"stepping\": 1,", ""),
            ("\"minimum\": 29", "\"minimum\": 256"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(
                TcbFloor::read(text.replacen(from, to, 1).as_bytes()).is_err(),
                "{to}"
            );
        }
    }
}
