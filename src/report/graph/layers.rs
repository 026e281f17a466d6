//! Where each stage goes in the drawing: rows by what it needs, columns so that few arrows cross.

/// A place in a row: a stage, or an arrow that passes through to a later row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Stage(usize),
    Passing,
}

/// The rows, and the arrows between each row and the next (indices of cells).
pub(super) struct Layers {
    pub rows: Vec<Vec<Cell>>,
    pub gaps: Vec<Vec<(usize, usize)>>,
}

/// Lays out `count` stages; `edges` go from the needed stage to the one that needs it, never in a circle.
pub(super) fn lay_out(count: usize, edges: &[(usize, usize)]) -> Layers {
    let mut row_of = vec![0; count];
    // The stages may come in any order; after `count` rounds the longest chain has settled.
    for _ in 0..count {
        for &(from, to) in edges {
            row_of[to] = row_of[to].max(row_of[from] + 1);
        }
    }
    let height = row_of.iter().max().map_or(0, |last| last + 1);
    let mut rows = vec![Vec::new(); height];
    let mut place = vec![0; count];
    for stage in 0..count {
        place[stage] = rows[row_of[stage]].len();
        rows[row_of[stage]].push(Cell::Stage(stage));
    }
    let mut gaps = vec![Vec::new(); height.saturating_sub(1)];
    for &(from, to) in edges {
        let mut at = place[from];
        for row in row_of[from] + 1..row_of[to] {
            rows[row].push(Cell::Passing);
            let next = rows[row].len() - 1;
            gaps[row - 1].push((at, next));
            at = next;
        }
        gaps[row_of[to] - 1].push((at, place[to]));
    }
    let mut layers = Layers { rows, gaps };
    for row in 1..layers.rows.len() {
        layers.sort_below_parents(row);
    }
    layers
}

impl Layers {
    /// Puts the cells of `row` into the order of the middle of what points at them.
    fn sort_below_parents(&mut self, row: usize) {
        let above = &self.gaps[row - 1];
        let middle = |cell: usize| {
            let parents = above.iter().filter(|edge| edge.1 == cell).map(|edge| edge.0 as f64);
            let parents = parents.collect::<Vec<_>>();
            parents.iter().sum::<f64>() / parents.len().max(1) as f64
        };
        let mut order = (0..self.rows[row].len()).collect::<Vec<_>>();
        order.sort_by(|a, b| middle(*a).total_cmp(&middle(*b)));
        let mut new_place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            new_place[*old] = new;
        }
        self.rows[row] = order.iter().map(|old| self.rows[row][*old]).collect();
        self.gaps[row - 1].iter_mut().for_each(|edge| edge.1 = new_place[edge.1]);
        if let Some(below) = self.gaps.get_mut(row) {
            below.iter_mut().for_each(|edge| edge.0 = new_place[edge.0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_arrows_pass_through_the_rows_between() {
        let layers = lay_out(3, &[(0, 1), (1, 2), (0, 2)]);
        assert_eq!(layers.rows[0], [Cell::Stage(0)]);
        assert_eq!(layers.rows[1], [Cell::Stage(1), Cell::Passing]);
        assert_eq!(layers.rows[2], [Cell::Stage(2)]);
        assert_eq!(layers.gaps, [vec![(0, 0), (0, 1)], vec![(0, 0), (1, 0)]]);
    }
}
