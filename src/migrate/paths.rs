//! Paths of scripts: they start where the script runs, those of a manifest where it lies. By letters alone; no
//! folder is looked at.

use std::path::{Component, Path, PathBuf};

/// From where paths start, both from the root on.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Where the script runs.
    pub(super) base: PathBuf,
    /// Where the manifest lies.
    pub(super) manifest: PathBuf,
}

impl Paths {
    /// A path of the script from the root on; `folder` is where `cd` has led to.
    pub(super) fn full(&self, folder: &Path, path: &str) -> PathBuf {
        plain(&self.base.join(folder).join(path.replace('\\', "/")))
    }

    /// A path of the script as the manifest writes it.
    pub(super) fn written(&self, folder: &Path, path: &str) -> String {
        // What begins at a root, a drive or a variable stays as it is.
        let drive = path.as_bytes().get(1) == Some(&b':');
        if path.starts_with(['/', '~', '$', '%']) || path.starts_with("\\\\") || drive {
            return path.to_owned();
        }
        let full = self.full(folder, path);
        let text =
            relative(&self.manifest, &full).unwrap_or(full).to_string_lossy().replace('\\', "/");
        if text.is_empty() { ".".to_owned() } else { text }
    }
}

/// Without `.` and `..`.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// `to` as seen from the folder `from`, where they have more than the root in common.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let from = plain(from);
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    if common < 2 {
        return None;
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Some(up.chain(to.components().skip(common)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_manifest() {
        let paths = Paths { base: "/w/scripts".into(), manifest: "/w/mine".into() };
        let written = |path| paths.written(Path::new(""), path);
        assert_eq!(written("pics/a"), "../scripts/pics/a");
        assert_eq!(written("../mine/./b"), "b");
        assert_eq!(written("../mine"), ".");
        assert_eq!(written("/abs/c"), "/abs/c");
        assert_eq!(written("C:\\d"), "C:\\d");
        assert_eq!(written(".\\e\\f"), "../scripts/e/f");
        assert_eq!(written("../../x"), "/x");
        assert_eq!(paths.written(Path::new("finetune"), "../g"), "../scripts/g");
    }
}
