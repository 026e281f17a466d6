//! Renaming without replacing, for which the standard library has no call.

use std::{io, path::Path};

/// Renames `from` to `to`, which must not be there.
///
/// # Errors
/// It is there, the file system cannot do this, or the folder cannot be written.
#[cfg(target_os = "linux")]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    use std::{ffi::CString, os::unix::ffi::OsStrExt};
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (from, to) = (name(from)?, name(to)?);
    // SAFETY: both are texts that end in a zero byte and live until the call returns.
    #[expect(unsafe_code, reason = "the standard library has no call for this")]
    let code = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same through a second name: a kill between the two calls leaves both.
#[cfg(not(target_os = "linux"))]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}
