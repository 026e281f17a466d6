//! What can be wrong with a dataset.

use std::path::PathBuf;

use miette::Diagnostic;

/// Why a folder, a picture or a sidecar cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum DatasetError {
    /// A file or folder cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    #[diagnostic(code(fluxpipe::dataset::read), help("check the path and that you may read it"))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without a single picture.
    #[error("{folder} holds no picture")]
    #[diagnostic(
        code(fluxpipe::dataset::empty),
        help(
            "put pictures there ({}), or set `recursive = true` if they lie in folders below",
            super::scan::EXTENSIONS.join(", ")
        )
    )]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// Pictures that would share their sidecars, of one folder or of several.
    #[error("{}", shared(groups))]
    #[diagnostic(
        code(fluxpipe::dataset::shared_stem),
        help(
            "rename all pictures of such a group but one, or move them away; pictures of several \
             [[dataset]] may also have a folder of `sidecars` for each"
        )
    )]
    SharedStem {
        /// The pictures that have one name but for their folder and extension: two or more in each
        /// group.
        groups: Vec<Vec<PathBuf>>,
    },
    /// Two pictures in different folders that would share an entry of `meta_data.json`.
    #[error("{first} and {second} would both be `{key}` in the metadata")]
    #[diagnostic(
        code(fluxpipe::dataset::shared_key),
        help("set `full_path = true`, so that entries are named by the whole path")
    )]
    SharedKey {
        /// The key.
        key: String,
        /// The picture that comes first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A file name that is not Unicode.
    #[error("the name of {path} is not UTF-8")]
    #[diagnostic(
        code(fluxpipe::dataset::file_name),
        help("rename the file: names go into JSON files, which hold only Unicode")
    )]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// A file name with a line end, or another character that is none to see.
    #[error("the name of {path:?} holds a character that is none to see")]
    #[diagnostic(
        code(fluxpipe::dataset::control_name),
        help(
            "rename the file: such a name reads as another one, or as several lines, wherever it is shown; a \
             shell completes it after its first letters"
        )
    )]
    ControlName {
        /// The file.
        path: PathBuf,
    },
    /// The file is no picture, or a damaged one.
    #[error("{path} is not a readable picture: {reason}")]
    #[diagnostic(
        code(fluxpipe::dataset::not_a_picture),
        help(
            "open it in an image viewer; replace it if it is damaged, move it away if it is no picture"
        )
    )]
    NotAPicture {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A picture of a format that is not decoded here.
    #[error("{path} is a {format}")]
    #[diagnostic(
        code(fluxpipe::dataset::format),
        help(
            "save it as PNG, WebP or JPEG and replace it; `docs/pictures.md` lists the formats that are decoded"
        )
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is: `picture in the format AVIF, which is not decoded`.
        format: String,
    },
    /// A picture with more pixels than fluxpipe decodes.
    #[error(
        "{path} has {width} × {height} pixels, more than the {} million that are decoded",
        super::PIXEL_LIMIT / 1_000_000
    )]
    #[diagnostic(
        code(fluxpipe::dataset::too_large),
        help("reduce it first: training uses a few megapixels at most")
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// Bucket settings that give no buckets.
    #[error("no buckets can be made: {reason}")]
    #[diagnostic(code(fluxpipe::dataset::bucket_settings), help("change {setting}"))]
    BucketSettings {
        /// What is wrong.
        reason: String,
        /// The settings to change.
        setting: &'static str,
    },
    /// A picture that no bucket fits.
    #[error("a picture of {width} × {height} pixels fits no bucket: {reason}")]
    #[diagnostic(code(fluxpipe::dataset::no_bucket), help("{help}"))]
    NoBucket {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Why.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// A sidecar that is not text.
    #[error("{path} is not UTF-8 text (byte {at} is not part of a character)")]
    #[diagnostic(
        code(fluxpipe::dataset::not_text),
        help("open it in an editor and save it as UTF-8")
    )]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// A sidecar that is longer than any caption.
    #[error(
        "{path} is too long: a caption or tags have {} bytes at most",
        super::sidecar::TEXT_LIMIT
    )]
    #[diagnostic(
        code(fluxpipe::dataset::too_long),
        help("is it another file that has the ending of sidecars? move it away, or shorten it")
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A sidecar extension under which a picture would be overwritten.
    #[error("`{extension}` cannot be the extension of a sidecar")]
    #[diagnostic(
        code(fluxpipe::dataset::sidecar_extension),
        help("choose one that no picture has, such as `.caption` or `.txt`")
    )]
    SidecarExtension {
        /// What was asked for.
        extension: String,
    },
    /// A `meta_data.json` that is not what it should be.
    #[error("{path} is not a metadata file: {reason}")]
    #[diagnostic(code(fluxpipe::dataset::metadata), help("{help}"))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// A caption template with a placeholder that stands for nothing.
    #[error("`{{{name}}}` in the caption template stands for nothing")]
    #[diagnostic(
        code(fluxpipe::dataset::placeholder),
        help("a template may use {{caption}} and {{tags}}")
    )]
    Placeholder {
        /// The name between the braces.
        name: String,
    },
}

/// Names each group, the first ones in full: a folder that was converted as a whole has as many
/// groups as pictures.
fn shared(groups: &[Vec<PathBuf>]) -> String {
    const SHOWN: usize = 10;
    let names = |group: &Vec<PathBuf>| {
        let names = group.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        names.join(" and ")
    };
    let stem = |group: &Vec<PathBuf>| group.first().map(|path| path.with_extension(""));
    let in_one_folder = |group: &Vec<PathBuf>| {
        let first = stem(group);
        group.iter().all(|path| Some(path.with_extension("")) == first)
    };
    let one_folder = groups.iter().all(in_one_folder);
    if let [group] = groups {
        let why = if one_folder { "differ only in their extension, so they " } else { "" };
        return format!("{} {why}would share one sidecar", names(group));
    }
    let why = if one_folder { "differ only in their extension, so each " } else { "" };
    let mut text = format!("{} groups of pictures {why}would share one sidecar:", groups.len());
    for group in groups.iter().take(SHOWN) {
        text += &format!("\n{}", names(group));
    }
    if groups.len() > SHOWN {
        text += &format!("\nand {} more", groups.len() - SHOWN);
    }
    text
}
