//! The tree itself: what depends on what, what lies where, what no file may name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::workspace;

/// Which of our crates each crate may, and does, depend on. Arrows go down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("common-tcp", &[]),
    ("daemon", &["common-tcp"]),
    ("manager", &["common-tcp", "daemon"]),
    ("sample", &["daemon"]),
    ("tests", &["common-tcp", "daemon"]),
    ("xtask", &[]),
];

/// All that lies at the top of the repository, besides dot files.
const TOP: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "crates", "daemons", "sample", "tests"];

/// Where people's files lie on one machine and not on another.
const OF_ONE_MACHINE: &[&str] = &["/home/", "/root/", "/Users/"];

/// What tells where packages come from: that is for each machine's own settings to say.
const OF_A_REGISTRY: &[&str] = &[
    "sparse+",
    "replace-with",
    "index.crates.io",
    "static.crates.io",
    "registry.npmjs.org",
    "pypi.org",
    "files.pythonhosted.org",
];

/// The one address by which a lock file names the public registry, whichever mirror is in use.
const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let drawn: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let metadata = cargo_metadata();
    let found: BTreeMap<&str, BTreeSet<&str>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["name"].as_str().unwrap(), own_dependencies(package)))
        .collect();

    assert_eq!(found, drawn);
}

#[test]
fn every_file_of_the_tests_is_a_module() {
    let tests = workspace().join("tests");
    let main = tests.join("main.rs");
    let files = rust_files(&tests);
    assert!(files.contains(&main));
    for file in files.iter().filter(|it| **it != main) {
        let (owner, name) = owner(file, &tests);
        let declared = fs::read_to_string(&owner)
            .unwrap()
            .lines()
            .any(|line| line.trim_start_matches("pub(crate) ") == format!("mod {name};"));
        assert!(declared, "{} lacks `mod {name};`", owner.display());
    }
}

#[test]
fn the_top_of_the_repository_is_as_agreed() {
    let top: BTreeSet<String> = tracked()
        .iter()
        .map(|path| path.split('/').next().unwrap().to_owned())
        .filter(|it| !it.starts_with('.'))
        .collect();

    assert_eq!(top, TOP.iter().map(|it| it.to_string()).collect());
}

#[test]
fn no_file_names_one_machine_or_where_packages_come_from() {
    let here = format!("{}/", workspace().display());
    let own_name = file!().rsplit('/').next().unwrap();
    for path in tracked().iter().filter(|it| !it.ends_with(own_name)) {
        // A file may be tracked and just now deleted; one that is not text names nothing.
        let Ok(text) = fs::read_to_string(workspace().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}: {line}", number + 1);
            let line = line.replace(PUBLIC_REGISTRY, "");
            assert!(!line.contains(&here), "names this machine: {place}");
            assert!(!OF_ONE_MACHINE.iter().any(|it| names_path(&line, it)), "{place}");
            assert!(!OF_A_REGISTRY.iter().any(|it| line.contains(it)), "{place}");
        }
    }
}

/// Whether `line` has an absolute path that begins with `start`; `docs/home/x` is none.
fn names_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        !line[..at].ends_with(|it: char| it.is_alphanumeric() || "._-~}>)".contains(it))
    })
}

#[test]
fn a_path_is_absolute_when_nothing_stands_before_it() {
    assert!(names_path("program = \"/home/ann/sample\"", "/home/"));
    assert!(names_path("/home/ann", "/home/"));
    assert!(!names_path("docs/home/ann", "/home/"));
    assert!(!names_path("$HOME/ann", "/home/"));
}

/// Those of `package`'s dependencies, of any kind, that lie in this repository.
fn own_dependencies(package: &Value) -> BTreeSet<&str> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["path"].is_string())
        .map(|it| it["name"].as_str().unwrap())
        .collect()
}

fn cargo_metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The paths, from the top of the repository, of all files that git knows.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        // Containers build in a checkout of another user.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let paths = String::from_utf8(output.stdout).unwrap();
    paths.split_terminator('\0').map(str::to_owned).collect()
}

/// All `.rs` files below `directory`.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|it| it.is_dir());
    let below = directories.iter().flat_map(|it| rust_files(it));
    files
        .into_iter()
        .filter(|it| it.extension().is_some_and(|it| it == "rs"))
        .chain(below)
        .collect()
}

/// The file that must declare `file` as a module, and under which name.
fn owner<'a>(file: &'a Path, tests: &Path) -> (PathBuf, &'a str) {
    let directory = file.parent().unwrap();
    let name = file.file_stem().unwrap().to_str().unwrap();
    if name == "mod" {
        return owner(directory, tests);
    }
    let main = if directory == tests { "main.rs" } else { "mod.rs" };
    (directory.join(main), name)
}
