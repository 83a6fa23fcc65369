//! Blocks of a day -> one block of that day; a day's block and a month's -> the month with that day in it.

use crate::store::block::meta::{Head, Kind};
use crate::store::block::period::Period;
use crate::store::block::read::Contents;
use crate::store::block::write::{BlockWriter, NewSeries, Row, Total, by_window, summed};
use crate::store::block::{Block, Error};
use crate::store::symbols::{Merger, Symbols};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub type LabelPairs = Vec<(String, String)>;

/// What to make.
pub struct Plan<'a> {
    pub(in crate::store) head: Head,
    /// Of each row of the new block.
    pub kind: Kind,
    pub with_hours: bool,
    /// What becomes of a series' labels; None where it is left out.
    pub relabel: &'a dyn Fn(LabelPairs) -> Option<LabelPairs>,
    /// Whether the work is to be given up.
    pub is_stopping: &'a dyn Fn() -> bool,
    /// Windows of an older block of the same period that others are put in place of.
    pub replaced: &'a [u32],
}

struct Input {
    block: Arc<Block>,
    contents: Arc<Contents>,
    /// Of the rows that are taken.
    kind: Kind,
}

/// Where a series of the new block comes from: input, partition and series in it.
type Origins = BTreeMap<LabelPairs, Vec<(usize, u32)>>;

/// Writes the new block into a folder. Gives what could not be read of the inputs: it is not in the new block.
pub fn merge(folder: &Path, plan: Plan<'_>, blocks: &[Arc<Block>]) -> Result<Vec<Error>, Error> {
    let Plan { head, kind, with_hours, relabel, is_stopping, replaced } = plan;
    let (inputs, replaced) = (Vec::new(), replaced.to_vec());
    let mut merge = Merge { period: head.period, kind, inputs, replaced, damage: Vec::new() };
    for block in blocks {
        let contents = block.contents()?;
        let kinds = contents.kinds();
        // What is nearest to the kind that is made, and not coarser.
        let taken = kinds.filter(|have| *have <= kind).max();
        if let Some(taken) = taken {
            merge.inputs.push(Input { block: Arc::clone(block), contents, kind: taken });
        }
    }
    let mut writer = BlockWriter::create(folder, head, kind, with_hours)?;
    for (service, scopes) in merge.scopes() {
        if is_stopping() {
            return Err(Error::Stopping);
        }
        merge.scope(&mut writer, &service, &scopes, relabel)?;
    }
    writer.finish()?;
    Ok(merge.damage)
}

struct Merge {
    period: Period,
    kind: Kind,
    inputs: Vec<Input>,
    replaced: Vec<u32>,
    damage: Vec<Error>,
}

impl Merge {
    /// Each service, with the inputs that have it and its number there.
    fn scopes(&self) -> BTreeMap<String, Vec<(usize, u32)>> {
        let mut scopes: BTreeMap<String, Vec<(usize, u32)>> = BTreeMap::new();
        for (index, input) in self.inputs.iter().enumerate() {
            for (scope, number) in input.contents.body.scopes.iter().zip(0..) {
                let service = input.contents.body.string(scope.service).to_owned();
                scopes.entry(service).or_default().push((index, number));
            }
        }
        scopes
    }

    fn scope(
        &mut self,
        writer: &mut BlockWriter,
        service: &str,
        scopes: &[(usize, u32)],
        relabel: &dyn Fn(LabelPairs) -> Option<LabelPairs>,
    ) -> Result<(), Error> {
        let mut partitions: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for &(index, scope) in scopes {
            let body = &self.inputs[index].contents.body;
            for (number, partition) in body.partitions.iter().enumerate() {
                if partition.scope == scope {
                    let profile_type = body.string(partition.profile_type).to_owned();
                    partitions.entry(profile_type).or_default().push((index, number));
                }
            }
        }
        let all_origins: Vec<_> = partitions
            .into_iter()
            .map(|(profile_type, of_inputs)| {
                let origins = self.origins(&of_inputs, relabel);
                (profile_type, of_inputs, origins)
            })
            .filter(|(_, _, origins)| !origins.is_empty())
            .collect();
        if all_origins.is_empty() {
            return Ok(());
        }
        let stacks = self.stacks(writer, service, scopes)?;
        for (profile_type, of_inputs, origins) in all_origins {
            self.partition(writer, &profile_type, &of_inputs, &origins, &stacks)?;
        }
        Ok(())
    }

    /// For each input, the new number of each stack.
    fn stacks(
        &mut self,
        writer: &mut BlockWriter,
        service: &str,
        scopes: &[(usize, u32)],
    ) -> Result<Vec<Vec<u32>>, Error> {
        let mut symbols = Symbols::default();
        let mut maps = vec![Vec::new(); self.inputs.len()];
        for &(index, scope) in scopes {
            let input = &self.inputs[index];
            let n_stacks =
                input.contents.body.scopes.get(scope as usize).map_or(0, |scope| scope.n_stacks);
            maps[index] = match input.block.symbols(&input.contents, scope) {
                Ok(segment) => {
                    let data = segment.read();
                    let mut merger = Merger::new(&data.symbols, &mut symbols);
                    (0..n_stacks).map(|stack| merger.stack(stack)).collect()
                }
                Err(error @ Error::Damaged { .. }) => {
                    self.damage.push(error);
                    // The values are kept, under a stack without frames.
                    let nameless = symbols.intern_stack(&[]);
                    vec![nameless; n_stacks as usize]
                }
                Err(error) => return Err(error),
            };
        }
        let all: Vec<u32> = (0..symbols.stacks.len() as u32).collect();
        let numbers = writer.scope(service, &symbols, &all)?;
        for stack in maps.iter_mut().flatten() {
            *stack = numbers.get(*stack as usize).copied().unwrap_or(*stack);
        }
        Ok(maps)
    }

    fn origins(
        &self,
        of_inputs: &[(usize, usize)],
        relabel: &dyn Fn(LabelPairs) -> Option<LabelPairs>,
    ) -> Origins {
        let mut origins = Origins::new();
        for &(index, partition) in of_inputs {
            let body = &self.inputs[index].contents.body;
            let Some(partition) = body.partitions.get(partition) else { continue };
            for within in 0..partition.n_series {
                let labels = body.labels(partition.first_series + within);
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                if let Some(labels) = relabel(labels.collect()) {
                    origins.entry(labels).or_default().push((index, within));
                }
            }
        }
        origins
    }

    fn partition(
        &mut self,
        writer: &mut BlockWriter,
        profile_type: &str,
        of_inputs: &[(usize, usize)],
        origins: &Origins,
        stacks: &[Vec<u32>],
    ) -> Result<(), Error> {
        let mut old_totals: BTreeMap<usize, Vec<Vec<Total>>> = BTreeMap::new();
        for &(index, partition) in of_inputs {
            let input = &self.inputs[index];
            let totals = input.contents.series_totals(input.kind, partition);
            let is_old = input.kind == Kind::Days;
            let mut totals = self.or_damage(totals)?;
            if is_old {
                for totals in &mut totals {
                    totals.retain(|total| !self.replaced.contains(&total.seq));
                }
            }
            old_totals.insert(index, totals);
        }
        let mut series = Vec::with_capacity(origins.len());
        // The new series of each old one, and the new number of each of its profiles.
        let mut renumbered: BTreeMap<(usize, u32), (u32, Vec<u32>)> = BTreeMap::new();
        for ((labels, from), number) in origins.iter().zip(0_u32..) {
            let totals = self.totals(from, &old_totals, number, &mut renumbered);
            series.push(self.new_series(labels, from, of_inputs, totals));
        }
        writer.partition(profile_type, &series)?;
        let mut windows: BTreeMap<u32, Vec<(usize, usize, u32)>> = BTreeMap::new();
        for &(index, partition) in of_inputs {
            let input = &self.inputs[index];
            for window in input.contents.windows(input.kind, partition) {
                let new = self.new_window(input, window);
                if input.kind == Kind::Days && self.replaced.contains(&window) {
                    continue;
                }
                windows.entry(new).or_default().push((index, partition, window));
            }
        }
        for (new, from) in windows {
            let mut rows = Vec::new();
            for (index, partition, window) in from {
                let input = &self.inputs[index];
                let old = input.contents.window_rows(input.kind, partition, window);
                for row in self.or_damage(old)? {
                    let Some((series, seqs)) = renumbered.get(&(index, row.series)) else {
                        continue;
                    };
                    let seq = if self.kind == Kind::Raw {
                        seqs.get(row.seq as usize).copied()
                    } else {
                        Some(new)
                    };
                    let stack = stacks[index].get(row.stack as usize).copied();
                    if let (Some(seq), Some(stack)) = (seq, stack) {
                        rows.push(Row { series: *series, stack, seq, value: row.value });
                    }
                }
            }
            rows.sort_unstable();
            // Coarser rows are summed; also where two stacks have become one.
            let mut rows = if self.kind == Kind::Raw { unique(rows) } else { summed(new, &rows) };
            writer.window(new, &mut rows)?;
        }
        Ok(())
    }

    fn or_damage<T: Default>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        match result {
            Err(error @ Error::Damaged { .. }) => {
                self.damage.push(error);
                Ok(T::default())
            }
            result => result,
        }
    }

    fn new_window(&self, input: &Input, window: u32) -> u32 {
        self.period.window_of(input.block.period().window_start_ns(window))
    }

    /// The profiles of a new series, by time.
    fn totals(
        &self,
        from: &[(usize, u32)],
        old_totals: &BTreeMap<usize, Vec<Vec<Total>>>,
        number: u32,
        renumbered: &mut BTreeMap<(usize, u32), (u32, Vec<u32>)>,
    ) -> Vec<Total> {
        let mut all: Vec<(Total, usize, u32)> = Vec::new();
        for &(index, within) in from {
            let old = old_totals.get(&index).and_then(|totals| totals.get(within as usize));
            let old = old.map_or(&[][..], Vec::as_slice);
            renumbered.insert((index, within), (number, vec![0; old.len()]));
            all.extend(old.iter().map(|total| (*total, index, within)));
        }
        all.sort_by_key(|(total, index, _)| (total.time_ns, *index, total.seq));
        let sorted: Vec<Total> = all.iter().map(|(total, ..)| *total).collect();
        if self.kind != Kind::Raw {
            return by_window(self.period, &sorted);
        }
        for ((total, index, within), new) in all.iter().zip(0_u32..) {
            let seqs = renumbered.get_mut(&(*index, *within)).map(|(_, seqs)| seqs);
            if let Some(seq) = seqs.and_then(|seqs| seqs.get_mut(total.seq as usize)) {
                *seq = new;
            }
        }
        sorted.into_iter().zip(0..).map(|(total, seq)| Total { seq, ..total }).collect()
    }

    fn new_series(
        &self,
        labels: &LabelPairs,
        from: &[(usize, u32)],
        of_inputs: &[(usize, usize)],
        totals: Vec<Total>,
    ) -> NewSeries {
        let old = from.iter().filter_map(|(index, within)| {
            let body = &self.inputs[*index].contents.body;
            let (_, partition) = of_inputs.iter().find(|(of, _)| of == index)?;
            let partition = body.partitions.get(*partition)?;
            body.series.get((partition.first_series + within) as usize)
        });
        let mut series =
            NewSeries { labels: labels.clone(), period: 0, bounds: (i64::MAX, i64::MIN), totals };
        for one in old {
            series.period = series.period.max(one.period);
            series.bounds = (series.bounds.0.min(one.bounds.0), series.bounds.1.max(one.bounds.1));
        }
        series
    }
}

/// Sorted rows; those of the same stack and profile, of which damage can make two, are summed.
fn unique(rows: Vec<Row>) -> Vec<Row> {
    let mut unique: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match unique.last_mut() {
            Some(last)
                if (last.series, last.stack, last.seq) == (row.series, row.stack, row.seq) =>
            {
                last.value = last.value.saturating_add(row.value);
            }
            _ => unique.push(row),
        }
    }
    unique
}

/// Labels that come and go with the parts of a service: days are kept without them.
pub const DROPPED_LABELS: [&str; 8] =
    ["pod", "pid", "instance", "host", "hostname", "node", "container_id", "__session_id__"];

pub(in crate::store) fn without_dropped(mut labels: LabelPairs) -> LabelPairs {
    labels.retain(|(name, _)| !DROPPED_LABELS.contains(&name.as_str()));
    labels
}
