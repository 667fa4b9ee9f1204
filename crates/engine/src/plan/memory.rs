//! Where each buffer lies: one arena, planned from lifetimes.

use std::ops::Range;

use super::{BufferId, Plan};

/// Bytes behind every buffer that may be read, though not what they hold: vectors are loaded whole.
pub(crate) const SLACK: usize = 64;

const ALIGNMENT: usize = 64;

/// The places of a plan's buffers, for a group of some images.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    places: Vec<Place>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Place {
    offset: usize,
    /// From one image of the group to the next; 0 where a buffer lives for one image only.
    step: usize,
    bytes: usize,
}

impl Arena {
    /// Gives buffers that live at the same time different places: the largest first, each at the lowest
    /// offset that is free.
    pub(crate) fn new(plan: &Plan, images: usize) -> Self {
        let lives = lives(plan);
        let mut places: Vec<Place> = plan
            .buffers
            .iter()
            .zip(&lives)
            .map(|(buffer, life)| {
                let step = if life.crosses { buffer.bytes().next_multiple_of(ALIGNMENT) } else { 0 };
                let bytes = step * (images - 1) + buffer.bytes() + SLACK;
                Place { offset: 0, step, bytes: bytes.next_multiple_of(ALIGNMENT) }
            })
            .collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(places[index].bytes));
        let mut placed: Vec<usize> = Vec::new();
        for index in order {
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|&&other| {
                    let (a, b) = (&lives[index].steps, &lives[other].steps);
                    a.start < b.end && b.start < a.end
                })
                .map(|&other| places[other].offset..places[other].offset + places[other].bytes)
                .collect();
            taken.sort_by_key(|range| range.start);
            let mut offset = 0;
            for range in taken {
                if offset + places[index].bytes <= range.start {
                    break;
                }
                offset = offset.max(range.end);
            }
            places[index].offset = offset;
            placed.push(index);
        }
        let bytes = places.iter().map(|place| place.offset + place.bytes).max().unwrap_or(0);
        Self { places, bytes }
    }

    /// The size of the arena.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where an image's buffer lies, with all that lies behind it for other images and the slack.
    pub(crate) fn at_image(&self, buffer: BufferId, image: usize) -> Range<usize> {
        let place = &self.places[buffer.0];
        place.offset + image * place.step..place.offset + place.bytes
    }

    /// The distance between the buffers of two images, in bytes.
    pub(crate) fn step(&self, buffer: BufferId) -> usize {
        self.places[buffer.0].step
    }
}

/// When a buffer is needed.
struct Life {
    /// From the step that writes it to the last one that reads it.
    steps: Range<usize>,
    /// It is needed outside of the loop over images in which it is made.
    crosses: bool,
}

fn lives(plan: &Plan) -> Vec<Life> {
    // Steps between two that take a group run image by image, as one loop.
    let mut loops = Vec::with_capacity(plan.steps.len());
    let mut current = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        let continues = index > 0 && !step.takes_group() && !plan.steps[index - 1].takes_group();
        current += usize::from(index > 0 && !continues);
        loops.push(current);
    }
    let mut lives: Vec<Life> =
        plan.buffers.iter().map(|_| Life { steps: plan.steps.len()..0, crosses: false }).collect();
    let mut made_in = vec![0; plan.buffers.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        made_in[step.output.0] = loops[index];
        lives[step.output.0].crosses |= step.takes_group();
        for buffer in step.inputs.iter().chain([&step.output]) {
            let life = &mut lives[buffer.0];
            life.crosses |= loops[index] != made_in[buffer.0] || step.takes_group();
            life.steps = life.steps.start.min(index)..life.steps.end.max(index + 1);
        }
    }
    for (_, buffer) in &plan.outputs {
        lives[buffer.0].crosses = true;
        lives[buffer.0].steps.end = plan.steps.len();
    }
    // What outlives its loop is written anew for each image, while the others' steps run.
    for life in lives.iter_mut().filter(|life| life.crosses && !life.steps.is_empty()) {
        let (first, last) = (loops[life.steps.start], loops[life.steps.end - 1]);
        let start = loops.iter().position(|&one| one == first).unwrap_or(0);
        let end = loops.iter().rposition(|&one| one == last).map_or(0, |index| index + 1);
        life.steps = start..end;
    }
    lives
}
