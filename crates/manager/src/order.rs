//! Who waits for whom: the graph of `after`, `needs` and `follows`. Pure.
//!
//! All three are an order: the one named comes up first and goes down last. `needs` and `follows`
//! say more on top, which `child.rs` obeys. A name that is not installed orders nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{definition::Definition, name::Name};

/// By which key one daemon names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// `after`: order only.
    After,
    /// `needs`: stopped together with it.
    Needs,
    /// `follows`: restarted after it came back.
    Follows,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::After => "starts after",
            Self::Needs => "needs",
            Self::Follows => "follows",
        })
    }
}

/// The links between all installed daemons.
#[derive(Clone, Debug, Default)]
pub struct Order(BTreeMap<Name, Vec<(Link, Name)>>);

impl<'a> FromIterator<(&'a Name, &'a Definition)> for Order {
    fn from_iter<T: IntoIterator<Item = (&'a Name, &'a Definition)>>(all: T) -> Self {
        Self(all.into_iter().map(|(name, definition)| (name.clone(), links(definition))).collect())
    }
}

fn links(definition: &Definition) -> Vec<(Link, Name)> {
    let Definition { after, needs, follows, .. } = definition;
    let needs = needs.iter().map(|it| (Link::Needs, it));
    let follows = follows.iter().map(|it| (Link::Follows, it));
    let after = after.iter().map(|it| (Link::After, it));
    needs.chain(follows).chain(after).map(|(link, name)| (link, name.clone())).collect()
}

impl Order {
    /// Adds a daemon, or puts new links in the place of its old ones: to [`check`](Self::check)
    /// before it is stored.
    pub fn put(&mut self, name: Name, definition: &Definition) {
        // The key is replaced too, since its case may differ.
        self.0.remove(&name);
        self.0.insert(name, links(definition));
    }

    /// Forgets a daemon. Links to it remain and order nothing.
    pub fn remove(&mut self, name: &Name) {
        self.0.remove(name);
    }

    /// Sees that nobody waits for itself.
    ///
    /// # Errors
    /// [`Cycle`], the first one by name.
    pub fn check(&self) -> Result<(), Cycle> {
        let mut done = BTreeSet::new();
        self.0.keys().try_for_each(|it| self.walk(it, &mut vec![], &mut done))
    }

    fn walk<'a>(
        &'a self,
        name: &'a Name,
        path: &mut Vec<(&'a Name, Link)>,
        done: &mut BTreeSet<&'a Name>,
    ) -> Result<(), Cycle> {
        if done.contains(name) {
            return Ok(());
        }
        if let Some(begin) = path.iter().position(|it| it.0 == name) {
            let steps = path[begin..].iter().map(|&(it, link)| (it.clone(), link)).collect();
            return Err(Cycle { steps });
        }
        for (link, other) in self.links_of(name) {
            path.push((name, link));
            self.walk(other, path, done)?;
            path.pop();
        }
        done.insert(name);
        Ok(())
    }

    fn links_of<'a>(&'a self, name: &Name) -> impl Iterator<Item = (Link, &'a Name)> {
        let links = self.0.get(name).into_iter().flatten();
        links.filter_map(|(link, other)| Some((*link, self.0.get_key_value(other)?.0)))
    }

    /// Those that come up before `name` and go down after it, directly; each once.
    pub fn before(&self, name: &Name) -> BTreeSet<&Name> {
        self.links_of(name).map(|(_, it)| it).collect()
    }

    /// Those that come up after `name` and go down before it, directly.
    pub fn behind<'a>(&'a self, name: &Name) -> BTreeSet<&'a Name> {
        self.naming(name, |_| true)
    }

    /// Those that name `name` by `link`, directly: by `follows`, who restarts when it is back; by
    /// `needs`, who stops with it.
    pub fn linked_to<'a>(&'a self, name: &Name, link: Link) -> BTreeSet<&'a Name> {
        self.naming(name, |it| it == link)
    }

    /// Asked at each transition, so it looks at links alone, of which most have none.
    fn naming<'a>(&'a self, name: &Name, is_meant: impl Fn(Link) -> bool) -> BTreeSet<&'a Name> {
        if !self.0.contains_key(name) {
            return BTreeSet::new();
        }
        let names_it = |links: &[(Link, Name)]| {
            links.iter().any(|(link, other)| is_meant(*link) && other == name)
        };
        self.0.iter().filter(|(_, links)| names_it(links)).map(|(it, _)| it).collect()
    }

    /// `names` and all that stop with them, because they need one of them or one that does.
    pub fn with_dependants<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> BTreeSet<&'a Name> {
        let mut all = BTreeSet::new();
        let mut next: Vec<_> = names.into_iter().collect();
        while let Some(name) = next.pop() {
            if all.insert(name) {
                next.extend(self.linked_to(name, Link::Needs));
            }
        }
        all
    }

    /// All, in an order that may be started one by one; by name where the links leave it open. In a
    /// cycle, which [`check`](Self::check) keeps out, the order is by name too.
    pub fn start_order(&self) -> Vec<&Name> {
        self.waves(self.0.keys(), |it| self.before(it)).concat()
    }

    /// `names` in groups: those of one group may stop at the same time, once the groups before have
    /// stopped.
    pub fn stop_waves<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Vec<Vec<&'a Name>> {
        let mut behind = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, before) in self.0.keys().map(|it| (it, self.before(it))) {
            before.into_iter().for_each(|it| _ = behind.entry(it).or_default().insert(name));
        }
        self.waves(names, |it| behind.remove(it).unwrap_or_default())
    }

    /// Cuts `names` into groups, each waiting (by `waits_for`) only for groups before it.
    fn waves<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a Name>,
        mut waits_for: impl FnMut(&Name) -> BTreeSet<&'a Name>,
    ) -> Vec<Vec<&'a Name>> {
        let mut left: BTreeMap<_, _> = names.into_iter().map(|it| (it, waits_for(it))).collect();
        let mut waves = vec![];
        while !left.is_empty() {
            let is_free = |it: &&Name| left[it].iter().all(|it| !left.contains_key(it));
            let mut wave: Vec<_> = left.keys().copied().filter(is_free).collect();
            if wave.is_empty() {
                wave = left.keys().copied().collect();
            }
            for it in &wave {
                left.remove(it);
            }
            waves.push(wave);
        }
        waves
    }
}

/// Daemons that wait for each other. Printed as a sentence: `A needs B needs A`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Cycle {
    /// Who, and by which key it names the next one; the last names the first.
    pub steps: Vec<(Name, Link)>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|(name, link)| write!(f, "{name} {link} "))?;
        self.steps.first().map_or(Ok(()), |(first, _)| write!(f, "{first}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// From lines such as `B needs A`.
    fn order(lines: &[&str]) -> Order {
        let mut definitions = BTreeMap::new();
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            let entry = definitions.entry(name(words[0]));
            let definition = entry.or_insert_with(|| Definition::new("/p".into()));
            match words[1..] {
                [] => {}
                ["after", it] => definition.after.push(name(it)),
                ["needs", it] => definition.needs.push(name(it)),
                ["follows", it] => definition.follows.push(name(it)),
                _ => panic!("{line}"),
            }
        }
        definitions.iter().collect()
    }

    fn shown<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
        names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_cycle_is_printed_as_a_sentence() {
        let cycle = |lines: &[&str]| order(lines).check().map_err(|it| it.to_string());
        assert_eq!(cycle(&["A needs B", "B needs A"]), Err("A needs B needs A".into()));
        assert_eq!(cycle(&["A after a"]), Err("A starts after A".into()));
        assert_eq!(
            cycle(&["Z needs a", "A follows B", "B after C", "C needs A"]),
            Err("A follows B starts after C needs A".into())
        );
        assert_eq!(cycle(&["A needs B", "A after C", "B after D", "C after D", "D"]), Ok(()));
        assert_eq!(cycle(&["A needs Gone"]), Ok(()));
    }

    #[test]
    fn what_is_named_starts_first_and_the_rest_goes_by_name() {
        let order = order(&["A needs Z", "M", "Z after S", "S", "B follows A", "Q after Gone"]);
        assert_eq!(shown(order.start_order()), "M Q S Z A B");
    }

    #[test]
    fn stopping_goes_backwards_and_side_by_side() {
        let order = order(&["A needs Z", "M", "Z after S", "S", "B follows A"]);
        let waves: Vec<_> = order.stop_waves(order.start_order()).into_iter().map(shown).collect();
        assert_eq!(waves, ["B M", "A", "Z", "S"]);

        let some = [name("s"), name("A")];
        let waves: Vec<_> = order.stop_waves(&some).into_iter().map(shown).collect();
        assert_eq!(waves, ["A s"], "Z, which is between them, keeps running");
    }

    #[test]
    fn who_needs_it_goes_with_it() {
        let order = order(&["A", "B needs a", "C needs B", "D after A", "E follows A"]);
        assert_eq!(shown(order.with_dependants([&name("A")])), "A B C");
        assert_eq!(shown(order.linked_to(&name("A"), Link::Follows)), "E");
        assert_eq!(shown(order.behind(&name("A"))), "B D E");
        assert_eq!(shown(order.before(&name("C"))), "B");
    }

    #[test]
    fn a_cycle_that_got_in_still_ends() {
        let order = order(&["A needs B", "B needs A", "C"]);
        assert_eq!(shown(order.start_order()), "C A B");
    }
}
