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

        impl<'de $(, $param: ::serde::de::DeserializeOwned)?> ::serde::Deserialize<'de> for $name $(<$param>)? {
            fn deserialize<De: ::serde::Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
                struct ObjectVisitor $(<$param>)? (::std::marker::PhantomData<$name $(<$param>)?>);

                impl<'de $(, $param: ::serde::de::DeserializeOwned)?> ::serde::de::Visitor<'de>
                    for ObjectVisitor $(<$param>)?
                {
                    type Value = $name $(<$param>)?;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }

                    fn visit_map<Ma: ::serde::de::MapAccess<'de>>(
                        self,
                        mut object: Ma,
                    ) -> Result<Self::Value, Ma::Error> {
                        use ::serde::de::Error;
                        $(let mut $rfield: Option<$rtype> = None;)*
                        $(let mut $ofield = <$otype>::Absent;)*
                        let mut unknown = $crate::json::UnknownFields::default();
                        while let Some(name) = object.next_key::<String>()? {
                            match name.as_str() {
                                $($crate::json::wire_object!(@wire $rfield $($rwire)?) => {
                                    if $rfield.replace(object.next_value()?).is_some() {
                                        return Err(Error::custom("a field occurs twice"));
                                    }
                                })*
                                $($crate::json::wire_object!(@wire $ofield $($owire)?) => {
                                    if !$ofield.is_absent() {
                                        return Err(Error::custom("a field occurs twice"));
                                    }
                                    $ofield = object.next_value()?;
                                })*
                                _ => unknown.push(name, object.next_value()?),
                            }
                        }
                        if unknown.has_duplicates() {
                            return Err(Error::custom("a field occurs twice"));
                        }
                        Ok($name {
                            $($rfield: $rfield.ok_or_else(|| {
                                Error::missing_field($crate::json::wire_object!(@wire $rfield $($rwire)?))
                            })?,)*
                            $($ofield,)*
                            unknown,
                        })
                    }
                }

                deserializer.deserialize_map(ObjectVisitor(::std::marker::PhantomData))
            }
        }

        impl $(<$param: ::serde::Serialize>)? ::serde::Serialize for $name $(<$param>)? {
            fn serialize<Se: ::serde::Serializer>(&self, serializer: Se) -> Result<Se::Ok, Se::Error> {
                use ::serde::ser::SerializeMap;
                let mut object = serializer.serialize_map(None)?;
                $(object.serialize_entry(
                    $crate::json::wire_object!(@wire $rfield $($rwire)?),
                    &self.$rfield,
                )?;)*
                $(if !self.$ofield.is_absent() {
                    object.serialize_entry(
                        $crate::json::wire_object!(@wire $ofield $($owire)?),
                        &self.$ofield,
                    )?;
                })*
                for (name, value) in self.unknown.iter() {
                    object.serialize_entry(name, value)?;
                }
                object.end()
            }
        }

        impl $(<$param: $crate::json::Survey>)? $crate::json::Survey for $name $(<$param>)? {
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
