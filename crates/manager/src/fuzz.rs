//! The door for fuzz targets (`crates/manager/fuzz`): readers of foreign bytes that are nobody
//! else's to call.

use std::{collections::BTreeMap, io, path::PathBuf};

use crate::{
    cgroup,
    config::{Config, ConfigError},
    definition::Definition,
    keeper, manager,
    name::Name,
    registry::{Document, Problem},
    scan::{self, Credential, Listener, Reply},
};

/// What a port answers to `dae`: `None` while a credential may still come of it, and then whether
/// one did.
pub fn reply(heard: &[u8]) -> Option<Option<Credential>> {
    match Reply::read(heard) {
        Reply::Partial => None,
        Reply::Credential(credential) => Some(Some(credential)),
        Reply::Other => Some(None),
    }
}

/// An answer of `sock_diag`.
pub fn diag(answer: &[u8]) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    scan::read_diag(answer, &mut found)?;
    Ok(found)
}

/// The text of `/proc/net/tcp`.
pub fn table(text: &[u8]) -> Vec<Listener> {
    scan::parse_table(text)
}

/// A cgroup's directory by `mountinfo` and the line of `/proc/PID/cgroup`.
pub fn cgroup(mountinfo: &[u8], line: &[u8]) -> Option<PathBuf> {
    cgroup::directory(mountinfo, line)
}

/// The text of `config.toml`.
pub fn config(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text)
}

/// The text of `registry.toml`: it is written as it stands, and what is in it.
pub fn registry(bytes: &[u8]) -> Result<(String, Vec<(Name, Definition)>), Problem> {
    let document = Document::parse(bytes)?;
    let all = document.entries.iter();
    let all = all.map(|(name, it)| (name.clone(), Definition::clone(&it.definition))).collect();
    Ok((document.to_string(), all))
}

/// A file of variables.
pub fn environment(text: &str) -> Result<BTreeMap<String, String>, usize> {
    manager::parse_env(text)
}

/// What the copy of a keeper says that fails to become a child.
pub fn failure(bytes: &[u8]) -> bool {
    keeper::parse_failure(bytes).is_some()
}
