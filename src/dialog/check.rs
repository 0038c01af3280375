//! What only the whole graph shows: steps that nothing reaches, silent loops, variables read before they are set.
//!
//! Each of these would be found by a caller otherwise: as a prompt that never comes, a call that never ends or a gap
//! where a number should be. Step numbers were made by `decode.rs` from names that exist, so indexing cannot fail.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::decode::Draft;
use super::flow::{Kind, Step, Target};
use super::yaml::FlowError;

/// Checks a flow that has been read.
pub(super) fn flow(draft: &Draft) -> Result<(), FlowError> {
    every_step_is_reached(draft)?;
    no_loop_is_silent(draft)?;
    variables_are_set(draft)
}

fn every_step_is_reached(draft: &Draft) -> Result<(), FlowError> {
    let steps = &draft.flow.steps;
    let mut reached = vec![false; steps.len()];
    let mut waiting = VecDeque::from([draft.flow.start]);
    while let Some(index) = waiting.pop_front() {
        if std::mem::replace(&mut reached[index], true) {
            continue;
        }
        waiting.extend(steps[index].ways().iter().filter_map(|way| step_of(way.to)));
    }
    match reached.iter().position(|reached| !reached) {
        None => Ok(()),
        Some(index) => Err(draft.places[index].error("a step that some other step leads to")),
    }
}

/// A caller who does nothing must come to an end, or, where the flow is `endless`, at least to a pause.
fn no_loop_is_silent(draft: &Draft) -> Result<(), FlowError> {
    let steps = &draft.flow.steps;
    for (index, step) in steps.iter().enumerate() {
        if pauses(step) && draft.flow.endless {
            continue;
        }
        if comes_back_silently(draft, index) {
            let what = if draft.flow.endless {
                "a `wait_ms` in a loop that hears nothing from the caller"
            } else {
                "a way to the end for a caller who says nothing, found a loop (or set `endless: true`)"
            };
            return Err(draft.places[index].error(what));
        }
    }
    Ok(())
}

fn pauses(step: &Step) -> bool {
    matches!(
        step.kind,
        Kind::Say { wait: Some(_), .. }
            | Kind::Play { wait: Some(_), .. }
            | Kind::Menu(_)
            | Kind::Ask(_)
            | Kind::Collect(_)
    )
}

fn comes_back_silently(draft: &Draft, start: usize) -> bool {
    let steps = &draft.flow.steps;
    let mut seen = vec![false; steps.len()];
    let mut waiting = vec![start];
    while let Some(index) = waiting.pop() {
        for next in steps[index].ways().iter().filter(|way| way.silent).filter_map(|way| step_of(way.to)) {
            if next == start {
                return true;
            }
            let through = !(draft.flow.endless && pauses(&steps[next]));
            if through && !std::mem::replace(&mut seen[next], true) {
                waiting.push(next);
            }
        }
    }
    false
}

/// A variable may be read only where every way from the start has set it.
fn variables_are_set(draft: &Draft) -> Result<(), FlowError> {
    let steps = &draft.flow.steps;
    let mut set_at: Vec<Option<BTreeSet<Arc<str>>>> = vec![None; steps.len()];
    let known = draft.flow.inputs.iter().chain(draft.flow.variables.iter().map(|(name, _)| name));
    set_at[draft.flow.start] = Some(known.cloned().collect());
    let mut waiting = VecDeque::from([draft.flow.start]);
    while let Some(index) = waiting.pop_front() {
        let here = set_at[index].clone().unwrap_or_default();
        for way in steps[index].ways() {
            let Some(next) = step_of(way.to) else { continue };
            let mut after = here.clone();
            after.extend(way.sets.into_iter().cloned());
            let merged = match &set_at[next] {
                None => after,
                Some(before) => before.intersection(&after).cloned().collect(),
            };
            if set_at[next].as_ref() != Some(&merged) {
                set_at[next] = Some(merged);
                waiting.push_back(next);
            }
        }
    }
    for (index, step) in steps.iter().enumerate() {
        let set = set_at[index].clone().unwrap_or_default();
        let unset = step.reads().into_iter().find(|name| !set.contains(*name));
        if let Some(name) = unset {
            let what = format!("variables that were set on every way here, found {{{name}}}");
            return Err(draft.places[index].error(what));
        }
    }
    Ok(())
}

fn step_of(target: Target) -> Option<usize> {
    match target {
        Target::Step(index) => Some(index),
        Target::HangUp => None,
    }
}
