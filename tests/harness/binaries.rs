//! The programs of this workspace, built as the running test was built.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The path of the program `name`, fresh; an example is `examples/NAME`.
///
/// `cargo test` does not build the plain binaries of other packages, so the first call builds them
/// all, with the profile and into the target directory of this test.
pub(crate) fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(build).join(name);
    assert!(path.is_file(), "the workspace has no program `{name}`: no {}", path.display());
    path
}

/// Lets every user of the host enter a directory and run what is in it.
pub(crate) fn open_to_all(folder: &Path) {
    let open = || fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, open()).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        fs::set_permissions(entry.unwrap().path(), open()).unwrap();
    }
}

/// The top of the repository.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds every program and returns the directory in which they are.
fn build() -> PathBuf {
    // <target>/<profile>/deps/integration-<hash>
    let running = env::current_exe().unwrap();
    let programs = running.ancestors().nth(2).unwrap();
    let profile = match programs.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };

    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(["build", "--quiet", "--workspace", "--bins", "--examples"])
        .args(["--profile", profile, "--target-dir"])
        .arg(programs.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "`cargo build --workspace --bins --examples` failed");
    programs.to_owned()
}
