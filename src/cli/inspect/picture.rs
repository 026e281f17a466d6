//! What a picture is, by its header.

use std::path::Path;

use crate::{
    dataset::{self, Encoded},
    report::PictureFile,
};

/// Whether the file is called like a picture. What is none after all is told by its reader.
pub(super) fn is_one(path: &Path) -> bool {
    dataset::is_picture(path) && path.is_file()
}

/// What the header of the picture says.
///
/// # Errors
/// It is no picture, or none that is decoded.
pub(super) fn describe(path: &Path) -> miette::Result<PictureFile> {
    let encoded = Encoded::read(path)?;
    let header = encoded.header();
    Ok(PictureFile {
        path: path.to_owned(),
        format: header.format,
        bytes: std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        width: header.width,
        height: header.height,
        colours: header.colours.clone(),
        orientation: header.orientation,
        upright: header.upright_size(),
        texts: encoded.texts(),
    })
}
