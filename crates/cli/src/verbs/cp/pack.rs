//! Files of this machine as a tar.

use std::io::{self, Write};
use std::path::Path;

/// Writes `from` under the name that it shall have there. Links stay links.
///
/// # Errors
/// With the path that can't be read, or when nobody reads any more.
pub(super) fn pack(from: &Path, name: &str, to: impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(to);
    builder.follow_symlinks(false);
    // Directories are walked here and not by `append_dir_all`, whose errors name no path.
    let mut open = vec![(from.to_owned(), Path::new(name).to_owned())];
    while let Some((path, name)) = open.pop() {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let kind = std::fs::symlink_metadata(&path).map_err(failed)?.file_type();
        if kind.is_dir() {
            builder.append_dir(&name, &path).map_err(failed)?;
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                open.push((entry.path(), name.join(entry.file_name())));
            }
        } else if kind.is_file() || kind.is_symlink() {
            builder.append_path_with_name(&path, &name).map_err(failed)?;
        } else {
            eprintln!("warning: skipping {}: neither file, directory nor link", path.display());
        }
    }
    builder.into_inner()?.flush()
}
