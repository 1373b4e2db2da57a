/// The name among `names` that `given` was most likely meant to be: at most two letters differ, or
/// only upper and lower case.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST {
        return None;
    }
    let given_letters = letters(given);
    names
        .into_iter()
        // Anybody may ask, so names that can't be near must cost nothing.
        .filter(|name| name.len() <= LONGEST && name.len().abs_diff(given.len()) <= SLIPS)
        .filter(|name| may_be_near(given_letters, letters(name)))
        .map(|name| (distance(given.as_bytes(), name.as_bytes()), name))
        .filter(|&(distance, name)| distance <= SLIPS && distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// How many letters may differ.
const SLIPS: usize = 2;

/// Nobody's slip is looked for in a longer name.
const LONGEST: usize = 64;

/// Which letters there are, a bit each; upper and lower case are the same, and some others share a
/// bit.
fn letters(name: &str) -> u32 {
    name.bytes().fold(0, |letters, byte| letters | 1 << (byte & 31))
}

/// Whether so few letters are only in the one or only in the other that no more slips are needed.
fn may_be_near(one: u32, other: u32) -> bool {
    let only = |a: u32, b: u32| (a & !b).count_ones() as usize;
    only(one, other) <= SLIPS && only(other, one) <= SLIPS
}

/// How many bytes must be put in, taken out or changed (Levenshtein), by the row method; upper and
/// lower case are the same.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: [usize; LONGEST + 1] = std::array::from_fn(|column| column);
    for (index, letter) in a.iter().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(!letter.eq_ignore_ascii_case(other));
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let names = ["all", "get", "reset", "set"];
        assert_eq!(nearest("SET", names), Some("set"));
        assert_eq!(nearest("rest", names), Some("reset"));
        assert_eq!(nearest("gett", names), Some("get"));
        assert_eq!(nearest("install", names), None);
        assert_eq!(nearest(&"set".repeat(100), names), None);
        let long = "x".repeat(LONGEST);
        assert_eq!(nearest(&long[1..], [long.as_str()]), Some(long.as_str()));
    }
}
