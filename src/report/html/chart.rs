//! Line charts as SVG. Each is drawn twice, for wide and for narrow pages, so that its letters keep their
//! size; the style sheet shows one of the two.

use std::fmt::Write;

use super::{
    axis::{labels, ticks},
    text::text,
};

/// A chart of one or more lines over the same axis.
pub struct Chart<'a> {
    /// What it shows, for those who cannot see it.
    pub title: &'a str,
    /// What stands along the horizontal axis.
    pub across: &'a str,
    /// What stands along the vertical axis, with its unit.
    pub up: &'a str,
    /// Of the horizontal axis.
    pub range: (f64, f64),
    /// Of the vertical axis; what lies beyond is cut off.
    pub height: (f64, f64),
    /// Height in pixels on a wide page.
    pub pixels: f64,
    /// The lines, the foremost last.
    pub lines: Vec<Line>,
    /// Places with a word each, such as the ends of epochs.
    pub marks: Vec<(f64, String)>,
}

/// A line of a chart.
pub struct Line {
    /// Its class in the style sheet: `raw`, `smooth`, `held-out`, `rate`.
    pub class: &'static str,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether each point has a dot: a few that were measured.
    pub dots: bool,
}

/// Room for numbers on the left, for a word on top, on the right, and for numbers below.
const MARGINS: (f64, f64, f64, f64) = (56.0, 26.0, 14.0, 38.0);

impl Chart<'_> {
    /// As HTML.
    pub fn html(&self) -> String {
        let narrow = (self.pixels * 0.85).max(110.0);
        self.svg("wide", 920.0, self.pixels) + &self.svg("narrow", 380.0, narrow)
    }

    fn svg(&self, class: &str, width: f64, height: f64) -> String {
        let frame = Frame::new(self, width, height);
        let mut svg = format!(
            "<svg class=\"chart {class}\" viewBox=\"0 0 {width} {height:.0}\" role=\"img\" \
             aria-label=\"{title}\"><title>{title}</title>",
            title = text(self.title)
        );
        frame.draw_axes(self, &mut svg);
        let clip = format!("{class}-{:x}", digest(self.title));
        let (top, bottom) = (frame.top, frame.bottom);
        // Dots at the ends keep their halves.
        let (left, right) = (frame.left - 4.0, frame.right + 4.0);
        let _ = write!(
            svg,
            "<clipPath id=\"{clip}\"><rect x=\"{left}\" y=\"{top}\" width=\"{:.1}\" \
             height=\"{:.1}\"/></clipPath><g clip-path=\"url(#{clip})\">",
            right - left,
            bottom - top
        );
        for line in &self.lines {
            frame.draw_line(line, &mut svg);
        }
        svg + "</g></svg>\n"
    }
}

/// A number that tells the charts of a page apart.
fn digest(title: &str) -> u64 {
    title.bytes().fold(5381, |sum: u64, byte| sum.wrapping_mul(33) ^ u64::from(byte))
}

/// Where the lines of a chart lie in its picture.
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    range: (f64, f64),
    height: (f64, f64),
}

impl Frame {
    fn new(chart: &Chart<'_>, width: f64, height: f64) -> Self {
        let (left, top, right, bottom) = MARGINS;
        let wider =
            |(low, high): (f64, f64)| if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        Self {
            left,
            top,
            right: width - right,
            bottom: height - bottom,
            range: wider(chart.range),
            height: wider(chart.height),
        }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        self.left + (value - low) / (high - low) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.height;
        let share = (value - low) / (high - low);
        // Far beyond the axis is as good as a little beyond it, and no number of a file is too long.
        self.bottom - share.clamp(-1.0, 2.0) * (self.bottom - self.top)
    }

    fn draw_axes(&self, chart: &Chart<'_>, svg: &mut String) {
        let rows = ((self.bottom - self.top) / 44.0).max(2.0) as usize;
        let up = ticks(self.height.0, self.height.1, rows);
        for (value, label) in up.iter().zip(labels(&up)) {
            let y = self.y(*value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"up\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                self.left,
                self.right,
                self.left - 8.0,
                y + 4.0
            );
        }
        let columns = ((self.right - self.left) / 90.0) as usize;
        let across = ticks(self.range.0, self.range.1, columns);
        let whole = across.iter().copied().filter(|value| value.fract().abs() < 1e-9);
        let whole = whole.collect::<Vec<_>>();
        for (value, label) in whole.iter().zip(labels(&whole)) {
            let x = self.x(*value);
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"across\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
                self.bottom,
                self.bottom + 5.0,
                self.bottom + 18.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{0:.1}\" y1=\"{1:.1}\" x2=\"{2:.1}\" y2=\"{1:.1}\"/>\
             <text class=\"name\" x=\"{3:.1}\" y=\"12\">{4}</text>\
             <text class=\"name right\" x=\"{2:.1}\" y=\"{5:.1}\">{6}</text>",
            self.left,
            self.bottom,
            self.right,
            6.0,
            text(chart.up),
            self.bottom + 33.0,
            text(chart.across)
        );
        self.draw_marks(chart, svg);
    }

    /// Marks as lines, with their words where there is room for these.
    fn draw_marks(&self, chart: &Chart<'_>, svg: &mut String) {
        let mut free_from = self.left + 40.0;
        for (place, word) in &chart.marks {
            let x = self.x(*place);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
                self.top, self.bottom
            );
            let width = 7.0 * word.chars().count() as f64;
            if x - width / 2.0 > free_from {
                let x = x.min(self.right - width / 2.0);
                let _ = write!(
                    svg,
                    "<text class=\"mark-name\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                    self.top - 6.0,
                    text(word)
                );
                free_from = x + width / 2.0 + 12.0;
            }
        }
    }

    fn draw_line(&self, line: &Line, svg: &mut String) {
        // Two points to a pixel are as many as can be seen.
        let most = (self.right - self.left) as usize;
        let points = thinned(&line.points, most);
        let places = points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)));
        let places = places.collect::<Vec<_>>();
        let _ = write!(svg, "<polyline class=\"{}\" points=\"{}\"/>", line.class, places.join(" "));
        // A single value has no line to be seen by.
        if line.dots && points.len() <= 60 || points.len() == 1 {
            for (x, y) in &points {
                let (x, y) = (self.x(*x), self.y(*y));
                let class = line.class;
                let _ =
                    write!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            }
        }
    }
}

/// At most about `most` points with the same outline: of as many as fall together the lowest and the
/// highest, in their order.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let finite = points.iter().copied().filter(|(_, y)| y.is_finite()).collect::<Vec<_>>();
    if finite.len() <= most || most < 2 {
        return finite;
    }
    let together = finite.len().div_ceil(most / 2);
    let outline = finite.chunks(together).flat_map(|group| {
        let by = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (lowest, highest) = (group.iter().min_by(by), group.iter().max_by(by));
        let mut two = lowest.into_iter().chain(highest).copied().collect::<Vec<_>>();
        two.sort_by(|one, other| one.0.total_cmp(&other.0));
        two.dedup();
        two
    });
    outline.collect()
}

/// Means of which older values are forgotten: of a value `steps` before, 1/e is left. Nothing counts that
/// came before the first.
pub fn smoothed(values: &[(f64, f64)], steps: f64) -> Vec<(f64, f64)> {
    let keep = (-1.0 / steps.max(1.0)).exp();
    let (mut sum, mut weight) = (0.0, 0.0);
    let finite = values.iter().filter(|(_, y)| y.is_finite());
    let means = finite.map(|(x, y)| {
        (sum, weight) = (keep * sum + y, keep * weight + 1.0);
        (*x, sum / weight)
    });
    means.collect()
}

/// What of these values an axis should show: nearly all, so that a few that lie far out do not press the
/// others together.
pub fn span<'a>(values: impl Iterator<Item = &'a (f64, f64)>) -> Option<(f64, f64)> {
    let mut values = values.map(|(_, y)| *y).filter(|y| y.is_finite()).collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let out = values.len() / 100;
    let (low, high) = (values[out], values[last - out]);
    let room = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-12);
    // Nothing that is measured here is negative.
    Some(((low - room).max(0.0).min(low), high + room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_of_many_points_stays() {
        let mut points = (0..10_000).map(|x| (f64::from(x), 1.0)).collect::<Vec<_>>();
        points[4321].1 = 9.0;
        points[77].1 = f64::NAN;
        let thin = thinned(&points, 800);
        assert!(thin.len() <= 800, "{}", thin.len());
        assert!(thin.contains(&(4321.0, 9.0)));
        assert_eq!(thinned(&points[..5], 800), points[..5]);
    }

    #[test]
    fn a_smoothed_line_begins_with_its_first_value_and_follows() {
        let values = [(1.0, 4.0), (2.0, 4.0), (3.0, f64::NAN), (4.0, 0.0)];
        let smooth = smoothed(&values, 2.0);
        assert_eq!(smooth[0], (1.0, 4.0));
        assert_eq!(smooth.len(), 3);
        assert!(smooth[2].1 > 0.5 && smooth[2].1 < 3.0, "{smooth:?}");
    }

    #[test]
    fn a_few_values_far_out_do_not_stretch_the_axis() {
        let mut values = (0..1000).map(|x| (f64::from(x), f64::from(x % 10))).collect::<Vec<_>>();
        values[5].1 = 1e9;
        let (low, high) = span(values.iter()).unwrap();
        assert!(low <= 0.0 && (9.0..10.0).contains(&high), "{low} {high}");
        assert_eq!(span([].iter()), None);
        // One value has an axis too.
        let (low, high) = span([(1.0, 0.5)].iter()).unwrap();
        assert!(low < 0.5 && high > 0.5);
    }

    #[test]
    fn a_chart_is_two_whole_pictures() {
        let line =
            Line { class: "raw", points: vec![(1.0, 0.5), (2.0, f64::INFINITY)], dots: true };
        let chart = Chart {
            title: "a < b",
            across: "step",
            up: "loss",
            range: (1.0, 2.0),
            height: (0.0, 1.0),
            pixels: 200.0,
            lines: vec![line],
            marks: vec![(1.5, "epoch 1".to_owned())],
        };
        let html = chart.html();
        assert_eq!(html.matches("<svg").count(), 2);
        assert_eq!(html.matches("</svg>").count(), 2);
        assert!(html.contains("a &lt; b") && !html.contains("NaN") && !html.contains("inf"));
        assert!(html.contains("epoch 1"));
    }
}
