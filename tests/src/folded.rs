//! A file of folded stacks → questions to it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// `comm;frame;…` → number of samples.
pub struct Folded(BTreeMap<String, u64>);

impl std::fmt::Debug for Folded {
    /// The most frequent stacks only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut stacks: Vec<_> = self.0.iter().collect();
        stacks.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (stack, count) in stacks.into_iter().take(30) {
            let shown: String = stack.chars().take(600).collect();
            writeln!(f, "{count} {shown}")?;
        }
        Ok(())
    }
}

impl Folded {
    /// Reads a file; an error where it is not as the format says.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut stacks = BTreeMap::new();
        for line in text.lines() {
            let (stack, count) =
                line.rsplit_once(' ').with_context(|| format!("no count in {line:?}"))?;
            let count: u64 = count.parse().with_context(|| format!("no count in {line:?}"))?;
            ensure!(
                count > 0 && !stack.is_empty() && !stack.split(';').any(str::is_empty),
                "an empty part in {line:?}"
            );
            ensure!(stacks.insert(stack.to_owned(), count).is_none(), "a stack twice: {stack}");
        }
        Ok(Self(stacks))
    }

    /// Samples of the stacks for which `keep` says so: comm first, then the frames from the root on.
    pub fn count(&self, keep: impl Fn(&[&str]) -> bool) -> u64 {
        let kept = self.0.iter().filter(|(stack, _)| keep(&stack.split(';').collect::<Vec<_>>()));
        kept.map(|(_, count)| count).sum()
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
