//! Names that concern all targets.

/// What LLVM cannot express of a device.
pub mod lowered_features {
    use cubecl_core::ir::DeviceProperties;

    /// The kind of card.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum GpuTarget {
        /// A card of NVIDIA.
        Nvptx,
    }

    /// Would take away what LLVM cannot express. NVRTC can express all of it, so nothing is taken.
    pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
}
