//! A sorted map of which a copy costs next to nothing.

use std::{fmt, sync::Arc};

use crate::sequence::{Item, Sequence};

/// A persistent sorted map: what belongs to the state beside the tree is held in such.
#[derive(Clone)]
pub struct Map<K: Clone, V: Clone>(Arc<Sequence<Pair<K, V>>>);

#[derive(Clone, Debug)]
struct Pair<K, V>(K, V);

impl<K: Clone, V: Clone> Item for Pair<K, V> {
    type Sum = ();
    fn sum(&self) {}
}

impl<K: Clone + Ord, V: Clone> Map<K, V> {
    /// The value at `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(self.find(key).ok()?).map(|it| &it.1)
    }

    /// Whether there is one at `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Sets the value at `key`, over what was there.
    pub fn set(&mut self, key: K, value: V) {
        let at = self.find(&key);
        let pairs = Arc::make_mut(&mut self.0);
        match at {
            Ok(at) => {
                pairs.change(at, |it| it.1 = value);
            }
            Err(at) => pairs.insert(at, Pair(key, value)),
        }
    }

    /// Takes out what is at `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        Arc::make_mut(&mut self.0).remove(at).map(|it| it.1)
    }

    /// Leaves only those for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        let gone: Vec<K> =
            self.iter().filter(|(key, value)| !keep(key, value)).map(|it| it.0.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// All of it, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|it| (&it.0, &it.1))
    }

    /// Those from `key` on, by key.
    pub fn iter_from<'a>(
        &'a self,
        key: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let at = self.find(key).unwrap_or_else(|it| it);
        self.0.iter_from(at).map(|it| (&it.0, &it.1))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.search(|it| it.0.cmp(key))
    }
}

impl<K: Clone, V: Clone> Default for Map<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Ord, V: Clone> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::default();
        pairs.into_iter().for_each(|(key, value)| map.set(key, value));
        map
    }
}

impl<K: Clone + Ord + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_was_in_it() {
        let mut map: Map<u32, &str> = [(2, "b"), (1, "a"), (2, "c")].into_iter().collect();
        let copy = map.clone();
        assert_eq!(map.remove(&1), Some("a"));
        map.set(3, "d");
        assert!(map.iter().eq([(&2, &"c"), (&3, &"d")]));
        assert!(copy.iter().eq([(&1, &"a"), (&2, &"c")]));
        assert!(map.iter_from(&3).eq([(&3, &"d")]));
        map.retain(|key, _| *key == 3);
        assert!(map.len() == 1 && !map.contains(&2) && map.get(&3) == Some(&"d"));
    }
}
