//! What several targets share.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process,
};

use serde::{Serialize, de::DeserializeOwned};

/// Whatever can be read at all is written, and read again as what it was.
pub fn survives<T: PartialEq + fmt::Debug>(
    input: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
    write: impl Fn(&T) -> Vec<u8>,
) {
    let Some(first) = read(input) else { return };
    let written = write(&first);
    assert_eq!(read(&written), Some(first), "{}", written.escape_ascii());
}

/// [`survives`], as JSON.
pub fn json_survives<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(input: &[u8]) {
    let read = |bytes: &[u8]| serde_json::from_slice::<T>(bytes).ok();
    survives(input, read, |it| serde_json::to_vec(it).expect("strings and numbers are JSON"));
}

/// A folder of this process, where each input is put into the same files; gone at the end, unless
/// that is a crash.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("manager-fuzz-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn put(&self, file: &str, content: &[u8]) {
        fs::write(self.0.join(file), content).expect("a file can be written");
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.0.join(file)).expect("a file can be removed");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
