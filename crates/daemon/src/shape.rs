//! Two deserializers without data: one finds out what a type wants to be read from, one whether it
//! can do without. So `help` and `options` follow from the parameter's type alone.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor},
    forward_to_deserialize_any,
};

/// Asks a type for its JSON type.
pub(crate) struct Shape<'a>(&'a Cell<&'static str>);

impl Shape<'_> {
    /// The JSON type that `T` is read from: `string`, `integer`, `number`, `boolean`, `array`,
    /// `object`, `null` or `any`. That of an option is that of what is in it.
    pub(crate) fn of<T: DeserializeOwned>() -> &'static str {
        let kind = Cell::new("any");
        // Always an error, since there is no data.
        drop(T::deserialize(Shape(&kind)));
        kind.get()
    }

    fn is<T>(&self, kind: &'static str) -> Result<T, Nothing> {
        self.0.set(kind);
        Err(Nothing)
    }
}

macro_rules! shapes {
    ($($kind:literal: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
            self.is($kind)
        })*)*
    };
}

impl<'de> Deserializer<'de> for Shape<'_> {
    type Error = Nothing;

    shapes! {
        "any": deserialize_any deserialize_ignored_any;
        "boolean": deserialize_bool;
        "integer": deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        "number": deserialize_f32 deserialize_f64;
        "string": deserialize_char deserialize_str deserialize_string deserialize_identifier;
        "array": deserialize_bytes deserialize_byte_buf deserialize_seq;
        "object": deserialize_map;
        "null": deserialize_unit;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Nothing> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Nothing> {
        self.is("null")
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Nothing> {
        self.is("array")
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Nothing> {
        self.is("array")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        self.is("object")
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        self.is("string")
    }
}

/// An argument that was not given: an option reads it as null, everything else refuses.
pub(crate) struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Nothing> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// There is no data.
#[derive(Debug)]
pub(crate) struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an argument is missing")
    }
}

impl std::error::Error for Nothing {}

impl Error for Nothing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    struct Named(#[expect(dead_code, reason = "only its shape counts")] String);

    #[test]
    fn a_type_tells_what_it_is_read_from() {
        assert_eq!(Shape::of::<String>(), "string");
        assert_eq!(Shape::of::<Named>(), "string");
        assert_eq!(Shape::of::<Option<u16>>(), "integer");
        assert_eq!(Shape::of::<f64>(), "number");
        assert_eq!(Shape::of::<bool>(), "boolean");
        assert_eq!(Shape::of::<Vec<u8>>(), "array");
        assert_eq!(Shape::of::<(u8, u8)>(), "array");
        assert_eq!(Shape::of::<BTreeMap<String, u8>>(), "object");
        assert_eq!(Shape::of::<Value>(), "any");
    }
}
