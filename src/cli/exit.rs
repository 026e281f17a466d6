//! Exit codes, and which diagnostic leads to which: the one place that knows both.

use std::process::ExitCode;

use miette::Diagnostic;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, also where there was nothing to do.
    Done,
    /// The work failed.
    Failed,
    /// Something outside is missing or unusable: weights, pictures, a GPU, disk space.
    Missing,
    /// The manifest or the command line is wrong.
    Usage,
    /// `plan --exit-code`, and there is work.
    Work,
    /// The user stopped it; what was finished is kept.
    Interrupted,
    /// A bug in fluxpipe.
    Bug,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Missing => 3,
            Self::Work => 4,
            Self::Bug => 101,
            Self::Interrupted => 130,
        }
    }

    /// Where a diagnostic leads: by its code, or by that of the first cause that has a known one.
    ///
    /// Of several related diagnostics the one that the user has to look at first decides: a wrong
    /// manifest before a missing file before failed work.
    #[must_use]
    pub fn of(diagnostic: &dyn Diagnostic) -> Self {
        if let Some(related) = diagnostic.related()
            && let Some(exit) = related.map(Self::of).max()
        {
            return exit;
        }
        let own = diagnostic.code().and_then(|code| by_code(&code.to_string()));
        let cause = || diagnostic.diagnostic_source().map(Self::of);
        own.or_else(cause).unwrap_or(Self::Failed)
    }
}

/// The first prefix that fits counts.
const BY_CODE: &[(&str, Exit)] = &[
    ("fluxpipe::manifest::missing_file", Exit::Missing),
    ("fluxpipe::manifest::not_a_folder", Exit::Missing),
    ("fluxpipe::manifest", Exit::Usage),
    ("fluxpipe::migrate::read", Exit::Missing),
    ("fluxpipe::migrate", Exit::Usage),
    ("fluxpipe::cli::missing", Exit::Missing),
    ("fluxpipe::cli::wrong_network", Exit::Missing),
    ("fluxpipe::cli::interrupted", Exit::Interrupted),
    ("fluxpipe::cli::write", Exit::Failed),
    ("fluxpipe::cli::store_in_use", Exit::Failed),
    ("fluxpipe::cli::not_known", Exit::Missing),
    ("fluxpipe::cli::not_trained", Exit::Failed),
    ("fluxpipe::cli::no_checkpoint", Exit::Missing),
    ("fluxpipe::cli", Exit::Usage),
    ("fluxpipe::device::unknown", Exit::Usage),
    ("fluxpipe::device", Exit::Missing),
    ("fluxpipe::weights", Exit::Missing),
    ("fluxpipe::onnx", Exit::Missing),
    ("fluxpipe::tagger", Exit::Missing),
    ("fluxpipe::tags", Exit::Missing),
    ("fluxpipe::project", Exit::Usage),
    ("fluxpipe::prompts::broken", Exit::Usage),
    ("fluxpipe::prompts::read", Exit::Missing),
    ("fluxpipe::blip", Exit::Usage),
    ("fluxpipe::sampling::size", Exit::Usage),
    ("fluxpipe::sampling::steps", Exit::Usage),
    ("fluxpipe::sampling::memory", Exit::Missing),
    ("fluxpipe::sampling::host_memory", Exit::Missing),
    ("fluxpipe::train::setting", Exit::Usage),
    ("fluxpipe::train::blocks_to_swap", Exit::Usage),
    ("fluxpipe::train::memory_setting", Exit::Usage),
    ("fluxpipe::train::no_samples", Exit::Missing),
    ("fluxpipe::train::cancelled", Exit::Interrupted),
    ("fluxpipe::train::disk", Exit::Missing),
    ("fluxpipe::train::memory", Exit::Missing),
    ("fluxpipe::train::host_memory", Exit::Missing),
    ("fluxpipe::plan::disk", Exit::Missing),
    ("fluxpipe::dataset::empty", Exit::Missing),
    ("fluxpipe::dataset::read", Exit::Missing),
    ("fluxpipe::dataset::bucket_settings", Exit::Usage),
    ("fluxpipe::dataset::placeholder", Exit::Usage),
    ("fluxpipe::dataset::sidecar_extension", Exit::Usage),
    ("fluxpipe::dataset::shared_key", Exit::Usage),
    ("fluxpipe::dataset::shared_stem", Exit::Usage),
    ("fluxpipe::dataset::file_name", Exit::Usage),
    ("fluxpipe::store::read", Exit::Missing),
    ("fluxpipe::store::version", Exit::Missing),
    ("fluxpipe::store::disk_full", Exit::Missing),
    ("fluxpipe::pipeline::cancelled", Exit::Interrupted),
    ("fluxpipe::pipeline::unknown_stage", Exit::Usage),
    ("fluxpipe::pipeline::unknown_item", Exit::Usage),
    ("fluxpipe::pipeline::unknown_run", Exit::Usage),
    ("fluxpipe::pipeline::nothing_to_bless", Exit::Usage),
    ("fluxpipe::pipeline::not_blessed", Exit::Usage),
    ("fluxpipe::pipeline::busy", Exit::Failed),
    ("fluxpipe::pipeline::unknown_need", Exit::Usage),
    ("fluxpipe::pipeline::cycle", Exit::Usage),
    ("fluxpipe::pipeline::stage_twice", Exit::Usage),
    ("fluxpipe::pipeline::forced_not_selected", Exit::Usage),
    ("fluxpipe::pipeline::upstream_not_ready", Exit::Usage),
];

fn by_code(code: &str) -> Option<Exit> {
    BY_CODE.iter().find(|(prefix, _)| begins(code, prefix)).map(|(_, exit)| *exit)
}

/// Whole parts only: `a::b` begins `a::b::c`, and not `a::bc`.
fn begins(code: &str, prefix: &str) -> bool {
    code.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use miette::miette;

    use super::*;

    #[test]
    fn codes_lead_to_exits() {
        let of = |code: &str| Exit::of(&*miette!(code = code, "x"));
        assert_eq!(of("fluxpipe::manifest::unknown_key"), Exit::Usage);
        assert_eq!(of("fluxpipe::manifest::missing_file"), Exit::Missing);
        assert_eq!(of("fluxpipe::weights::audit"), Exit::Missing);
        assert_eq!(of("fluxpipe::train::loss"), Exit::Failed);
        assert_eq!(of("fluxpipe::manifested"), Exit::Failed);
        assert_eq!(Exit::of(&*miette!("no code")), Exit::Failed);
    }
}
