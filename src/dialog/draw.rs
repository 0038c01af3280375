//! A flow as a picture: its steps in rows by how far they are from the beginning, and the ways between them. SVG, without
//! scripts or fonts of its own.
//!
//! The layout is the simplest that can be read: a row for each distance, ways that go back drawn at the side.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::flow::{Flow, Kind, Piece, Prompt, Step, Target};
use super::hook::Act;
use super::slot::Slot;

impl Flow {
    /// The flow as SVG.
    pub fn draw(&self) -> String {
        Picture::of(self).svg()
    }
}

struct Picture<'a> {
    flow: &'a Flow,
    /// Row and column of each step.
    places: Vec<(usize, usize)>,
    rows: usize,
    columns: usize,
}

impl<'a> Picture<'a> {
    fn of(flow: &'a Flow) -> Self {
        let mut rows: Vec<Option<usize>> = vec![None; flow.steps.len()];
        let mut waiting = VecDeque::from([(flow.start, 0)]);
        while let Some((index, row)) = waiting.pop_front() {
            match rows.get_mut(index) {
                Some(place @ None) => *place = Some(row),
                _ => continue,
            }
            let ways = flow.steps.get(index).map(edges).unwrap_or_default();
            waiting.extend(ways.into_iter().filter_map(|(_, to)| step_of(to)).map(|next| (next, row + 1)));
        }
        let mut taken = vec![0; flow.steps.len() + 1];
        let places: Vec<(usize, usize)> = rows
            .into_iter()
            .map(|row| {
                let row = row.unwrap_or_default();
                let column = taken.get(row).copied().unwrap_or_default();
                if let Some(count) = taken.get_mut(row) {
                    *count += 1;
                }
                (row, column)
            })
            .collect();
        let rows = places.iter().map(|(row, _)| row + 1).max().unwrap_or(1);
        let columns = taken.into_iter().max().unwrap_or(1).max(1);
        Self { flow, places, rows, columns }
    }

    fn svg(&self) -> String {
        let (width, height) = (self.columns * ACROSS + 2 * MARGIN + SIDE, (self.rows + 1) * DOWN + 2 * MARGIN);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{}</title>\n\
             <defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>\n",
            escaped(self.flow.name())
        );
        for (index, step) in self.flow.steps.iter().enumerate() {
            for (place, (label, to)) in edges(step).into_iter().enumerate() {
                self.way(&mut svg, index, place, &label, to);
            }
        }
        for (index, step) in self.flow.steps.iter().enumerate() {
            self.card(&mut svg, index, step);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The upper left corner of a step's card.
    fn corner(&self, index: usize) -> (usize, usize) {
        let (row, column) = self.places.get(index).copied().unwrap_or_default();
        (MARGIN + column * ACROSS, MARGIN + row * DOWN)
    }

    fn card(&self, svg: &mut String, index: usize, step: &Step) {
        let (x, y) = self.corner(index);
        let (kind, colour) = kind(&step.kind);
        let border = if index == self.flow.start { 3 } else { 1 };
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<g><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{colour}\" \
             stroke=\"#333\" stroke-width=\"{border}\"/><text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#555\">{kind}</text><text x=\"{}\" y=\"{}\">{}</text></g>",
            x + 8,
            y + 18,
            escaped(&step.name),
            x + WIDTH - 8,
            y + 18,
            x + 8,
            y + 38,
            escaped(&words(step)),
        );
    }

    fn way(&self, svg: &mut String, from: usize, place: usize, label: &str, to: Target) {
        let (x, y) = self.corner(from);
        let begin = (x + 20 + (place * 24) % (WIDTH - 40), y + HEIGHT);
        let Some(next) = step_of(to) else {
            let (x, y) = begin;
            let _ = writeln!(
                svg,
                "<path d=\"M{x} {y} v14\" stroke=\"#333\" marker-end=\"url(#end)\"/><text x=\"{}\" y=\"{}\" \
                 font-size=\"10\" fill=\"#555\">{} end</text>",
                x + 3,
                y + 14,
                escaped(label)
            );
            return;
        };
        let (to_x, to_y) = self.corner(next);
        let end = (to_x + WIDTH / 2, to_y);
        let back = to_y <= y;
        let path = if back {
            let side = self.columns * ACROSS + MARGIN + (from * 7) % SIDE;
            format!(
                "M{} {} C {side} {} {side} {} {} {}",
                x + WIDTH,
                y + HEIGHT / 2,
                y + HEIGHT / 2,
                to_y + HEIGHT / 2,
                to_x + WIDTH,
                to_y + HEIGHT / 2
            )
        } else {
            format!(
                "M{} {} C {} {} {} {} {} {}",
                begin.0,
                begin.1,
                begin.0,
                begin.1 + 30,
                end.0,
                end.1 - 30,
                end.0,
                end.1
            )
        };
        let (label_x, label_y) = if back { (x + WIDTH + 4, y + HEIGHT / 2 - 4) } else { (begin.0 + 3, begin.1 + 12) };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" marker-end=\"url(#end)\"/><text x=\"{label_x}\" y=\"{label_y}\" \
             font-size=\"10\" fill=\"#555\">{}</text>",
            if back { "#999" } else { "#333" },
            escaped(label)
        );
    }
}

/// Every way out of a step with what leads there.
fn edges(step: &Step) -> Vec<(String, Target)> {
    let keys = |keys: &[(offhook_media::dtmf::Digit, Target)]| -> Vec<(String, Target)> {
        keys.iter().map(|(key, to)| (key.to_string(), *to)).collect()
    };
    let mut ways = match &step.kind {
        Kind::Menu(menu) => menu.choices.iter().map(|choice| (choice.key.to_string(), choice.next)).collect(),
        Kind::Ask(ask) => {
            let tools = ask.tools.iter().filter_map(|tool| match tool.act {
                Act::Goto(to) => Some((tool.spec.name.to_string(), to)),
                Act::Hook { .. } => None,
            });
            keys(&ask.keys).into_iter().chain(tools).chain([(String::new(), ask.next)]).collect()
        }
        Kind::Collect(collect) => {
            let mut ways = vec![(collect.into.to_string(), collect.next)];
            if let Slot::Words { keys: own, .. } = &collect.slot {
                ways.extend(keys(own));
            }
            ways
        }
        Kind::Branch(branch) => {
            let arm = |arm: &super::flow::Arm| {
                let names: Vec<&str> = arm.when.iter().map(|condition| &*condition.variable).collect();
                (format!("{}?", names.join(", ")), arm.next)
            };
            branch.arms.iter().map(arm).chain([("else".to_owned(), branch.otherwise)]).collect()
        }
        Kind::Hook(hook) => vec![(String::new(), hook.next), ("failed".to_owned(), hook.on_failed)],
        Kind::Transfer(transfer) => {
            let ways =
                [("busy", transfer.on_busy), ("no answer", transfer.on_no_answer), ("failed", transfer.on_failed)];
            ways.into_iter().map(|(label, to)| (label.to_owned(), to)).collect()
        }
        Kind::Say { next, .. } | Kind::Play { next, .. } | Kind::Goto(next) | Kind::Set { next, .. } => {
            vec![(String::new(), *next)]
        }
        Kind::Tell(tell) => vec![(String::new(), tell.next)],
        Kind::HangUp { .. } | Kind::Brief { .. } => Vec::new(),
    };
    let give_up = match &step.kind {
        Kind::Menu(menu) => Some(menu.retry.give_up),
        Kind::Ask(ask) => Some(ask.retry.give_up),
        Kind::Collect(collect) => Some(collect.retry.give_up),
        _ => None,
    };
    ways.extend(give_up.map(|to| ("gives up".to_owned(), to)));
    ways
}

const fn kind(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Say { .. } => ("say", "#e8f1fb"),
        Kind::Play { .. } => ("play", "#e8f1fb"),
        Kind::Menu(_) => ("menu", "#fdf3d8"),
        Kind::Ask(_) => ("ask", "#e6f6e6"),
        Kind::Collect(_) => ("collect", "#fdf3d8"),
        Kind::Tell(_) => ("tell", "#e6f6e6"),
        Kind::Hook(_) => ("hook", "#f3e8fb"),
        Kind::Goto(_) => ("goto", "#eeeeee"),
        Kind::Set { .. } => ("set", "#eeeeee"),
        Kind::Branch(_) => ("branch", "#eeeeee"),
        Kind::Transfer(_) => ("transfer", "#fbe8e8"),
        Kind::HangUp { .. } | Kind::Brief { .. } => ("hangup", "#fbe8e8"),
    }
}

/// The beginning of what a step says.
fn words(step: &Step) -> String {
    let first = step.prompts().first().map(|prompt| text(prompt)).unwrap_or_default();
    let short: String = first.chars().take(MOST_CHARS).collect();
    if short.len() < first.len() { format!("{short}…") } else { short }
}

fn text(prompt: &Prompt) -> String {
    let sentence = |template: &super::flow::Template| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => format!("{{{name}}}"),
        };
        template.0.iter().map(piece).collect()
    };
    prompt.0.iter().map(sentence).collect::<Vec<_>>().join(" ")
}

fn step_of(target: Target) -> Option<usize> {
    match target {
        Target::Step(index) => Some(index),
        Target::HangUp => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WIDTH: usize = 240;
const HEIGHT: usize = 50;
const ACROSS: usize = 290;
const DOWN: usize = 120;
const MARGIN: usize = 30;
/// For the ways that go back.
const SIDE: usize = 120;
const MOST_CHARS: usize = 34;

#[cfg(test)]
mod tests {
    use super::super::lines::Catalogue;
    use super::*;

    #[test]
    fn every_step_and_way_of_the_shipped_flows_is_in_the_picture() {
        let catalogue = Catalogue::built_in().unwrap();
        for flow in catalogue.flows() {
            let svg = flow.draw();
            let ways: usize = flow.steps.iter().map(|step| edges(step).len()).sum();
            assert_eq!(svg.matches("marker-end").count(), ways, "{}", flow.name());
            assert_eq!(svg.matches("<g>").count(), flow.steps.len());
            assert!(flow.step_names().all(|name| svg.contains(&format!(">{name}</text>"))));
            let ways_of_rules: usize = flow.steps.iter().map(|step| step.ways().len()).sum();
            assert_eq!(ways, ways_of_rules, "the picture shows what the checks know");
        }
    }

    #[test]
    fn words_cannot_break_the_picture() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
