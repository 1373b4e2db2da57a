//! Names: of rotated files; of daemons, and patterns.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::{
    logs::rotation::{DATA, Key},
    name::{Name, Pattern, nearest},
};

fuzz_target!(|input: &str| {
    rotated(input);
    let mut words = input.split('\n');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    assert!(nearest(first, [second]).len() <= 1);
    if let (Ok(name), Ok(pattern)) = (Name::new(first), Pattern::new(second)) {
        pattern.matches(name.as_str());
        assert!(Pattern::new(name.as_str()).is_ok_and(|it| it.matches(first)));
    }
});

fn rotated(file: &str) {
    if let Some(key) = DATA.key(file) {
        assert_eq!(DATA.key(&DATA.file(key)), Some(key));
        // The last name that there can be has none behind it.
        let last = Key::Rotated { ms: u64::MAX, n: u32::MAX };
        assert!(key == Key::Current || key == last || Key::next(Some(key), 0) > key);
    }
}
