//! Names in the folder of recordings. They are made of call ids, which are ours; nothing from outside is ever part of
//! a name. What is not finished ends in `.part`.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::store::record::{CallId, RecordingName};

/// Makes the folder, for its owner only.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

pub(super) fn finished(folder: &Path, call: CallId, name: RecordingName) -> PathBuf {
    folder.join(name.file(call))
}

pub(super) fn unfinished(folder: &Path, call: CallId, name: RecordingName) -> PathBuf {
    folder.join(format!("{}{PART}", name.file(call)))
}

/// Everything in the folder that is not finished.
pub(super) fn all_unfinished(folder: &Path) -> io::Result<Vec<(CallId, RecordingName)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|name| name.strip_suffix(PART));
        found.extend(name.and_then(RecordingName::parse));
    }
    Ok(found)
}

const PART: &str = ".part";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Folder;

    #[test]
    fn finds_what_is_not_finished_and_nothing_else() {
        let folder = Folder::new();
        let call = CallId::fresh();
        let name = RecordingName { number: 2, format: crate::config::RecordingFormat::Wav };
        for path in [
            unfinished(folder.path(), call, name),
            finished(folder.path(), call, name),
            folder.path().join("x.wav.part"),
            folder.path().join(format!("{call}-0.wav.part")),
            folder.path().join(format!("{call}-1.exe.part")),
        ] {
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(all_unfinished(folder.path()).unwrap(), [(call, name)]);
    }

    #[test]
    fn the_folder_is_its_owners() {
        let folder = Folder::new();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
