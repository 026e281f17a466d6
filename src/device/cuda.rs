//! What of CUDA is installed, found without loading any of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The parts of CUDA that are needed at run time, where they were found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Toolkit {
    /// The driver's library.
    pub driver: Option<PathBuf>,
    /// The compiler of kernels.
    pub nvrtc: Option<PathBuf>,
    /// The folder of the headers that kernels include.
    pub headers: Option<PathBuf>,
}

impl Toolkit {
    /// Looks where the system's loader and Burn will look.
    #[must_use]
    pub fn find() -> Self {
        let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
        let paths = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = env::split_paths(&paths).collect::<Vec<_>>();
        let library = |name| in_folders(&folders, name).or_else(|| in_cache(&cache, name));
        Self {
            driver: library("libcuda.so"),
            nvrtc: library("libnvrtc.so"),
            headers: root().map(|root| root.join("include")).filter(|include| complete(include)),
        }
    }

    /// What of it is missing, in words; `None` if nothing is.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let parts = [
            (&self.driver, "the driver's library libcuda.so"),
            (&self.nvrtc, "the kernel compiler libnvrtc.so"),
            (&self.headers, "the headers of the toolkit (include/cuda_runtime.h and cuda_fp16.h)"),
        ];
        let missing = parts.iter().filter(|(found, _)| found.is_none()).map(|(_, name)| *name);
        let missing = missing.collect::<Vec<_>>();
        (!missing.is_empty()).then(|| format!("not found: {}", missing.join(", ")))
    }
}

/// The folder that Burn takes for the toolkit's.
fn root() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CUDA_PATH") {
        return Some(path.into());
    }
    let usual = ["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from);
    let found = usual.into_iter().find(|path| path.exists());
    found.or_else(|| Path::new("/usr/bin/nvcc").exists().then(|| PathBuf::from("/usr")))
}

fn complete(include: &Path) -> bool {
    ["cuda_runtime.h", "cuda_fp16.h"].iter().all(|header| include.join(header).is_file())
}

/// A file called `name` or `name.MAJOR`, the names under which libraries are opened.
fn in_folders(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let usual =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    folders.iter().map(PathBuf::as_path).chain(usual.iter().map(Path::new)).find_map(|folder| {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let mut found = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(|file| is_library(file, name)));
        found.next().map(|entry| entry.path())
    })
}

/// The same in the loader's cache, whose strings are paths that end with a zero byte.
fn in_cache(cache: &[u8], name: &str) -> Option<PathBuf> {
    let texts = cache.split(|&byte| byte == 0).filter_map(|text| str::from_utf8(text).ok());
    let mut paths = texts.filter_map(|text| text.find('/').map(|at| Path::new(&text[at..])));
    let found = paths.find(|path| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| is_library(file, name)) && path.exists()
    });
    found.map(Path::to_owned)
}

fn is_library(file: &str, name: &str) -> bool {
    file.strip_prefix(name).is_some_and(|rest| match rest.strip_prefix('.') {
        Some(version) => !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_the_names_they_are_opened_with() {
        for (file, expected) in [
            ("libnvrtc.so", true),
            ("libnvrtc.so.13", true),
            ("libnvrtc.so.13.0.88", false),
            ("libnvrtc-builtins.so.13", false),
            ("libnvrtc.so.", false),
        ] {
            assert_eq!(is_library(file, "libnvrtc.so"), expected, "{file}");
        }
    }

    #[test]
    fn a_folder_of_the_loader_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libfluxpipe-test.so.3");
        fs::write(&library, "").unwrap();
        let folders = [folder.path().to_owned()];
        assert_eq!(in_folders(&folders, "libfluxpipe-test.so"), Some(library.clone()));
        let cache = format!("head\0{}\0tail", library.display());
        assert_eq!(in_cache(cache.as_bytes(), "libfluxpipe-test.so"), Some(library));
        assert_eq!(in_cache(cache.as_bytes(), "libother.so"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = Toolkit::default().missing().unwrap();
        assert!(none.contains("libcuda.so") && none.contains("libnvrtc.so"), "{none}");
        let some = || Some(PathBuf::from("/x"));
        assert_eq!(Toolkit { driver: some(), nvrtc: some(), headers: some() }.missing(), None);
    }
}
