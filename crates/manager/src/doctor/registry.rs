//! Whether the registry can be read, and whether what is in it is what the manager has.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use toml_edit::{DocumentMut, Item};

use super::{Check, Manager};
use crate::{definition::warning_if_writable_by_others, paths::Paths};

pub(super) fn check(paths: &Paths, manager: Option<&Manager>) -> Vec<Check> {
    let path = paths.registry();
    let installed = match read(&path) {
        Ok(installed) => installed,
        Err(detail) => return vec![Check::fail("registry", detail, replace(&path))],
    };
    let mut wrong = moved_aside(&path);
    wrong.extend(manager.and_then(|it| recovered(it, &path)));
    wrong.extend(manager.and_then(|it| different(&installed, it)));
    Check::all("registry", wrong, format!("readable, {} installed", installed.len()))
}

/// The names of what is installed; none if there is no registry yet.
fn read(path: &Path) -> Result<BTreeSet<String>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(format!("`{}` cannot be read: {error}", path.display())),
    };
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("`{}` is not TOML: {}", path.display(), error.message())
    })?;
    if document.get("version").and_then(Item::as_integer) != Some(1) {
        return Err(format!("`{}` has no `version = 1`", path.display()));
    }
    let daemons = document.get("daemon").and_then(Item::as_table_like);
    Ok(daemons.into_iter().flat_map(|it| it.iter()).map(|it| it.0.to_lowercase()).collect())
}

/// Programs in whose place other users could put their own.
pub(super) fn programs(paths: &Paths) -> Vec<Check> {
    let text = fs::read_to_string(paths.registry()).unwrap_or_default();
    let document: DocumentMut = text.parse().unwrap_or_default();
    let daemons = document.get("daemon").and_then(Item::as_table_like);
    let programs = daemons.into_iter().flat_map(|it| it.iter()).filter_map(|(_, daemon)| {
        daemon.as_table_like()?.get("program")?.as_str().map(PathBuf::from)
    });
    let open = programs.filter_map(|program| {
        let warning = warning_if_writable_by_others(&program)?;
        let fix = format!("ls -ld {}, and chmod go-w what is open", program.display());
        Some(Check::fail("programs", warning, fix))
    });
    Check::all("programs", open.collect(), "nobody else can change what is installed")
}

/// The one before it takes its place; without one, a new one does.
fn replace(path: &Path) -> String {
    let file = path.display();
    match path.with_extension("toml.prev").exists() {
        true => format!("cp {file}.prev {file}"),
        false => format!("mv {file} {file}.broken"),
    }
}

/// Registries that were broken and were kept for somebody to look at.
fn moved_aside(path: &Path) -> Vec<Check> {
    let folder = path.parent().and_then(|it| fs::read_dir(it).ok());
    let names = folder.into_iter().flatten().flatten().map(|it| it.path());
    let broken = names.filter(|it| it.to_string_lossy().contains("registry.toml.broken"));
    broken
        .map(|it| {
            let detail = format!("it was broken; what it was is in `{}`", it.display());
            Check::fail("registry", detail, format!("rm {}", it.display()))
        })
        .collect()
}

fn recovered(manager: &Manager, path: &Path) -> Option<Check> {
    let said = manager.registry.as_deref().filter(|&it| it != "ok")?;
    let fix = format!("dae list, and compare with {}", path.display());
    Some(Check::fail("registry", said, fix))
}

fn different(installed: &BTreeSet<String>, manager: &Manager) -> Option<Check> {
    let names = manager.daemons.iter().filter_map(|it| it.get("name").and_then(Value::as_str));
    let managed: BTreeSet<_> = names.map(str::to_lowercase).collect();
    let differing: Vec<_> = installed.symmetric_difference(&managed).cloned().collect();
    let detail = format!("the manager and the file differ in: {}", differing.join(", "));
    (!differing.is_empty()).then(|| Check::fail("registry", detail, "dae down --keep && dae up"))
}
