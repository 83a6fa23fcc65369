//! A pprof profile → stacks with names, root first, and the questions that tests ask of them.

use anyhow::{Context, Result, bail};
use protocol::profile::Profile;

/// One frame as a flame graph would show it. Inlined frames stand after those that they were inlined into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    pub function: String,
    /// Without its folder.
    pub file: String,
    pub line: i64,
    /// Of the mapping; `[kernel.kallsyms]` of the kernel.
    pub module: String,
    pub is_inlined: bool,
}

/// One stack and its value of one sample type.
#[derive(Debug, Clone)]
pub struct Stack {
    pub frames: Vec<Frame>,
    pub value: i64,
}

/// All stacks of a profile.
#[derive(Debug, Clone, Default)]
pub struct Stacks(pub Vec<Stack>);

impl Stacks {
    /// Takes the values of sample type number `value_index`.
    pub fn of(profile: &Profile, value_index: usize) -> Result<Self> {
        let mut stacks = Vec::new();
        for sample in &profile.sample {
            let mut frames = Vec::new();
            for id in sample.location_id.iter().rev() {
                frames.extend(frames_of(profile, *id)?);
            }
            let value = *sample.value.get(value_index).context("a sample without that value")?;
            stacks.push(Stack { frames, value });
        }
        Ok(Self(stacks))
    }

    pub fn total(&self) -> i64 {
        self.0.iter().map(|stack| stack.value).sum()
    }

    /// Those stacks that pass through a function.
    #[must_use]
    pub fn through(&self, function: &str) -> Self {
        self.filtered(|stack| {
            stack.frames.iter().any(|frame| is_function(&frame.function, function))
        })
    }

    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&Stack) -> bool) -> Self {
        Self(self.0.iter().filter(|stack| keep(stack)).cloned().collect())
    }

    /// The share of the stacks that pass through a function, in percent.
    pub fn percent(&self, function: &str) -> f64 {
        100.0 * self.through(function).total() as f64 / self.total().max(1) as f64
    }

    /// The heaviest stacks as text, for the message of a failed test.
    pub fn shown(&self) -> String {
        let mut stacks = self.0.clone();
        stacks.sort_by_key(|stack| -stack.value);
        let line = |stack: &Stack| {
            let frames: Vec<String> = stack.frames.iter().map(Frame::shown).collect();
            let shown: String = frames.join(";").chars().take(400).collect();
            format!("{:>14} {shown}", stack.value)
        };
        let lines: Vec<String> = stacks.iter().take(25).map(line).collect();
        format!("{} stacks, total {}:\n{}", stacks.len(), self.total(), lines.join("\n"))
    }
}

impl Frame {
    fn shown(&self) -> String {
        let mark = if self.is_inlined { "_[i]" } else { "" };
        format!("{}{mark}@{}:{}", self.function, self.file, self.line)
    }
}

/// Whether a frame's name is that function's: alone, or as the last part of a path, with or without parameters.
pub fn is_function(name: &str, function: &str) -> bool {
    let bare = name.split('(').next().unwrap_or(name);
    bare == function
        || bare
            .strip_suffix(function)
            .is_some_and(|rest| rest.ends_with("::") || rest.ends_with('.'))
}

fn frames_of(profile: &Profile, location_id: u64) -> Result<Vec<Frame>> {
    let location = profile.location.iter().find(|location| location.id == location_id);
    let Some(location) = location else {
        bail!("a sample names location {location_id}, which is not there")
    };
    let text = |index: i64| profile.string_table.get(index as usize).cloned().unwrap_or_default();
    let base = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mapping = profile.mapping.iter().find(|mapping| mapping.id == location.mapping_id);
    let module = mapping.map(|mapping| base(text(mapping.filename))).unwrap_or_default();
    let mut frames = Vec::new();
    // The last line is the function that the others were inlined into.
    for (index, line) in location.line.iter().rev().enumerate() {
        let function = profile.function.iter().find(|function| function.id == line.function_id);
        let function = function.with_context(|| {
            format!("a line names function {}, which is not there", line.function_id)
        })?;
        frames.push(Frame {
            function: text(function.name),
            file: base(text(function.filename)),
            line: line.line,
            module: module.clone(),
            is_inlined: index > 0,
        });
    }
    if frames.is_empty() {
        bail!("location {location_id} has no line: a frame without a name");
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::is_function;

    #[test]
    fn names_match_whole_parts_only() {
        for (name, function, expected) in [
            ("burn_60", "burn_60", true),
            ("split::burn_60", "burn_60", true),
            ("main.burn60", "burn60", true),
            ("ns::burn_60(int)", "burn_60", true),
            ("slow_burn_60", "burn_60", false),
            ("burn_601", "burn_60", false),
        ] {
            assert_eq!(is_function(name, function), expected, "{name}");
        }
    }
}
