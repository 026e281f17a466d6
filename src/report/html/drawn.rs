//! What the model draws: a row for each prompt and seed, from the untrained model to the last one.

use super::{Page, shown_of, text::text};
use crate::{
    base::plural,
    stages::overview::{Drawn, Moment},
};

impl Page<'_> {
    pub(super) fn drawn(&self) -> String {
        let drawn = &self.overview.drawn;
        let mut html = String::new();
        let mut stage = "";
        let stages = drawn.shown.iter().any(|one| one.stage != drawn.shown[0].stage);
        for row in &drawn.shown {
            if stages && row.stage != stage {
                stage = &row.stage;
                html += &format!("<h3>{}</h3>\n", text(stage));
            }
            html += &self.row(row);
        }
        let shown = drawn.shown.iter().map(|row| row.moments.len()).sum();
        let how = "; the others lie in <code>samples</code> of the output folder";
        html + &shown_of(shown, drawn.total, "pictures", how)
    }

    fn row(&self, row: &Drawn) -> String {
        let seed = row.seed.map(|seed| format!("seed {seed}"));
        let settings = seed.into_iter().chain([row.settings.clone()]);
        let settings = settings.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ");
        let negative = row.negative.as_ref();
        let negative = negative.map(|negative| format!(", without “{}”", text(negative)));
        let more = match row.total.saturating_sub(row.moments.len()) {
            0 => String::new(),
            more => format!(" · {} between not shown", plural(more, "picture")),
        };
        let moments = row.moments.iter().map(|moment| self.moment(row, moment));
        let prompt = if row.prompt.is_empty() { "no prompt known" } else { &row.prompt };
        format!(
            "<div class=\"drawn\"><p class=\"prompt\">{} <span class=\"faint\">{}{}{more}</span></p>\
             <div class=\"moments\">{}</div></div>\n",
            text(prompt),
            text(&settings),
            negative.unwrap_or_default(),
            moments.collect::<String>()
        )
    }

    fn moment(&self, row: &Drawn, moment: &Moment) -> String {
        let alt = format!("{}, {}", row.prompt, moment.when);
        let image = self.pictures.image(moment.thumbnail.as_ref(), &alt);
        let inside = moment.path.strip_prefix(&self.overview.output).ok();
        let image = match inside.filter(|_| self.beside) {
            Some(path) => {
                let link = super::text::link(&path.to_string_lossy());
                format!("<a href=\"{link}\">{image}</a>")
            }
            None => image,
        };
        format!("<figure>{image}<figcaption>{}</figcaption></figure>", text(&moment.when))
    }
}
