//! What it was made from: the manifest, the networks, the program.

use super::{Page, table, text::text};
use crate::{base::Digest, report::words};

/// Bytes of a manifest that are shown.
const MANIFEST: usize = 200_000;

impl Page<'_> {
    pub(super) fn manifest(&self) -> String {
        let manifest = &self.overview.manifest;
        let set = manifest.set.iter();
        let set = set.map(|(path, value)| {
            format!("<li><code>{} = {}</code></li>\n", text(path), text(value))
        });
        let set = set.collect::<String>();
        let set = match set.is_empty() {
            true => set,
            false => format!("<p>The command line said instead:</p>\n<ul>\n{set}</ul>\n"),
        };
        let shown = super::text::shortened(&manifest.text, MANIFEST);
        let cap = match shown.len() < manifest.text.len() {
            true => "<p class=\"cap\">Its beginning is shown.</p>\n",
            false => "",
        };
        format!(
            "{set}<details><summary>{} {}</summary>\n<pre>{}</pre>\n{cap}</details>\n",
            text(&manifest.path.display().to_string()),
            digest(&manifest.digest),
            text(&shown)
        )
    }

    pub(super) fn provenance(&self) -> String {
        let overview = self.overview;
        let models = overview.models.iter().map(|model| {
            let known = model.digest.as_ref().map(digest);
            vec![
                format!("<code>{}</code>", text(model.name)),
                format!("<span class=\"item\">{}</span>", text(&model.path.display().to_string())),
                words::bytes(model.bytes),
                known.unwrap_or_else(|| "not readable".to_owned()),
            ]
        });
        let models = table(&["Network", "File", "Size", "BLAKE3"], models);
        let made = overview.trainings.iter().flat_map(|training| &training.checkpoints);
        let made = made.map(|made| {
            vec![self.file(&made.path), words::bytes(made.bytes), digest(&made.digest)]
        });
        let made = table(&["Checkpoint", "Size", "BLAKE3"], made);
        let run =
            overview.runs.shown.iter().find(|run| run.worked()).or(overview.runs.shown.first());
        let run = run.map(|run| {
            format!(
                "<dt>Run</dt><dd><code>{}</code>, fluxpipe {}</dd>\n",
                text(&run.id),
                text(&run.version)
            )
        });
        format!(
            "{models}{made}<dl>\n{}<dt>Manifest</dt><dd>{}</dd>\n<dt>Output folder</dt><dd>{}</dd>\n</dl>\n",
            run.unwrap_or_default(),
            digest(&overview.manifest.digest),
            text(&overview.output.display().to_string())
        )
    }
}

/// The first digits, with all of them for whoever asks.
fn digest(digest: &Digest) -> String {
    format!("<code title=\"{}\">{}</code>", digest.hex(), digest.short())
}
