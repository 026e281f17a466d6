//! Names that concern NVIDIA's intermediate code.

/// Versions of that code.
pub mod ptx_version {
    use std::{ffi::CString, fmt};

    /// A version. None is ever made, since [`PtxVersion::for_driver`] gives none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PtxVersion(u32);

    impl PtxVersion {
        /// The version that a driver reads: without LLVM it does not matter, so none.
        pub fn for_driver(_driver: i32) -> Option<Self> {
            None
        }

        /// The version as LLVM would be told.
        pub fn target_feature(self) -> CString {
            CString::new(format!("+{self}"))
                .expect("invariant: digits and letters hold no zero byte")
        }
    }

    impl fmt::Display for PtxVersion {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "ptx{}", self.0)
        }
    }
}
