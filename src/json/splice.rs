//! Putting fields into the text of an object, and leaving every other byte of it as it is.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::PayloadError;

/// The text of one JSON object, read as far as the names and extents of its fields.
pub(crate) struct ObjectText<'a> {
    text: &'a str,
    fields: Vec<(String, &'a str)>,
}

impl<'a> ObjectText<'a> {
    /// Reads the text of one object. White space may surround it.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if it is not JSON, or no object.
    pub(crate) fn parse(text: &'a str) -> Result<Self, PayloadError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer
            .deserialize_map(FieldVisitor)
            .and_then(|fields| deserializer.end().map(|()| fields))
            .map_err(|error| PayloadError::from_serde(&error))?;
        Ok(Self { text, fields })
    }

    /// The text of the value of that name; of the first, if there are several.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find_map(|(field, value)| (field == name).then_some(*value))
    }

    /// The text with these fields in front of the object's own. Each value must be JSON.
    pub(crate) fn with_fields(&self, new: &[(&str, String)]) -> String {
        let Some((before, after)) = self.text.split_once('{') else {
            return self.text.to_owned(); // there is none: an object was read from it
        };
        let new: Vec<_> = new
            .iter()
            .map(|(name, value)| format!("{}:{value}", quoted(name)))
            .collect();
        let comma = if new.is_empty() || self.fields.is_empty() {
            ""
        } else {
            ","
        };
        [before, "{", &new.join(","), comma, after].concat()
    }

    /// The text with another value in the place of that one, which must be one of the object's own.
    pub(crate) fn with_value(&self, value: &'a str, new: &str) -> String {
        let start = value
            .as_bytes()
            .first()
            .and_then(|first| self.text.as_bytes().element_offset(first));
        let parts =
            start.and_then(|start| Some((self.text.get(..start)?, self.text.get(start + value.len()..)?)));
        match parts {
            Some((before, after)) => [before, new, after].concat(),
            None => self.text.to_owned(), // there is none: values are parts of the text
        }
    }
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Vec<(String, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut object: M) -> Result<Self::Value, M::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = object.next_entry::<String, &'de RawValue>()? {
            fields.push((name, value.get()));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(text: &str) -> String {
        let new = [("a\"b", "1".to_owned()), ("c", quoted("é\n"))];
        ObjectText::parse(text).unwrap().with_fields(&new)
    }

    #[test]
    fn every_other_byte_stays() {
        for (text, expected) in [
            ("{}", r#"{"a\"b":1,"c":"é\n"}"#),
            (" \n{ } ", " \n{\"a\\\"b\":1,\"c\":\"é\\n\" } "),
            (
                "\t{ \"x\" : 1.0000000000 , \"{\":{} }\r\n",
                "\t{\"a\\\"b\":1,\"c\":\"é\\n\", \"x\" : 1.0000000000 , \"{\":{} }\r\n",
            ),
        ] {
            assert_eq!(spliced(text), expected);
        }
        let object = ObjectText::parse(" {\"x\":1} ").unwrap();
        assert_eq!(object.with_fields(&[]), " {\"x\":1} ");
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let text = r#"{"a": {"k":1}, "b" : {"k":1} , "b":2}"#;
        let object = ObjectText::parse(text).unwrap();
        let replaced = object.with_value(object.value("b").unwrap(), "[]");
        assert_eq!(replaced, r#"{"a": {"k":1}, "b" : [] , "b":2}"#);
        assert_eq!(object.with_value("elsewhere", "[]"), text);
    }

    #[test]
    fn names_are_compared_unescaped() {
        let object = ObjectText::parse(r#"{"i\u0064":7}"#).unwrap();
        assert_eq!(object.value("id"), Some("7"));
        assert_eq!(object.value("i"), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "null",
            "1",
            "\"{}\"",
            "{",
            "{}{}",
            "{} x",
            "{\"a\"}",
            "{,}",
            "\u{feff}{}",
        ] {
            assert!(ObjectText::parse(text).is_err(), "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(ObjectText::parse(&deep).is_ok());
    }

    fn json() -> impl Strategy<Value = String> {
        let space = "[ \t\r\n]{0,2}";
        let leaf = prop_oneof![
            Just("null".to_owned()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| quoted(&text)),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let item = (space, inner.clone(), space).prop_map(|(a, value, b)| a + &value + &b);
            let field = (space, any::<String>(), space, item.clone())
                .prop_map(|(a, name, b, value)| format!("{a}{}{b}:{value}", quoted(&name)));
            prop_oneof![
                prop::collection::vec(item, 1..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(field, 0..4).prop_map(|fields| format!("{{{}}}", fields.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_other_fields_keep_their_exact_text(
            fields in prop::collection::vec((any::<String>(), json()), 0..5),
            space in "[ \t\r\n]{0,3}",
        ) {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{space}{}{space}:{value}", quoted(name)))
                .collect();
            let text = format!("{space}{{{}{space}}}{space}", fields.join(","));
            let before = ObjectText::parse(&text).unwrap();
            let spliced = before.with_fields(&[("new", "7".to_owned())]);
            let after = ObjectText::parse(&spliced).unwrap();
            prop_assert_eq!(after.value("new"), Some("7"));
            prop_assert_eq!(&after.fields[1..], &before.fields[..]);

            for (_, value) in &before.fields {
                let replaced = before.with_value(value, "[ ]");
                let replaced = ObjectText::parse(&replaced).unwrap();
                let changed = before.fields.iter().zip(&replaced.fields).filter(|(old, new)| old != new);
                prop_assert_eq!(changed.count(), 1);
            }
        }

        #[test]
        fn no_text_panics(text: String, near in "[\\[\\]{}\":, a1\\\\]{0,20}") {
            for text in [text, near] {
                if let Ok(object) = ObjectText::parse(&text) {
                    let spliced = object.with_fields(&[("new", "7".to_owned())]);
                    prop_assert!(ObjectText::parse(&spliced).is_ok());
                }
            }
        }
    }
}
