//! A file of variables; the environment of a process, for the name in the first line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::proc::variable_in;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = str::from_utf8(input)
        && let Ok(variables) = manager::fuzz::environment(text)
    {
        assert!(variables.keys().all(|it| !it.is_empty() && !it.contains(char::is_whitespace)));
    }
    let mut parts = input.splitn(2, |&byte| byte == b'\n');
    if let (Some(Ok(name)), Some(environ)) = (parts.next().map(str::from_utf8), parts.next()) {
        let value = variable_in(environ, name);
        assert!(value.is_none_or(|it| !it.contains(&0)));
    }
});
