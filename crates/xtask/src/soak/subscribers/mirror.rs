//! A part of the tree, made of nothing but what was told of it.

use serde_json::{Map, Value};

/// What is at and below a place.
#[derive(Debug)]
pub(super) struct Mirror {
    prefix: Vec<String>,
    value: Option<Value>,
}

impl Mirror {
    pub(super) fn of(prefix: Vec<String>) -> Self {
        Self { prefix, value: None }
    }

    pub(super) fn prefix(&self) -> &[String] {
        &self.prefix
    }

    pub(super) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Takes a change in; what is wrong with it if it can't be.
    pub(super) fn take(&mut self, change: &mut Value) -> Result<(), String> {
        let mut path: Vec<String> = strings(&change["path"]);
        let value = match change["name"].as_str() {
            Some("create") => {
                path.push(change["newObjName"].as_str().unwrap_or_default().to_owned());
                Some(change["newObjVal"].take())
            }
            Some("update") => Some(change["value"].take()),
            Some("delete") => None,
            _ => return Err(format!("an event of no known kind: {change}")),
        };
        let Some(rest) = path.strip_prefix(&*self.prefix) else {
            return Err(format!("an event of elsewhere: {change}"));
        };
        match rest.split_last() {
            None => self.value = value,
            Some((name, above)) => {
                let place = self.place(above).ok_or(format!("an event of nowhere: {change}"))?;
                match value {
                    Some(value) => drop(place.insert(name.clone(), value)),
                    None => drop(place.remove(name)),
                }
            }
        }
        Ok(())
    }

    fn place(&mut self, path: &[String]) -> Option<&mut Map<String, Value>> {
        let mut at = self.value.as_mut()?;
        for name in path {
            at = at.get_mut(name)?;
        }
        at.as_object_mut()
    }
}

/// The path that `value` is.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.map(|it| it.as_str().unwrap_or_default().to_owned()).collect()
}
