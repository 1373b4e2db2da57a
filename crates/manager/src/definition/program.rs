//! From what somebody typed to the program that will run: found, absolute, and seen to be one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::unistd::{AccessFlags, access, getegid, geteuid};

use crate::name::nearest;

/// What is read of a program to tell a script from a binary: no binary is without a NUL so long,
/// and no interpreter line is longer (`BINPRM_BUF_SIZE` is 256).
const HEAD: u64 = 512;

/// Why what was given is not a program that could run. `given` is as it was typed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProgramError {
    #[error("a program is needed, got nothing")]
    Empty,

    #[error("`{}` is not in UTF-8, which the registry is written in", given.display())]
    NotText { given: PathBuf },

    #[error("there is no `{}`", given.display())]
    Missing { given: PathBuf, near: Option<PathBuf> },

    #[error("no folder of PATH holds a program `{}`", given.display())]
    NotInPath { given: PathBuf, here: bool, near: Option<PathBuf> },

    #[error("`{}` is a directory", given.display())]
    Directory { given: PathBuf, program: Option<PathBuf> },

    #[error("`{}` is not a regular file", given.display())]
    NotRegular { given: PathBuf },

    #[error("`{}` is not executable", given.display())]
    NotExecutable { given: PathBuf },

    #[error("`{}` is a script without an interpreter line", given.display())]
    NoInterpreter { given: PathBuf },

    #[error("the interpreter `{}` of `{}` does not exist", interpreter.escape_debug(), given.display())]
    MissingInterpreter { given: PathBuf, interpreter: String },

    #[error("cannot look at `{}`", given.display())]
    Unreadable { given: PathBuf, source: io::Error },
}

impl ProgramError {
    /// What to do about it, as a line for people.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { near, .. } | Self::NotInPath { near, here: false, .. } => {
                near.as_ref().map(|it| format!("did you mean `{}`?", it.display()))
            }
            Self::NotInPath { given, .. } => {
                Some(format!("for the file in this folder give `./{}`", given.display()))
            }
            Self::Directory { program, .. } => Some(match program {
                Some(it) => format!("give the program itself, for instance `{}`", it.display()),
                None => "give the program itself".to_owned(),
            }),
            Self::NotExecutable { given } => {
                Some(format!("if it is a program: `chmod +x {}`", given.display()))
            }
            Self::NoInterpreter { .. } => {
                Some("begin it with a line such as `#!/bin/sh`".to_owned())
            }
            Self::MissingInterpreter { interpreter, .. } if interpreter.ends_with('\r') => {
                Some("its lines end in CRLF; save it with LF".to_owned())
            }
            Self::MissingInterpreter { .. } => Some("mend its first line".to_owned()),
            _ => None,
        }
    }
}

/// Finds the program that `given` means: a path, made absolute at `cwd` without following links, or
/// a bare word, looked up in `path_var` (the variable PATH).
///
/// # Errors
/// [`ProgramError`] if it is not there, or is nothing that the kernel could run; with a hint for
/// people.
pub fn resolve_program(
    given: &OsStr,
    cwd: &Path,
    path_var: Option<&OsStr>,
) -> Result<PathBuf, ProgramError> {
    if given.is_empty() {
        return Err(ProgramError::Empty);
    }
    let given = Path::new(given);
    let bare = !given.as_os_str().as_encoded_bytes().contains(&b'/');
    let program = if bare { in_path(given, cwd, path_var)? } else { normalised(&cwd.join(given)) };
    if program.to_str().is_none() {
        return Err(ProgramError::NotText { given: given.to_owned() });
    }
    check(&program, given, cwd)?;
    Ok(program)
}

fn in_path(word: &Path, cwd: &Path, path_var: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let folders: Vec<_> =
        path_var.map(|it| std::env::split_paths(it).collect()).unwrap_or_default();
    let files = folders.iter().map(|it| normalised(&cwd.join(it).join(word)));
    let found = files.into_iter().find(|it| it.is_file() && is_executable(it));
    found.ok_or_else(|| ProgramError::NotInPath {
        given: word.to_owned(),
        here: cwd.join(word).is_file(),
        near: folders.iter().find_map(|it| near(&it.join(word))),
    })
}

fn check(program: &Path, given: &Path, cwd: &Path) -> Result<(), ProgramError> {
    let given = given.to_owned();
    let shown = |it: PathBuf| as_typed(it, &given, cwd);
    let file = match fs::metadata(program) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => {
            let near = near(program).map(shown);
            return Err(ProgramError::Missing { given, near });
        }
        Err(source) => return Err(ProgramError::Unreadable { given, source }),
    };
    if file.is_dir() {
        let program = program_in(program).map(shown);
        return Err(ProgramError::Directory { given, program });
    }
    if !file.is_file() {
        return Err(ProgramError::NotRegular { given });
    }
    if !is_executable(program) {
        return Err(ProgramError::NotExecutable { given });
    }
    check_head(&head(program), given)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_executable(program: &Path) -> bool {
    access(program, AccessFlags::X_OK).is_ok()
}

/// The first bytes of the program. A program that may be run but not read is a binary, or the
/// kernel's matter.
fn head(program: &Path) -> Option<Vec<u8>> {
    let mut head = vec![];
    File::open(program).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

fn check_head(head: &Option<Vec<u8>>, given: PathBuf) -> Result<(), ProgramError> {
    let Some(head) = head else { return Ok(()) };
    match head.strip_prefix(b"#!") {
        None if head.contains(&0) => Ok(()),
        None => Err(ProgramError::NoInterpreter { given }),
        Some(line) => check_interpreter(line, given),
    }
}

fn check_interpreter(line: &[u8], given: PathBuf) -> Result<(), ProgramError> {
    let line = line.split(|&it| it == b'\n').next().unwrap_or_default().trim_ascii_start();
    let blank = |&it: &u8| it == b' ' || it == b'\t';
    let interpreter = line.split(blank).next().unwrap_or_default();
    let interpreter = String::from_utf8_lossy(interpreter).into_owned();
    if interpreter.trim().is_empty() {
        return Err(ProgramError::NoInterpreter { given });
    }
    // A relative one is looked up where the daemon will run, which is not known here.
    if interpreter.starts_with('/') && !Path::new(&interpreter).exists() {
        return Err(ProgramError::MissingInterpreter { given, interpreter });
    }
    Ok(())
}

/// `.` and `..` resolved in the text alone.
fn normalised(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, it| {
        match it {
            Component::CurDir => {}
            Component::ParentDir => _ = done.pop(),
            _ => done.push(it),
        }
        done
    })
}

/// A path for a hint: below the current folder if it was typed so.
fn as_typed(path: PathBuf, given: &Path, cwd: &Path) -> PathBuf {
    match path.strip_prefix(cwd) {
        Ok(rest) if given.is_relative() => Path::new(".").join(rest),
        _ => path,
    }
}

/// The existing path that differs least from `path`, which does not exist: each part is mended by
/// its neighbours.
fn near(path: &Path) -> Option<PathBuf> {
    if path.exists() {
        return Some(path.to_owned());
    }
    let parent = near(path.parent()?)?;
    let wanted = path.file_name()?.to_str()?;
    if parent.join(wanted).exists() {
        return Some(parent.join(wanted));
    }
    let names: Vec<_> = entries(&parent).filter_map(|it| it.into_string().ok()).collect();
    let name = *nearest(wanted, names.iter().map(String::as_str)).first()?;
    Some(parent.join(name))
}

/// A program directly in `folder`, the first by name.
fn program_in(folder: &Path) -> Option<PathBuf> {
    let paths = entries(folder).map(|it| folder.join(it));
    paths.filter(|it| it.is_file() && is_executable(it)).min()
}

fn entries(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.file_name())
}

/// A line for people if somebody else could put another program in the place of this one: the file
/// or a folder above it belongs to another user or may be written by others.
pub fn warning_if_writable_by_others(program: &Path) -> Option<String> {
    let open = program.ancestors().find(|it| is_open(it, *it == program))?;
    let whose = if open == program { "" } else { ", which is above the program," };
    Some(format!("`{}`{whose} can be changed by other users", open.display()))
}

fn is_open(path: &Path, is_program: bool) -> bool {
    let Ok(it) = fs::metadata(path) else { return false };
    // In a sticky folder, /tmp above all, others cannot rename or remove what is not theirs.
    let sticky = !is_program && it.mode() & 0o1000 != 0;
    let by_group = it.mode() & 0o020 != 0 && it.gid() != getegid().as_raw();
    let by_all = it.mode() & 0o002 != 0;
    let strange = it.uid() != 0 && it.uid() != geteuid().as_raw();
    strange || (!sticky && (by_group || by_all))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder with one program in `bin`, executable.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        file(&folder, "bin/sample", b"#!/bin/sh\n", 0o755);
        folder
    }

    fn file(folder: &tempfile::TempDir, name: &str, content: &[u8], mode: u32) {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn resolve(folder: &tempfile::TempDir, given: &str) -> Result<PathBuf, ProgramError> {
        let path = folder.path().join("bin");
        resolve_program(given.as_ref(), folder.path(), Some(path.as_os_str()))
    }

    #[test]
    fn a_path_or_a_word_becomes_the_absolute_path() {
        let folder = folder();
        let sample = folder.path().join("bin/sample");
        for given in ["bin/sample", "./bin/../bin/./sample", "sample", sample.to_str().unwrap()] {
            assert_eq!(resolve(&folder, given).unwrap(), sample, "{given}");
        }
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = folder();
        symlink("bin/sample", folder.path().join("current")).unwrap();
        assert_eq!(resolve(&folder, "./current").unwrap(), folder.path().join("current"));
    }

    #[track_caller]
    fn check(folder: &tempfile::TempDir, given: &str, message: &str, hint: Option<&str>) {
        let error = resolve(folder, given).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.hint().as_deref(), hint);
    }

    #[test]
    fn what_cannot_run_is_refused_with_a_hint() {
        let folder = folder();
        file(&folder, "plain", b"\x7fELF\0", 0o644);
        file(&folder, "bare.sh", b"echo hello\n", 0o755);
        file(&folder, "dos.sh", b"#!/bin/sh\r\necho\r\n", 0o755);
        file(&folder, "odd.sh", b"#! /no/such/python -u\n", 0o755);
        file(&folder, "empty", b"", 0o755);
        let script = Some("begin it with a line such as `#!/bin/sh`");
        let did_you_mean = Some("did you mean `./bin/sample`?");

        check(&folder, "", "a program is needed, got nothing", None);
        check(&folder, "./bin/sampel", "there is no `./bin/sampel`", did_you_mean);
        check(&folder, "./bim/sample", "there is no `./bim/sample`", did_you_mean);
        check(&folder, "./bin/sample/x", "there is no `./bin/sample/x`", None);
        check(&folder, "./other/thing", "there is no `./other/thing`", None);
        check(
            &folder,
            "./bin",
            "`./bin` is a directory",
            Some("give the program itself, for instance `./bin/sample`"),
        );
        check(
            &folder,
            "./plain",
            "`./plain` is not executable",
            Some("if it is a program: `chmod +x ./plain`"),
        );
        check(&folder, "/dev/null", "`/dev/null` is not a regular file", None);
        check(&folder, "./bare.sh", "`./bare.sh` is a script without an interpreter line", script);
        check(&folder, "./empty", "`./empty` is a script without an interpreter line", script);
        check(
            &folder,
            "./dos.sh",
            "the interpreter `/bin/sh\\r` of `./dos.sh` does not exist",
            Some("its lines end in CRLF; save it with LF"),
        );
        check(
            &folder,
            "./odd.sh",
            "the interpreter `/no/such/python` of `./odd.sh` does not exist",
            Some("mend its first line"),
        );
        check(
            &folder,
            "plain",
            "no folder of PATH holds a program `plain`",
            Some("for the file in this folder give `./plain`"),
        );
    }

    #[test]
    fn a_mistyped_word_is_recognised_in_path() {
        let folder = folder();
        let hint = resolve(&folder, "sampel").unwrap_err().hint().unwrap();
        assert_eq!(hint, format!("did you mean `{}`?", folder.path().join("bin/sample").display()));
        assert!(resolve_program("sample".as_ref(), folder.path(), None).is_err());
    }

    #[test]
    fn who_may_replace_the_program_is_told() {
        let folder = folder();
        let program = folder.path().join("bin/sample");
        assert_eq!(warning_if_writable_by_others(&program), None);

        let bin = folder.path().join("bin");
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o777)).unwrap();
        let warning = warning_if_writable_by_others(&program).unwrap();
        assert!(warning.contains("which is above the program"), "{warning}");

        file(&folder, "bin/sample", b"#!/bin/sh\n", 0o757);
        let warning = warning_if_writable_by_others(&program).unwrap();
        assert_eq!(warning, format!("`{}` can be changed by other users", program.display()));
    }
}
