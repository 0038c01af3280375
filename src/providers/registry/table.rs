//! The capability table of docs/providers.md, made from the registry so that it cannot say anything else.

use std::fmt::Write as _;

use super::entry::{Category, Entry};

/// One table for each category, as Markdown.
pub fn markdown(entries: &[Entry]) -> String {
    let mut text = String::new();
    for category in Category::ALL {
        let of_category: Vec<&Entry> = entries.iter().filter(|entry| entry.category == category).collect();
        if of_category.is_empty() {
            continue;
        }
        let _ = writeln!(text, "### {}\n", category.as_str());
        text.push_str("| id | provider | client | languages | regions | quality | price | limits | capabilities |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        of_category.iter().for_each(|entry| row(&mut text, entry));
        text.push('\n');
    }
    text
}

fn row(text: &mut String, entry: &Entry) {
    let client = entry.client.map_or("none yet", super::entry::Client::section);
    let list = |all: Vec<&str>, none: &str| if all.is_empty() { none.to_owned() } else { all.join(", ") };
    let languages = list(entry.languages.iter().map(|tag| tag.0.tag()).collect(), "any");
    let regions = list(entry.regions.iter().map(super::entry::Id::as_str).collect(), "any");
    let capabilities = list(entry.capabilities.iter().map(super::entry::Id::as_str).collect(), "");
    let note = entry.note.as_ref().map(|note| format!(". {note}")).unwrap_or_default();
    let cells = [
        format!("`{}`", entry.id.as_str()),
        entry.title.clone(),
        client.to_owned(),
        languages,
        regions,
        entry.quality.0.to_string(),
        price(entry),
        limits(entry),
        format!("{}{note}", capabilities.replace('_', " ")),
    ];
    let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
}

fn price(entry: &Entry) -> String {
    match entry.price {
        None if entry.client.is_some() => "free".to_owned(),
        None => "none listed".to_owned(),
        Some(price) => match price.output_usd {
            Some(output) => format!("${} in, ${} out a {}", price.usd.0, output.0, price.per.as_str()),
            None => format!("${} a {}", price.usd.0, price.per.as_str()),
        },
    }
}

fn limits(entry: &Entry) -> String {
    let limits = &entry.limits;
    let said = [
        limits.requests_per_minute.map(|most| format!("{most} requests a minute")),
        limits.concurrent.map(|most| format!("{most} at once")),
        limits.usd_per_day.map(|most| format!("${} a day", most.0)),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
