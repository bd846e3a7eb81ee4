//! The form of the tables of rejections.
//!
//! * In: a row for each reason, with its sentence, its variant, its code and its two sides.
//! * Out: the enum, with `code` and `sides`.
//! * Never: a reason without a code, or a code that is somewhere else than its sentence.

/// Defines an enum of rejections from its rows: `#[error(…)] Variant { fields } = code, sides;`,
/// where code and sides are expressions over the fields, which are references there. The derives
/// stand beside the rows, so that the code that they generate finds the names in them.
macro_rules! rejections {
    (
        $(#[$of_enum:meta])*
        pub enum $rejection:ident {
            $(
                #[error($($sentence:tt)*)]
                $variant:ident
                $({ $($field:ident: $of_field:ty),* $(,)? })?
                $(( $inner:ident: $(#[$from:ident])? $of_inner:ty ))?
                = $code:expr, $sides:expr;
            )*
        }
    ) => {
        $(#[$of_enum])*
        #[allow(missing_docs)] // Each variant's sentence is its documentation.
        pub enum $rejection {
            $(
                #[error($($sentence)*)]
                $variant $({ $($field: $of_field),* })? $(( $(#[$from])? $of_inner ))?,
            )*
        }

        impl $rejection {
            /// Returns the stable code of the rejection.
            pub fn code(&self) -> &'static str {
                match self {
                    $(
                        Self::$variant $({ $($field),* })? $(( $inner ))? => {
                            $(let _ = ($($field,)*);)?
                            $(let _ = $inner;)?
                            $code
                        }
                    )*
                }
            }

            /// Returns the expected side of the comparison, and the actual one.
            pub fn sides(&self) -> $crate::verifier::sides::Sides {
                match self {
                    $(
                        Self::$variant $({ $($field),* })? $(( $inner ))? => {
                            $(let _ = ($($field,)*);)?
                            $(let _ = $inner;)?
                            $sides
                        }
                    )*
                }
            }
        }
    };
}
pub(in crate::verifier) use rejections;
