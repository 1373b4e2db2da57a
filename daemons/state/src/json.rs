//! Nodes as JSON text: read and written without a second form in between.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::Number;

use crate::{
    node::{Kind, Member, Node},
    path::Segment,
};

impl Serialize for Node {
    /// The value alone; revisions and entries are no part of it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.kind {
            Kind::Null => serializer.serialize_unit(),
            Kind::Bool(it) => serializer.serialize_bool(*it),
            Kind::Number(it) => it.serialize(serializer),
            Kind::Text(it) => it.serialize(serializer),
            Kind::Array(elements) => {
                let mut seq = serializer.serialize_seq(Some(elements.len()))?;
                elements.iter().try_for_each(|it| seq.serialize_element(it))?;
                seq.end()
            }
            Kind::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|it| map.serialize_entry(&it.key, &it.node))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    /// Refuses keys that are no segments, since no path could reach them.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Kind::Null.into())
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Kind::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Node, E> {
        Ok(Kind::Bool(it).into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Node, E> {
        Ok(Kind::Number(it.into()).into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Node, E> {
        Ok(Kind::Number(it.into()).into())
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Node, E> {
        let number = Number::from_f64(it).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Kind::Number(number).into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Node, E> {
        Ok(Kind::Text(it.into()).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements: Vec<Node> = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Kind::Array(Arc::new(elements.into_iter().collect())).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members: Vec<Member> = Vec::new();
        while let Some(key) = map.next_key::<Segment>()? {
            members.push(Member { key, node: map.next_value()? });
        }
        Ok(Node::of_members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        let text = r#"{"a":[1,-2,1.5,null,true,"ä"],"b":{}}"#;
        let node: Node = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), text);
    }

    #[test]
    fn of_two_members_with_one_key_the_last_counts() {
        let node: Node = serde_json::from_str(r#"{"a":1,"b":0,"a":2,"a":3}"#).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"a":3,"b":0}"#);
    }

    #[test]
    fn keys_that_no_path_could_name_are_refused() {
        for text in [r#"{"":1}"#, r#"{"a":[{"*":1}]}"#, r#"{"__proto__":1}"#, r#"{"\n":1}"#] {
            assert!(serde_json::from_str::<Node>(text).is_err(), "{text}");
        }
    }
}
