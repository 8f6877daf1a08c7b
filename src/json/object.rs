//! The one way payload structs are made.

/// Declares a payload struct: its fields, their meaning, their names on the wire.
///
/// ```text
/// wire_object! {
///     /// What the object is.
///     pub struct Example {
///         required {
///             /// What identifies it. Reading fails without it.
///             id: String,
///         }
///         optional {
///             /// Everything else, since documents drift.
///             kind: Maybe<String> = "type",
///         }
///     }
/// }
/// ```
///
/// The field's name is its name on the wire unless `= "…"` gives another. Without required fields the
/// sections are left out: the fields stand in the braces, and the struct has `Default`; with them it has
/// `new`. A struct may have one type parameter. Each gets a field `unknown` for what has no name here, and
/// reads, writes and surveys itself. Reading does not go through serde's `flatten` or `untagged`, which
/// buffer values in a form that loses the text of numbers.
macro_rules! wire_object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$param:ident>)? {
            required { $($(#[$rmeta:meta])* $rfield:ident: $rtype:ty $(= $rwire:literal)?,)+ }
            optional { $($optional:tt)* }
        }
    ) => {
        $crate::json::wire_object! { @object
            [$(#[$meta])*] $name [$($param)?]
            { $($(#[$rmeta])* $rfield: $rtype $(= $rwire)?,)+ }
            { $($optional)* }
        }

        $crate::json::wire_object! { @new $name [$($param)?] { $($rfield: $rtype,)+ } { $($optional)* } }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$param:ident>)? {
            $($(#[$ometa:meta])* $ofield:ident: $otype:ty $(= $owire:literal)?,)*
        }
    ) => {
        $crate::json::wire_object! { @object
            [$(#[$meta])*] $name [$($param)?]
            {}
            { $($(#[$ometa])* $ofield: $otype $(= $owire)?,)* }
        }

        impl $(<$param>)? Default for $name $(<$param>)? {
            /// Every field absent.
            #[inline]
            fn default() -> Self {
                Self { $($ofield: $crate::json::Maybe::Absent,)* unknown: Default::default() }
            }
        }
    };
    (@new $name:ident [$($param:ident)?]
        { $($rfield:ident: $rtype:ty,)+ }
        { $($(#[$ometa:meta])* $ofield:ident: $otype:ty $(= $owire:literal)?,)* }
    ) => {
        impl $(<$param>)? $name $(<$param>)? {
            /// With what identifies it, and every other field absent.
            pub fn new($($rfield: impl Into<$rtype>),+) -> Self {
                Self {
                    $($rfield: $rfield.into(),)+
                    $($ofield: $crate::json::Maybe::Absent,)*
                    unknown: Default::default(),
                }
            }
        }
    };
    (@object [$($meta:tt)*] $name:ident [$($param:ident)?]
        { $($(#[$rmeta:meta])* $rfield:ident: $rtype:ty $(= $rwire:literal)?,)* }
        { $($(#[$ometa:meta])* $ofield:ident: $otype:ty $(= $owire:literal)?,)* }
    ) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $(<$param>)? {
            $($(#[$rmeta])* pub $rfield: $rtype,)*
            $($(#[$ometa])* pub $ofield: $otype,)*
            /// The fields this type has no name for, kept as they came.
            pub unknown: $crate::json::UnknownFields,
        }

        impl $(<$param: ::serde::de::DeserializeOwned>)? $crate::json::FromFields for $name $(<$param>)? {
            #[inline]
            fn from_fields(fields: &mut $crate::json::Fields<'_>) -> Result<Self, $crate::json::FieldsError> {
                Ok(Self {
                    $($rfield: fields.required($crate::json::wire_object!(@wire $rfield $($rwire)?))?,)*
                    $($ofield: fields.optional($crate::json::wire_object!(@wire $ofield $($owire)?)),)*
                    unknown: fields.rest(),
                })
            }
        }

        impl<'de $(, $param: ::serde::de::DeserializeOwned)?> ::serde::Deserialize<'de> for $name $(<$param>)? {
            fn deserialize<De: ::serde::Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
                $crate::json::FromFields::read(deserializer)
            }
        }

        impl $(<$param: ::serde::Serialize>)? ::serde::Serialize for $name $(<$param>)? {
            fn serialize<Se: ::serde::Serializer>(&self, serializer: Se) -> Result<Se::Ok, Se::Error> {
                let mut object = $crate::json::ObjectWriter::begin(serializer);
                $(object.field($crate::json::wire_object!(@wire $rfield $($rwire)?), &self.$rfield);)*
                $(object.optional($crate::json::wire_object!(@wire $ofield $($owire)?), &self.$ofield);)*
                object.end(&self.unknown)
            }
        }

        impl $(<$param: $crate::json::Survey>)? $crate::json::Survey for $name $(<$param>)? {
            #[inline]
            fn survey(&self, surveyor: &mut $crate::json::Surveyor) {
                $(surveyor.enter($crate::json::wire_object!(@wire $rfield $($rwire)?), &self.$rfield);)*
                $(surveyor.enter($crate::json::wire_object!(@wire $ofield $($owire)?), &self.$ofield);)*
                self.unknown.survey(surveyor);
            }
        }
    };
    (@wire $field:ident) => { stringify!($field) };
    (@wire $field:ident $wire:literal) => { $wire };
}
pub(crate) use wire_object;
