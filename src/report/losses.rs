//! The losses of pictures, for people.

use super::theme;
use crate::{
    base::plural,
    stages::losses::{Hard, Losses},
};

/// Characters of a caption that are shown.
const WIDTH: usize = 70;

/// A line per picture, at most `top`, the hardest first.
#[must_use]
pub fn losses(losses: &Losses, top: usize) -> String {
    let shown = losses.pictures.iter().take(top);
    let head = theme::faint("  than others      loss   noise  times  picture\n".to_owned());
    let lines = shown.map(picture).collect::<String>();
    let epochs = match losses.epochs[..] {
        [only] => format!("epoch {only}"),
        _ => plural(losses.epochs.len(), "epoch"),
    };
    let pictures = plural(losses.total, "picture");
    let more = if losses.total > top { "; --top shows more" } else { "" };
    head + &lines + &theme::faint(format!("{pictures} in {epochs} of {}{more}", losses.stage))
}

fn picture(hard: &Hard) -> String {
    let Hard { appearances, loss, sigma, relative, .. } = hard;
    let name = match &hard.item {
        Some(item) => theme::strong(item),
        None => theme::faint(format!("not in the manifest any more ({:.12})", hard.sample)),
    };
    let mut line =
        format!("{relative:>12.2}×  {loss:>8.4}  {sigma:>6.2}  {appearances:>5}  {name}");
    if let Some(caption) = &hard.caption {
        let cut = caption.chars().count() > WIDTH;
        let text = caption.chars().take(WIDTH).collect::<String>();
        line += &theme::faint(format!("  {text}{}", if cut { "…" } else { "" }));
    }
    line + "\n"
}
