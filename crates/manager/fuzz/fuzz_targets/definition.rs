//! Definitions and changes of them, as `install` and `edit` send them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::definition::{Change, Definition};
use manager_fuzz::survives;
use serde_json::{Map, Value};

fuzz_target!(|input: &[u8]| {
    survives(input, definition, |it| Value::Object(it.to_json()).to_string().into_bytes());

    let mut lines = input.split(|&byte| byte == b'\n');
    let mut definition = lines.next().and_then(definition);
    for change in lines.filter_map(object).filter_map(|it| Change::from_json(it).ok()) {
        let definition = definition.get_or_insert_with(|| Definition::new("/p".into()));
        change.apply(definition);
        assert_eq!(Definition::from_json(&definition.to_json()).as_ref(), Ok(&*definition));
    }
});

fn definition(bytes: &[u8]) -> Option<Definition> {
    Definition::from_json(&object(bytes)?).ok()
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(bytes).ok()
}
