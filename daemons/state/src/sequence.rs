//! A sequence that shares what it has in common with its copies.
//!
//! A B-tree by position. A copy costs one counter; a change after it copies only the way from the
//! root to the place. A sequence of at most 32 items is one vector, so that small objects
//! carry no tree. Kept sorted by its owner, it is a map as well: [`Sequence::search`].

use std::{cmp::Ordering, fmt, sync::Arc};

/// Items of a leaf, and children of a branch. A change copies this many at each level; fewer would
/// make the tree higher and each item dearer.
const WIDTH: usize = 32;

/// What is added up over the items of a sequence.
pub trait Sum: Copy + Default {
    /// Adds `other` to this.
    fn add(&mut self, other: Self);
}

impl Sum for () {
    fn add(&mut self, (): ()) {}
}

/// What a sequence may hold.
pub trait Item: Clone {
    /// What is kept for all items together, up to date after every change.
    type Sum: Sum;

    /// The share of this item.
    fn sum(&self) -> Self::Sum;
}

/// Items in order. Cloning costs as much as cloning one leaf; hold it in an `Arc` to pay less.
#[derive(Clone)]
pub struct Sequence<T: Item> {
    len: usize,
    sum: T::Sum,
    body: Body<T>,
}

#[derive(Clone)]
enum Body<T: Item> {
    Leaf(Vec<T>),
    Branch(Vec<Arc<Sequence<T>>>),
}

impl<T: Item> Sequence<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self::leaf(Vec::new())
    }

    fn leaf(items: Vec<T>) -> Self {
        Self { len: 0, sum: T::Sum::default(), body: Body::Leaf(items) }.counted()
    }

    fn branch(children: Vec<Arc<Self>>) -> Self {
        Self { len: 0, sum: T::Sum::default(), body: Body::Branch(children) }.counted()
    }

    fn counted(mut self) -> Self {
        self.count();
        self
    }

    /// Adds up again. At most [`WIDTH`] terms, and nothing can drift as it could with differences.
    fn count(&mut self) {
        let mut sum = T::Sum::default();
        self.len = match &self.body {
            Body::Leaf(items) => {
                items.iter().for_each(|it| sum.add(it.sum()));
                items.len()
            }
            Body::Branch(children) => {
                children.iter().for_each(|it| sum.add(it.sum));
                children.iter().map(|it| it.len).sum()
            }
        };
        self.sum = sum;
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum over all items.
    pub fn sum(&self) -> T::Sum {
        self.sum
    }

    /// The item at `index`.
    pub fn get(&self, mut index: usize) -> Option<&T> {
        let mut here = self;
        loop {
            match &here.body {
                Body::Leaf(items) => return items.get(index),
                Body::Branch(children) => here = &children[descend(children, &mut index)?],
            }
        }
    }

    fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// Where the item is that `compare` finds equal, or where it would have to be. The items must
    /// be in the order of `compare`.
    ///
    /// # Errors
    /// The place for it, if there is none.
    pub fn search(&self, compare: impl Fn(&T) -> Ordering + Copy) -> Result<usize, usize> {
        let (mut here, mut before) = (self, 0);
        loop {
            match &here.body {
                Body::Leaf(items) => {
                    let found = items.binary_search_by(compare);
                    return found.map(|it| it + before).map_err(|it| it + before);
                }
                Body::Branch(children) => {
                    let is_left = |it: &Arc<Self>| it.first().is_some_and(|it| compare(it).is_le());
                    let at = children.partition_point(is_left).saturating_sub(1);
                    before += children[..at].iter().map(|it| it.len).sum::<usize>();
                    here = &children[at];
                }
            }
        }
    }

    /// Changes the item at `index`; `None` if there is none.
    pub fn change<R>(&mut self, mut index: usize, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let result = match &mut self.body {
            Body::Leaf(items) => change(items.get_mut(index)?),
            Body::Branch(children) => {
                let at = descend(children, &mut index)?;
                Arc::make_mut(&mut children[at]).change(index, change)?
            }
        };
        self.count();
        Some(result)
    }

    /// Puts `item` before the one at `index`. An index past the end counts as the end.
    pub fn insert(&mut self, index: usize, item: T) {
        if let Some(right) = self.insert_below(index.min(self.len), item) {
            let left = std::mem::take(self);
            *self = Self::branch(vec![Arc::new(left), Arc::new(right)]);
        }
    }

    /// Returns what no longer fits.
    fn insert_below(&mut self, mut index: usize, item: T) -> Option<Self> {
        match &mut self.body {
            Body::Leaf(items) => items.insert(index, item),
            Body::Branch(children) => {
                let at = descend(children, &mut index).unwrap_or_else(|| {
                    index = children.last().map_or(0, |it| it.len);
                    children.len() - 1
                });
                if let Some(right) = Arc::make_mut(&mut children[at]).insert_below(index, item) {
                    children.insert(at + 1, Arc::new(right));
                }
            }
        }
        let right = self.split();
        self.count();
        right
    }

    fn split(&mut self) -> Option<Self> {
        match &mut self.body {
            Body::Leaf(items) if items.len() > WIDTH => {
                Some(Self::leaf(items.split_off(items.len() / 2)))
            }
            Body::Branch(children) if children.len() > WIDTH => {
                Some(Self::branch(children.split_off(children.len() / 2)))
            }
            _ => None,
        }
    }

    /// Takes out the item at `index`.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let item = self.remove_below(index)?;
        while let Body::Branch(children) = &mut self.body {
            match children.len() {
                0 => *self = Self::new(),
                1 => *self = Arc::unwrap_or_clone(children.remove(0)),
                _ => break,
            }
        }
        Some(item)
    }

    fn remove_below(&mut self, mut index: usize) -> Option<T> {
        let item = match &mut self.body {
            Body::Leaf(items) => (index < items.len()).then(|| items.remove(index))?,
            Body::Branch(children) => {
                let at = descend(children, &mut index)?;
                let item = Arc::make_mut(&mut children[at]).remove_below(index)?;
                if children[at].is_empty() {
                    children.remove(at);
                } else if children.get(at + 1).is_some_and(|it| fit(&children[at], it)) {
                    join(children, at);
                } else if at > 0 && fit(&children[at - 1], &children[at]) {
                    join(children, at - 1);
                }
                item
            }
        };
        self.count();
        Some(item)
    }

    fn width(&self) -> usize {
        match &self.body {
            Body::Leaf(items) => items.len(),
            Body::Branch(children) => children.len(),
        }
    }

    /// All items in order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.iter_from(0)
    }

    /// The items from `index` on.
    pub fn iter_from(&self, mut index: usize) -> Iter<'_, T> {
        let (mut here, mut above) = (self, Vec::new());
        loop {
            match &here.body {
                Body::Leaf(items) => {
                    let leaf = items.get(index..).unwrap_or_default().iter();
                    return Iter { above, leaf };
                }
                Body::Branch(children) => match descend(children, &mut index) {
                    Some(at) => {
                        above.push(children[at + 1..].iter());
                        here = &children[at];
                    }
                    None => return Iter { above: Vec::new(), leaf: [].iter() },
                },
            }
        }
    }

    /// The sequence of what `map` makes of each item.
    pub fn map(&self, map: &mut impl FnMut(&T) -> T) -> Self {
        match &self.body {
            Body::Leaf(items) => Self::leaf(items.iter().map(map).collect()),
            Body::Branch(children) => {
                Self::branch(children.iter().map(|it| Arc::new(it.map(map))).collect())
            }
        }
    }

    /// Calls `visit` for the items of those parts whose sum `is_wanted`. What is left out is not
    /// looked at, so looking for rare items does not cost a walk.
    pub fn visit<'a>(
        &'a self,
        is_wanted: &impl Fn(&T::Sum) -> bool,
        visit: &mut impl FnMut(usize, &'a T),
    ) {
        self.visit_from(0, is_wanted, visit);
    }

    fn visit_from<'a>(
        &'a self,
        mut index: usize,
        is_wanted: &impl Fn(&T::Sum) -> bool,
        visit: &mut impl FnMut(usize, &'a T),
    ) {
        if !is_wanted(&self.sum) {
            return;
        }
        match &self.body {
            Body::Leaf(items) => {
                for (at, item) in items.iter().enumerate().filter(|(_, it)| is_wanted(&it.sum())) {
                    visit(index + at, item);
                }
            }
            Body::Branch(children) => {
                for child in children {
                    child.visit_from(index, is_wanted, visit);
                    index += child.len;
                }
            }
        }
    }
}

/// Which child has the item at `index`; leaves in `index` its place there.
fn descend<T: Item>(children: &[Arc<Sequence<T>>], index: &mut usize) -> Option<usize> {
    children.iter().position(|child| {
        let is_here = *index < child.len;
        if !is_here {
            *index -= child.len;
        }
        is_here
    })
}

fn fit<T: Item>(left: &Sequence<T>, right: &Sequence<T>) -> bool {
    // Room is left, so that the next insertion does not split again.
    left.width() + right.width() <= WIDTH / 2
}

fn join<T: Item>(children: &mut Vec<Arc<Sequence<T>>>, at: usize) {
    let right = Arc::unwrap_or_clone(children.remove(at + 1));
    let left = Arc::make_mut(&mut children[at]);
    match (&mut left.body, right.body) {
        (Body::Leaf(items), Body::Leaf(more)) => items.extend(more),
        (Body::Branch(below), Body::Branch(more)) => below.extend(more),
        _ => unreachable!("children of one branch are of one height"),
    }
    left.count();
}

impl<T: Item> Default for Sequence<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item> FromIterator<T> for Sequence<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        if items.len() <= WIDTH {
            items.shrink_to_fit();
            return Self::leaf(items);
        }
        let mut level: Vec<Arc<Self>> = chunks(items).map(|it| Arc::new(Self::leaf(it))).collect();
        while level.len() > WIDTH {
            level = chunks(level).map(|it| Arc::new(Self::branch(it))).collect();
        }
        Self::branch(level)
    }
}

fn chunks<T>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(WIDTH).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

impl<'a, T: Item> IntoIterator for &'a Sequence<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Item + fmt::Debug> fmt::Debug for Sequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The items of a [`Sequence`] in order.
pub struct Iter<'a, T: Item> {
    above: Vec<std::slice::Iter<'a, Arc<Sequence<T>>>>,
    leaf: std::slice::Iter<'a, T>,
}

impl<T: Item> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            let next = loop {
                match self.above.last_mut()?.next() {
                    Some(next) => break next,
                    None => {
                        self.above.pop();
                    }
                }
            };
            match &next.body {
                Body::Leaf(items) => self.leaf = items.iter(),
                Body::Branch(children) => self.above.push(children.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Total(u64);

    impl Sum for Total {
        fn add(&mut self, other: Self) {
            self.0 += other.0;
        }
    }

    impl Item for u64 {
        type Sum = Total;
        fn sum(&self) -> Total {
            Total(*self)
        }
    }

    fn check(sequence: &Sequence<u64>, expected: &[u64]) {
        assert_eq!(sequence.len(), expected.len());
        assert_eq!(sequence.sum(), Total(expected.iter().sum()));
        assert_eq!(sequence.iter().copied().collect::<Vec<_>>(), expected);
        let middle = expected.len() / 2;
        assert_eq!(sequence.get(middle), expected.get(middle));
        assert!(sequence.iter_from(middle).eq(&expected[middle..]));
    }

    proptest! {
        /// Whatever is done to it, it is what a vector would be, and a copy stays what it was.
        #[test]
        fn it_is_a_vector(
            start in 0usize..3000,
            steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>(), 0u64..1000), 0..300),
        ) {
            let mut expected: Vec<u64> = (0..start as u64).collect();
            let mut sequence: Sequence<u64> = expected.iter().copied().collect();
            let (copy, before) = (sequence.clone(), expected.clone());
            for (what, at, number) in steps {
                let at = at.index(expected.len() + 1);
                match what {
                    0 => {
                        sequence.insert(at, number);
                        expected.insert(at, number);
                    }
                    1 => {
                        let removed = (at < expected.len()).then(|| expected.remove(at));
                        prop_assert_eq!(sequence.remove(at), removed);
                    }
                    _ => {
                        sequence.change(at, |it| *it = number);
                        if let Some(it) = expected.get_mut(at) {
                            *it = number;
                        }
                    }
                }
            }
            check(&sequence, &expected);
            check(&copy, &before);
        }

        #[test]
        fn a_sorted_one_is_searched(
            items in prop::collection::btree_set(0u64..5000, 0..2000),
            wanted in 0u64..5000,
        ) {
            let items: Vec<u64> = items.into_iter().collect();
            let sequence: Sequence<u64> = items.iter().copied().collect();
            prop_assert_eq!(sequence.search(|it| it.cmp(&wanted)), items.binary_search(&wanted));
        }
    }

    #[test]
    fn emptied_from_either_end_it_is_empty() {
        for at_end in [true, false] {
            let mut sequence: Sequence<u64> = (0..5000).collect();
            while !sequence.is_empty() {
                let at = if at_end { sequence.len() - 1 } else { 0 };
                sequence.remove(at).unwrap();
            }
            check(&sequence, &[]);
            sequence.insert(0, 7);
            check(&sequence, &[7]);
        }
    }

    #[test]
    fn only_wanted_parts_are_visited() {
        let sequence: Sequence<u64> = (0..5000).map(|it| u64::from(it == 3333)).collect();
        let (asked, mut found) = (std::cell::Cell::new(0), Vec::new());
        let is_wanted = |sum: &Total| {
            asked.set(asked.get() + 1);
            sum.0 > 0
        };
        sequence.visit(&is_wanted, &mut |at, _| found.push(at));
        assert_eq!(found, [3333]);
        assert!(asked.get() < 5 * WIDTH, "looked at {}", asked.get());
    }
}
