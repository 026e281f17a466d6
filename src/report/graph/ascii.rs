//! Boxes in rows, joined by arrows.

use std::cmp::Ordering;

use super::{
    Drawing, Look,
    layers::{Cell, Layers, lay_out},
};

/// Blank columns between two boxes.
const BETWEEN: usize = 3;

pub(super) fn draw(drawing: &Drawing, look: Look) -> String {
    let layers = lay_out(drawing.stages.len(), &drawing.edges());
    let centres = centres(drawing, &layers);
    let mut canvas = Canvas::default();
    let mut top = 0;
    for (row, cells) in layers.rows.iter().enumerate() {
        for (cell, centre) in cells.iter().zip(&centres[row]) {
            match cell {
                Cell::Stage(stage) => boxed(&mut canvas, drawing, *stage, *centre, top),
                Cell::Passing => {
                    (0..BOX_HEIGHT).for_each(|y| canvas.join(*centre, top + y, UP | DOWN))
                }
            }
        }
        top += BOX_HEIGHT;
        if let Some(gap) = layers.gaps.get(row) {
            top += arrows(
                &mut canvas,
                gap,
                &centres[row],
                &centres[row + 1],
                &layers.rows[row + 1],
                top,
            );
        }
    }
    canvas.text(drawing, look)
}

/// Border, name, state, border.
const BOX_HEIGHT: usize = 4;

fn lines(drawing: &Drawing, stage: usize) -> [String; 2] {
    let node = &drawing.stages[stage];
    let kind = node.kind_beside_name().map(|kind| format!(" ({kind})"));
    let state = node.state.as_ref().map(super::Standing::text);
    [format!("{}{}", node.name, kind.unwrap_or_default()), state.unwrap_or_default()]
}

/// Always odd, so that a box has a middle column.
fn width(drawing: &Drawing, cell: Cell) -> usize {
    match cell {
        Cell::Stage(stage) => {
            let longest = lines(drawing, stage).iter().map(|line| line.chars().count()).max();
            (longest.unwrap_or(0) + 4) | 1
        }
        Cell::Passing => 1,
    }
}

/// The middle column of every cell; rows are centred on the widest one.
fn centres(drawing: &Drawing, layers: &Layers) -> Vec<Vec<usize>> {
    let widths = |row: &[Cell]| row.iter().map(|cell| width(drawing, *cell)).collect::<Vec<_>>();
    let total =
        |row: &[Cell]| widths(row).iter().sum::<usize>() + BETWEEN * row.len().saturating_sub(1);
    let widest = layers.rows.iter().map(|row| total(row)).max().unwrap_or(0);
    let place = |row: &Vec<Cell>| {
        let mut left = (widest - total(row)) / 2;
        let centre = |width: usize| {
            let centre = left + width / 2;
            left += width + BETWEEN;
            centre
        };
        widths(row).into_iter().map(centre).collect()
    };
    layers.rows.iter().map(place).collect()
}

fn boxed(canvas: &mut Canvas, drawing: &Drawing, stage: usize, centre: usize, top: usize) {
    let half = width(drawing, Cell::Stage(stage)) / 2;
    let (left, right, bottom) = (centre - half, centre + half, top + BOX_HEIGHT - 1);
    canvas.across(left, right, top);
    canvas.across(left, right, bottom);
    canvas.down(left, top, bottom);
    canvas.down(right, top, bottom);
    for (line, text) in lines(drawing, stage).iter().enumerate() {
        canvas.write(left + 2, top + 1 + line, text, stage, line == 1);
    }
}

/// Draws the arrows of one gap and tells its height.
///
/// Targets that need exactly the same stages share a horizontal line, so a line always joins all
/// that come in above with all that leave below.
fn arrows(
    canvas: &mut Canvas,
    gap: &[(usize, usize)],
    above: &[usize],
    below: &[usize],
    targets: &[Cell],
    top: usize,
) -> usize {
    let mut tracks: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for target in 0..below.len() {
        let mut sources =
            gap.iter().filter(|edge| edge.1 == target).map(|edge| edge.0).collect::<Vec<_>>();
        sources.sort_unstable();
        sources.dedup();
        match tracks.iter_mut().find(|track| track.0 == sources) {
            _ if sources.is_empty() => {}
            Some(track) => track.1.push(target),
            None => tracks.push((sources, vec![target])),
        }
    }
    untangle(&mut tracks, above, below);
    let height = tracks.len();
    for (line, (sources, targets)) in tracks.iter().enumerate() {
        let y = top + line;
        let columns = sources.iter().map(|s| above[*s]).chain(targets.iter().map(|t| below[*t]));
        let (left, right) = columns.fold((usize::MAX, 0), |(l, r), x| (l.min(x), r.max(x)));
        canvas.across(left, right, y);
        sources.iter().for_each(|source| canvas.down(above[*source], top.saturating_sub(1), y));
        targets.iter().for_each(|target| canvas.down(below[*target], y, top + height));
    }
    for (line, (sources, targets)) in tracks.iter().enumerate() {
        for (other, (their_sources, their_targets)) in tracks.iter().enumerate() {
            let passes = |x: &usize| match other.cmp(&line) {
                Ordering::Less => {
                    sources.iter().any(|s| above[*s] == *x)
                        && !their_sources.iter().any(|s| above[*s] == *x)
                }
                Ordering::Greater => {
                    targets.iter().any(|t| below[*t] == *x)
                        && !their_targets.iter().any(|t| below[*t] == *x)
                }
                Ordering::Equal => false,
            };
            above
                .iter()
                .chain(below)
                .filter(|x| passes(x))
                .for_each(|x| canvas.pass(*x, top + other));
        }
    }
    for (target, cell) in targets.iter().enumerate() {
        let reached = gap.iter().any(|edge| edge.1 == target);
        if reached && matches!(cell, Cell::Stage(_)) {
            canvas.head(below[target], top + height);
        }
    }
    height
}

/// Orders the tracks so that an arrow coming in at a column ends above one leaving at the same column.
fn untangle(tracks: &mut [(Vec<usize>, Vec<usize>)], above: &[usize], below: &[usize]) {
    for _ in 0..tracks.len() {
        for upper in 1..tracks.len() {
            let leaves = tracks[upper - 1].1.iter().map(|target| below[*target]);
            let comes = |x: usize| tracks[upper].0.iter().any(|source| above[*source] == x);
            if leaves.into_iter().any(comes) {
                tracks.swap(upper - 1, upper);
            }
        }
    }
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;
const HEAD: u8 = 16;
/// An arrow that crosses a line without joining it.
const PASS: u8 = 32;

#[derive(Clone, Copy, Default)]
struct Spot {
    lines: u8,
    letter: Option<(char, usize, bool)>,
}

#[derive(Default)]
struct Canvas {
    rows: Vec<Vec<Spot>>,
}

impl Canvas {
    fn spot(&mut self, x: usize, y: usize) -> &mut Spot {
        if self.rows.len() <= y {
            self.rows.resize(y + 1, Vec::new());
        }
        if self.rows[y].len() <= x {
            self.rows[y].resize(x + 1, Spot::default());
        }
        &mut self.rows[y][x]
    }

    fn join(&mut self, x: usize, y: usize, lines: u8) {
        self.spot(x, y).lines |= lines;
    }

    fn across(&mut self, left: usize, right: usize, y: usize) {
        for x in left..right {
            self.join(x, y, RIGHT);
            self.join(x + 1, y, LEFT);
        }
    }

    fn down(&mut self, x: usize, top: usize, bottom: usize) {
        for y in top..bottom {
            self.join(x, y, DOWN);
            self.join(x, y + 1, UP);
        }
    }

    fn head(&mut self, x: usize, y: usize) {
        self.join(x, y, HEAD);
    }

    fn pass(&mut self, x: usize, y: usize) {
        self.join(x, y, PASS);
    }

    fn write(&mut self, x: usize, y: usize, text: &str, stage: usize, state: bool) {
        for (offset, letter) in text.chars().enumerate() {
            self.spot(x + offset, y).letter = Some((letter, stage, state));
        }
    }

    fn text(&self, drawing: &Drawing, look: Look) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for run in row.chunk_by(|a, b| owner(a) == owner(b)) {
                let glyphs = run.iter().map(|spot| glyph(*spot, look)).collect::<String>();
                match owner(&run[0]).and_then(|stage| drawing.stages[stage].state.as_ref()) {
                    Some(state) if look.colour => line += &state.paint(&glyphs),
                    _ => line += &glyphs,
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// The stage whose state is written here.
fn owner(spot: &Spot) -> Option<usize> {
    spot.letter.and_then(|(_, stage, state)| state.then_some(stage))
}

fn glyph(spot: Spot, look: Look) -> char {
    if let Some((letter, ..)) = spot.letter {
        return letter;
    }
    if spot.lines & HEAD != 0 {
        return if look.terminal { '▼' } else { 'v' };
    }
    if spot.lines & PASS != 0 {
        return if look.terminal { '│' } else { '|' };
    }
    if !look.terminal {
        return match spot.lines {
            0 => ' ',
            UP | DOWN | 3 => '|',
            LEFT | RIGHT | 12 => '-',
            _ => '+',
        };
    }
    match spot.lines {
        0 => ' ',
        UP | DOWN | 3 => '│',
        LEFT | RIGHT | 12 => '─',
        6 => '┐',
        10 => '┌',
        5 => '┘',
        9 => '└',
        7 => '┤',
        11 => '├',
        14 => '┬',
        13 => '┴',
        _ => '┼',
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawing;
    use crate::report::Look;

    #[test]
    fn the_usual_five_stages() {
        let five = drawing(&[
            ("label", "label", &[]),
            ("tag", "tag", &[]),
            ("merge", "merge", &["label", "tag"]),
            ("cache", "cache", &["merge"]),
            ("finetune", "finetune", &["cache"]),
        ]);
        insta::assert_snapshot!(five.ascii(Look { colour: false, terminal: true }));
        let plain = five.ascii(Look::PLAIN);
        assert!(plain.is_ascii(), "{plain}");
    }

    #[test]
    fn arrows_across_rows_and_shared_needs() {
        let other = drawing(&[
            ("a", "label", &[]),
            ("b", "tag", &[]),
            ("c", "tag", &[]),
            ("d", "merge", &["a", "b"]),
            ("e", "merge", &["a", "b"]),
            ("f", "cache", &["d", "c"]),
        ]);
        insta::assert_snapshot!(other.ascii(Look { colour: false, terminal: true }));
    }
}
