//! The page `report.html`: one file that needs nothing else, from an [`Overview`].
//!
//! No script, no network, no font from elsewhere: a policy in its head forbids them, so that no caption can
//! bring one in. Readable without colours, on paper and at the width of a telephone. Knows no stage and
//! reads no file.

mod axis;
mod chart;
mod dataset;
mod drawn;
mod pictures;
mod ran;
mod sources;
mod summary;
mod text;
mod training;

use std::path::Path;

use self::{pictures::Pictures, text::text};
use crate::{base::clock, stages::overview::Overview};

const STYLE: &str = include_str!("style.css");

/// What the page is made with.
struct Page<'a> {
    overview: &'a Overview,
    pictures: Pictures,
    /// Whether files of the output folder lie beside the page, so that it can lead to them.
    beside: bool,
}

/// The page; `beside` says whether it will lie in the output folder, where it can lead to files.
#[must_use]
pub fn html(overview: &Overview, beside: bool) -> String {
    let page = Page { overview, pictures: Pictures::new(), beside };
    // What is looked at first takes its room first.
    let sections = [
        ("", String::new(), page.summary()),
        ("warnings", "To know".to_owned(), page.warnings()),
        ("training", "Training".to_owned(), page.training()),
        ("drawn", "Sample pictures".to_owned(), page.drawn()),
        ("ran", "What ran, and why".to_owned(), page.ran()),
        ("dataset", "Buckets".to_owned(), page.buckets()),
        ("hardest", "Hardest pictures".to_owned(), page.hardest()),
        ("captions", "Captions".to_owned(), page.captions()),
        ("manifest", "Manifest".to_owned(), page.manifest()),
        ("provenance", "Provenance".to_owned(), page.provenance()),
    ];
    let shown = sections.iter().filter(|(_, _, content)| !content.is_empty());
    let links = shown.clone().filter(|(id, ..)| !id.is_empty());
    let links = links.map(|(id, name, _)| format!("<a href=\"#{id}\">{name}</a>"));
    let body = shown.map(|(id, name, content)| match id.is_empty() {
        true => content.clone(),
        false => format!("<section id=\"{id}\">\n<h2>{name}</h2>\n{content}</section>\n"),
    });
    let body = body.collect::<String>();
    let title = text(&overview.name);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"generator\" content=\"fluxpipe {version}\">\n\
         <title>{title} · fluxpipe report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>\n<nav>{links}</nav></header>\n<main>\n{body}</main>\n\
         <footer>{footer}</footer>\n</body>\n</html>\n",
        version = text(overview.version),
        links = links.collect::<Vec<_>>().join(" "),
        footer = page.footer(),
    )
}

impl Page<'_> {
    fn footer(&self) -> String {
        let left_out = match self.pictures.left_out() {
            0 => String::new(),
            count => format!(
                " {count} small pictures are not shown, so that this page stays below 8 MB."
            ),
        };
        format!(
            "Written by fluxpipe {} on {}.{left_out}",
            text(self.overview.version),
            clock::local(self.overview.written)
        )
    }

    /// A path as people find it: from the output folder where it lies there, as a link where the page
    /// lies there too.
    fn file(&self, path: &Path) -> String {
        match path.strip_prefix(&self.overview.output) {
            Ok(inside) if self.beside => {
                let inside = inside.to_string_lossy();
                format!("<a href=\"{}\">{}</a>", text::link(&inside), text(&inside))
            }
            Ok(inside) => text(&inside.to_string_lossy()).to_string(),
            Err(_) => text(&path.to_string_lossy()).to_string(),
        }
    }
}

/// A table with a head.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |cells: Vec<String>| {
        let cells = cells.iter().zip(head);
        let cells = cells.map(|(cell, name)| format!("<td data-name=\"{name}\">{cell}</td>"));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows = rows.map(cells).collect::<String>();
    if rows.is_empty() {
        return rows;
    }
    let head = head.iter().map(|name| format!("<th>{name}</th>")).collect::<String>();
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n")
}

/// What is not shown of many things; empty where all are.
fn shown_of(shown: usize, total: usize, what: &str, how: &str) -> String {
    match shown < total {
        true => format!("<p class=\"cap\">{shown} of {total} {what} are shown{how}.</p>\n"),
        false => String::new(),
    }
}
