//! What a process was started with: `/proc/PID/environ`, and `auxv`, which tells how far an `exec`
//! has come.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::ffi::OsStringExt,
    thread,
    time::Duration,
};

use rustix::buffer::spare_capacity;
use tokio::time::Instant;

use super::{Pid, visible};

/// More than most environments have; longer ones take another read.
const ENVIRONMENT_BYTES: usize = 128 << 10;

/// How long a process may be within `exec`; a loaded machine may let it wait for its turn.
const EXEC: Duration = Duration::from_millis(500);

/// Reads one variable of the environment that a process was started with.
///
/// Waits for one that is within `exec`: for a moment it has a new memory, and no environment in it
/// yet.
pub fn variable(pid: Pid, name: &str) -> io::Result<Option<OsString>> {
    let until = Instant::now() + EXEC;
    loop {
        let environ = environment(pid)?;
        if !environ.is_empty() || !is_within_exec(pid)? || Instant::now() > until {
            return Ok(variable_in(&environ, name).map(|value| OsString::from_vec(value.to_vec())));
        }
        // Nothing tells that an `exec` is over.
        thread::sleep(Duration::from_millis(1));
    }
}

/// The environment of a process; empty while it is within `exec`. Read in one call, during which
/// the kernel holds on to one program's memory: with two calls the process may begin another
/// program between them, and its environment would end early.
pub(crate) fn environment(pid: Pid) -> io::Result<Vec<u8>> {
    let mut environment = Vec::with_capacity(ENVIRONMENT_BYTES);
    let Some(file) = visible(File::open(format!("/proc/{pid}/environ")))? else {
        return Ok(environment);
    };
    while let Ok(1..) = rustix::io::read(&file, spare_capacity(&mut environment)) {
        environment.reserve(ENVIRONMENT_BYTES);
    }
    Ok(environment)
}

/// The environment of a process; `None` if it is not to be seen just now. One that is empty was
/// emptied on purpose, and nobody's end has to wait for it.
pub(crate) fn environment_once_settled(pid: Pid) -> io::Result<Option<Vec<u8>>> {
    let seen = environment(pid)?;
    if !seen.is_empty() {
        return Ok(Some(seen));
    }
    // An `exec` may have ended since, so it is read once more.
    if has_settled(pid)? { environment(pid).map(Some) } else { Ok(None) }
}

/// Whether a process has a memory, but nothing in it yet: the kernel writes its auxiliary vector,
/// which is never empty, together with its environment, which may be.
pub(crate) fn is_within_exec(pid: Pid) -> io::Result<bool> {
    let auxv = auxv(pid)?;
    Ok(!auxv.is_empty() && auxv.iter().all(|&byte| byte == 0))
}

/// Whether a process is between an `exec` and its end, so that the environment that it shows is all
/// it has.
fn has_settled(pid: Pid) -> io::Result<bool> {
    Ok(auxv(pid)?.iter().any(|&byte| byte != 0))
}

fn auxv(pid: Pid) -> io::Result<Vec<u8>> {
    Ok(visible(fs::read(format!("/proc/{pid}/auxv")))?.unwrap_or_default())
}

/// The value of the first `name=` among strings that end in NUL.
pub fn variable_in<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    values_in(environ, name).next()
}

/// The values of all of them: nothing keeps a program from being started with one name twice.
pub(crate) fn values_in<'a>(environ: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    environ
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environ = b"AB=1\0A=2\0A=3\0E=\0NO\0Q=a=b";
        assert_eq!(variable_in(environ, "A"), Some(&b"2"[..]));
        assert_eq!(variable_in(environ, "E"), Some(&b""[..]));
        assert_eq!(variable_in(environ, "Q"), Some(&b"a=b"[..]));
        assert_eq!(variable_in(environ, "NO"), None);
        assert_eq!(variable_in(environ, "B"), None);
        assert_eq!(variable_in(b"", "A"), None);
        assert_eq!(values_in(environ, "A").collect::<Vec<_>>(), [&b"2"[..], b"3"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, name in "[A-Z=]{0,3}") {
            variable_in(&bytes, &name);
        }
    }
}
