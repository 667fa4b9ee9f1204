//! `report.html`: the report to look at, one file that needs no other and no network.
//!
//! ```text
//! summary (verdict, accuracy, overflow) -> stages (diff, diagram) -> layers -> trade-offs -> images (bitmap, confusion) -> more sections (try_it) -> details
//! ```
//!
//! Whatever comes from a model or a file goes through [`escape::text`]. Should that be forgotten somewhere, the page's
//! content security policy still runs no script but those whose hash stands in it, and loads nothing at all.

mod bitmap;
mod chart;
mod compare;
mod details;
mod diagram;
mod diff;
mod escape;
mod images;
mod layers;
mod line_chart;
mod policy;
mod stages;
mod summary;
mod table;
mod trade_offs;
mod try_it;

pub use compare::compare_html;
pub use try_it::{NETWORK_SCRIPT, network_data, try_it};

use crate::Report;

/// A further part of the page, made elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The anchor: letters, digits and hyphens.
    pub id: String,
    /// The heading, as plain text.
    pub title: String,
    /// The content as HTML, trusted as it is: no `<script>` that is to run, no event handler attributes, nothing loaded
    /// from elsewhere, as the page's policy forbids all three. Blocks of data (`type="application/json"`) are fine.
    pub html: String,
    /// A script that runs when the page is there; empty for none. WebAssembly may be compiled.
    pub script: String,
}

const STYLES: [&str; 2] = [include_str!("page.css"), try_it::STYLE];
const SCRIPT: &str = include_str!("page.js");

/// The report as a page, with further sections behind its own.
pub fn html(report: &Report, sections: &[Section]) -> String {
    let own = [
        ("verdict", "Verdict", summary::verdict(report)),
        ("accuracy", "Accuracy and size, stage by stage", summary::accuracy(report)),
        ("overflow", "Can anything overflow?", summary::overflow(report)),
        ("stages", "What each step did", stages::stages(report)),
        ("layers", "Which layer is the noisiest?", layers::layers(report)),
        ("trade-offs", "Trade-offs", trade_offs::trade_offs(report)),
        ("images", "Images", images::images(report)),
        ("confusion", "Confusion matrices", images::confusions(report)),
    ];
    let mut parts: Vec<(String, String, String)> = own
        .into_iter()
        .filter(|(_, _, content)| !content.is_empty())
        .map(|(id, title, content)| (id.to_owned(), title.to_owned(), content))
        .collect();
    parts.extend(
        sections
            .iter()
            .map(|section| (escape::text(&section.id), escape::text(&section.title), section.html.clone())),
    );
    parts.push(("details".to_owned(), "Details".to_owned(), details::details(report)));
    let scripts = sections.iter().map(|section| section.script.as_str());
    let footer = "Every number that this page does not compute itself is one of <code>report.json</code>, which lies beside this file.";
    whole(
        &format!("{} - onnx2int report", report.model),
        &report.model,
        &summary::head(report),
        &parts,
        scripts,
        footer,
    )
}

/// A page of titled parts, each with its anchor; all but the two titles and the scripts is HTML.
fn whole<'a>(
    title: &str,
    heading: &str,
    head: &str,
    parts: &[(String, String, String)],
    scripts: impl Iterator<Item = &'a str>,
    footer: &str,
) -> String {
    let scripts: Vec<&str> =
        std::iter::once(SCRIPT).chain(scripts).filter(|script| !script.is_empty()).collect();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#{}\">Skip to the content</a>\n",
        policy::policy(&scripts),
        escape::text(title),
        STYLES.concat(),
        parts.first().map_or("", |(id, _, _)| id.as_str())
    );
    page += &format!("<header>\n<h1>{}</h1>\n{head}<nav aria-label=\"Sections\">\n", escape::text(heading));
    for (id, title, _) in parts {
        page += &format!("<a href=\"#{id}\">{title}</a>\n");
    }
    page += "</nav>\n</header>\n<main>\n";
    for (id, title, content) in parts {
        page += &format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{content}</section>\n");
    }
    page += &format!("</main>\n<footer><p>{footer}</p></footer>\n");
    for script in scripts {
        page += &format!("<script>{script}</script>\n");
    }
    page + "</body>\n</html>\n"
}
