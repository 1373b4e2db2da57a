/// The name among `names` that `given` was most likely meant to be: at most two letters differ, or
/// only upper and lower case.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(&given.to_lowercase(), &name.to_lowercase()), name))
        .filter(|&(distance, name)| distance <= 2 && distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be put in, taken out or changed (Levenshtein), by the row method.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, letter) in a.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
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
    }
}
