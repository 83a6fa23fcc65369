//! The rules of one table while it is built: each shared rule once.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use agent_common::unwind::registers::{RBP, RSP};
use agent_common::unwind::rule::{
    General, PackedRule, Plain, Rbp, ReturnAddress, Rule, SharedRule, Special,
};

/// Interns shared rules.
#[derive(Debug, Default)]
pub(super) struct Rules {
    indices: HashMap<SharedRule, u32>,
    shared: Vec<SharedRule>,
}

impl Rules {
    /// The rule in its shortest form.
    pub(super) fn general(&mut self, rule: General) -> PackedRule {
        as_plain(&rule).unwrap_or_else(|| self.shared(SharedRule::general(rule)))
    }

    /// A shared rule's place; [`Special::TooManyRules`] when there is no room.
    pub(super) fn shared(&mut self, rule: SharedRule) -> PackedRule {
        let next = u32::try_from(self.shared.len()).unwrap_or(u32::MAX);
        if let Some(index) = self.indices.get(&rule) {
            return PackedRule::shared(*index)
                .unwrap_or(PackedRule::special(Special::TooManyRules));
        }
        let Some(packed) = PackedRule::shared(next) else {
            return PackedRule::special(Special::TooManyRules);
        };
        self.indices.insert(rule, next);
        self.shared.push(rule);
        packed
    }

    /// What a rule says, if it is a plain one.
    pub(super) fn plain(rule: PackedRule) -> Option<Plain> {
        match rule.resolve(|_| None, 0) {
            Some(Rule::Plain(plain)) => Some(plain),
            _ => None,
        }
    }

    /// All shared rules in the order of their indices.
    pub(super) fn into_shared(self) -> Vec<SharedRule> {
        self.shared
    }
}

/// Nine of ten rules fit into a row.
fn as_plain(rule: &General) -> Option<PackedRule> {
    let by_eights = |offset: i32| {
        let offset = u32::try_from(offset).ok()?;
        offset.is_multiple_of(8).then_some(offset / 8)
    };
    if rule.return_address != ReturnAddress::AtCfa(-8) {
        return None;
    }
    let slot = match rule.rbp {
        Rbp::Unchanged => 0,
        Rbp::AtCfa(offset) => by_eights(offset.checked_neg()?).filter(|slot| *slot > 0)?,
        _ => return None,
    };
    let is_rbp = match rule.register {
        RSP => false,
        RBP => true,
        _ => return None,
    };
    PackedRule::plain(is_rbp, slot, by_eights(rule.offset)?)
}
