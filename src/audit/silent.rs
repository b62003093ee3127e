//! The pairs of one rule that never tried. There may be as many as sources times targets, so they are told by what is left out.

use std::collections::BTreeSet;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::cast::Member;
use super::cast::Party;
use super::catalogue::Entry;

/// A pair that tried: the labels of both parties, and whether it works.
pub type Tried = (CompactString, CompactString, bool);

/// Everybody of whom a rule asks something, with what finds out quickly who tried.
pub struct Silent<'a> {
    sources: &'a [Party],
    targets: &'a [Party],
    /// The targets that nobody owes anything: one success is enough, and they had it.
    satisfied: BTreeSet<usize>,
    /// Who tried with whom, in either order.
    partners: HashMap<&'a str, Vec<&'a str>, RandomState>,
    by_label: HashMap<&'a str, Vec<usize>, RandomState>,
    by_member: HashMap<&'a Member, Vec<usize>, RandomState>,
}

impl<'a> Silent<'a> {
    /// The players of an entry beside the pairs that tried under its rule.
    pub fn of(entry: &Entry<'_>, sources: &'a [Party], targets: &'a [Party], tried: &'a [Tried]) -> Self {
        let mut by_label = HashMap::<&str, Vec<usize>, _>::default();
        let mut by_member = HashMap::<&Member, Vec<usize>, _>::default();
        for (at, target) in targets.iter().enumerate() {
            by_label.entry(target.label.as_str()).or_default().push(at);
            for member in &target.members {
                by_member.entry(member).or_default().push(at);
            }
        }
        let mut partners = HashMap::<&str, Vec<&str>, _>::default();
        let mut satisfied = BTreeSet::new();
        for (source, target, works) in tried {
            partners.entry(source).or_default().push(target);
            partners.entry(target).or_default().push(source);
            if entry.rule.any_caller && *works {
                satisfied.extend(by_label.get(target.as_str()).into_iter().flatten());
            }
        }
        Self { sources, targets, satisfied, partners, by_label, by_member }
    }

    /// The source of the first of them, and how many there are; `None` where there is none.
    pub fn summary(&self) -> Option<(&'a Party, usize)> {
        let (first, _) = self.pairs().next()?;
        let count = self.sources.iter().map(|source| self.targets.len() - self.left_out(source).len());
        Some((first, count.sum()))
    }

    /// Each of them.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a Party, &'a Party)> {
        self.sources.iter().flat_map(move |source| {
            let left_out = self.left_out(source);
            let targets = self.targets.iter().enumerate();
            targets.filter(move |(at, _)| !left_out.contains(at)).map(move |(_, target)| (source, target))
        })
    }

    /// The targets of which a source is asked nothing: itself, those with which something was tried, and those that are satisfied.
    fn left_out(&self, source: &Party) -> BTreeSet<usize> {
        // A role that plays both ends asks nothing of itself.
        let itself = source.members.iter().filter_map(|member| self.by_member.get(member));
        let partners = self.partners.get(source.label.as_str()).into_iter().flatten();
        let tried = partners.filter_map(|partner| self.by_label.get(partner));
        itself.chain(tried).flatten().chain(&self.satisfied).copied().collect()
    }
}
