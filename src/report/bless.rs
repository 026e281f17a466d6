//! What a blessing accepts, as people read it.

use super::{Places, plan::reason_lines, theme};
use crate::{
    base::plural,
    pipeline::{Accepted, Blessing, Refused},
};

/// What is accepted, although what changed; and what is left to run.
#[must_use]
pub fn blessing(blessing: &Blessing, places: Places<'_>) -> String {
    let mut text = String::new();
    let did = if blessing.at.is_some() { "accepted" } else { "would be accepted" };
    for Accepted { stage, items, first, reasons, more_reasons } in &blessing.accepted {
        let more = match items - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let stage = theme::strong(stage);
        text += &format!("{stage}: {} {did}: {}{more}\n", plural(*items, "item"), first.join(", "));
        text += "  although this changed since they were made:\n";
        for line in reason_lines(reasons, *items, *more_reasons, places) {
            text += &format!("    {line}\n");
        }
    }
    for Refused { stage, item, because, part } in &blessing.refused {
        let because = because.words(part.as_deref().unwrap_or_default());
        text += &format!("{}\n", theme::faint(format!("{stage} {item} is left to run: {because}")));
    }
    let reason = &blessing.reason;
    text += &match &blessing.at {
        Some(at) => format!("\nremembered for ever: {reason} ({at})\n"),
        None => format!(
            "\nnothing was written; without --dry-run it is remembered for ever: {reason}\n"
        ),
    };
    text
}
