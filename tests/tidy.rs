//! The tree itself: what depends on what, what lies where, what no file may name.
//!
//! What depends on what, and which files there are, is told by the tables of
//! `crates/ARCHITECTURE.md`, so that the page cannot lie.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::workspace;

/// The page for those who change the code.
const MAP: &str = "crates/ARCHITECTURE.md";

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

/// Where pages lie that are not in this repository: nobody who reads it could look them up.
const ELSEWHERE: &[&str] = &["spec/", "shared/"];

/// As long as a file of Rust may be. One that is longer has two subjects.
const LONGEST_LINES: usize = 600;

/// As wide as a line of comment may be: as wide as `rustfmt` leaves code, since it leaves comments
/// as they are.
const WIDEST_COLUMNS: usize = 100;

/// The one address by which a lock file names the public registry, whichever mirror is in use.
const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let page = map();
    let drawn: BTreeMap<&str, BTreeSet<&str>> = rows(&page, "crate")
        .map(|row| (code(row.cells[0]).next().unwrap(), code(row.cells[1]).collect()))
        .collect();
    let metadata = cargo_metadata();
    let found: BTreeMap<&str, BTreeSet<&str>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["name"].as_str().unwrap(), own_dependencies(package)))
        .collect();

    assert_eq!(found, drawn, "`cargo metadata` on the left, {MAP} on the right");
}

#[test]
fn every_file_of_the_crates_is_on_the_map() {
    let page = map();
    let drawn: BTreeSet<String> = rows(&page, "file")
        .flat_map(|row| {
            let directory = code(row.section).next().unwrap();
            code(row.cells[0]).flat_map(move |it| expanded(&format!("{directory}/{it}")))
        })
        .collect();
    let found: BTreeSet<String> = tracked().into_iter().filter(|it| is_mapped(it)).collect();

    let unnamed: Vec<&String> = found.difference(&drawn).collect();
    assert!(unnamed.is_empty(), "in no table of {MAP}: {unnamed:#?}");
    let gone: Vec<&String> = drawn.difference(&found).collect();
    assert!(gone.is_empty(), "in a table of {MAP}, and nowhere else: {gone:#?}");
}

#[test]
fn every_crate_says_what_it_is() {
    let roots = tracked();
    let roots = roots.iter().filter(|it| it.ends_with("src/lib.rs") || it.ends_with("src/main.rs"));
    for root in roots {
        let text = fs::read_to_string(workspace().join(root)).unwrap();
        assert!(text.starts_with("//! "), "{root} does not begin with what it is");
    }
}

#[test]
fn every_file_of_the_tests_is_a_module() {
    let tests = workspace().join("tests");
    let main = tests.join("main.rs");
    let files = rust_files(&tests);
    assert!(files.contains(&main));
    // A program of its own each.
    let examples = tests.join("examples");
    for file in files.iter().filter(|it| **it != main && !it.starts_with(&examples)) {
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

#[test]
fn every_page_that_a_file_names_is_here() {
    let files = tracked();
    let own_name = file!().rsplit('/').next().unwrap();
    for path in files.iter().filter(|it| !it.ends_with(own_name)) {
        let Ok(text) = fs::read_to_string(workspace().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}: {line}", number + 1);
            assert!(!ELSEWHERE.iter().any(|it| names_path(line, it)), "{place}");
            for page in pages(line) {
                let is_it = |file: &&String| file.rsplit('/').next() == page.rsplit('/').next();
                assert!(files.iter().any(|it| is_it(&it)), "there is no `{page}`: {place}");
            }
        }
    }
}

#[test]
fn no_file_is_too_long_and_no_comment_too_wide() {
    let mut wrong = Vec::new();
    for (path, text) in texts(&[".rs", ".toml"]) {
        let length = text.lines().count();
        if path.ends_with(".rs") && length > LONGEST_LINES {
            wrong.push(format!("{path} has {length} lines of at most {LONGEST_LINES}"));
        }
        for (number, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if is_comment(line, &path) && width > WIDEST_COLUMNS {
                wrong.push(format!("{path}:{}: {width} columns", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether all of `line` is comment.
fn is_comment(line: &str, path: &str) -> bool {
    line.trim_start().starts_with(if path.ends_with(".rs") { "//" } else { "#" })
}

/// The tracked files with one of these endings, and what is in them; none that was just now
/// deleted.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let is_wanted = |path: &String| endings.iter().any(|it| path.ends_with(it));
    let read =
        |path: String| Some((path.clone(), fs::read_to_string(workspace().join(path)).ok()?));
    tracked().into_iter().filter(is_wanted).filter_map(read).collect()
}

/// The names of pages in `line`.
fn pages(line: &str) -> impl Iterator<Item = &str> {
    line.split(|it: char| !(it.is_alphanumeric() || "._-/".contains(it)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.strip_suffix(".md").is_some_and(|it| !it.is_empty()))
}

#[test]
fn a_page_is_found_in_the_middle_of_a_sentence() {
    let line = "See `docs/a.md`, B.md. Not c.mdx, nor .md; [d](../d.md#e).";
    assert_eq!(pages(line).collect::<Vec<_>>(), ["docs/a.md", "B.md", "../d.md"]);
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

/// The text of [`MAP`].
fn map() -> String {
    fs::read_to_string(workspace().join(MAP)).unwrap()
}

/// A row of a table in a page, with the heading above the table.
struct Row<'a> {
    section: &'a str,
    cells: Vec<&'a str>,
}

/// The rows of all tables in `page` whose first column is `column`.
fn rows<'a>(page: &'a str, column: &str) -> impl Iterator<Item = Row<'a>> {
    let (mut section, mut is_wanted) = ("", None::<bool>);
    page.lines().filter_map(move |line| {
        if line.starts_with('#') {
            section = line;
        }
        let Some(inner) = line.strip_prefix("| ") else {
            // The line between head and rows is part of the table.
            if !line.starts_with("|-") {
                is_wanted = None;
            }
            return None;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        match is_wanted {
            Some(is_wanted) => is_wanted.then_some(Row { section, cells }),
            None => {
                is_wanted = Some(cells[0] == column);
                None
            }
        }
    })
}

/// What stands between backticks in `text`.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The paths that a shell makes of `path`: `a/{b,c}.rs` are two.
fn expanded(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    let Some((head, (names, tail))) = parts else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{head}{name}{tail}")).collect()
}

/// Whether the file at `path` must be on the map.
fn is_mapped(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["crates", _, "src", ..] => true,
        // As those of crates.
        ["daemons", _, "fuzz", ..] => false,
        ["daemons", .., file] => file != "Cargo.toml",
        _ => false,
    }
}

#[test]
fn a_table_is_read_with_its_heading() {
    let page = "# `a`\n\n| file | what |\n|---|---|\n| `x.rs`, `{y,z}.rs` | `w` |\n\n\
                ## `b`\n| task | who |\n|---|---|\n| `v.rs` | |\n";
    let found: Vec<_> = rows(page, "file").map(|it| (it.section, it.cells[0])).collect();
    assert_eq!(found, [("# `a`", "`x.rs`, `{y,z}.rs`")]);
    let files: Vec<String> = code(found[0].1).flat_map(expanded).collect();
    assert_eq!(files, ["x.rs", "y.rs", "z.rs"]);
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
