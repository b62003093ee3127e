//! Which features of which ruleset are in force, for everybody or between two roles.

use std::collections::BTreeSet;

use crate::rules::Rule;
use crate::rules::Site;

/// The features in force at a site.
#[derive(Debug)]
pub struct Features<'a> {
    site: &'a Site,
    /// Assumed because the site says nothing either way: ruleset index and feature.
    assumed: BTreeSet<(usize, &'a str)>,
}

impl<'a> Features<'a> {
    /// Reads the site's switches and adds what the rulesets assume.
    pub fn of(site: &'a Site) -> Self {
        let mut assumed = BTreeSet::new();
        for (at, ruleset) in site.rulesets.iter().enumerate() {
            for (name, feature) in &ruleset.features {
                let named = |wanted: &str| {
                    site.features.iter().any(|switch| {
                        switch.feature == wanted && switch.ruleset.as_ref().is_none_or(|id| *id == ruleset.id)
                    })
                };
                if feature.assumed && !named(name) && !feature.excludes.as_deref().is_some_and(named) {
                    assumed.insert((at, name.as_str()));
                }
            }
        }
        Self { site, assumed }
    }

    /// What was assumed, in plain words.
    pub fn assumptions(&self) -> Vec<String> {
        self.assumed
            .iter()
            .filter_map(|&(at, name)| {
                let ruleset = self.site.rulesets.get(at)?;
                let other = ruleset.features.get(name)?.excludes.as_deref().unwrap_or("another mode");
                Some(format!(
                    "{}: no mode given, '{name}' is assumed (say '{other}' under features if it is not)",
                    ruleset.id
                ))
            })
            .collect()
    }

    /// The features of a rule that are not in force between two roles; none means that the rule applies.
    pub fn missing(&self, ruleset: usize, rule: &'a Rule, from: &str, to: &str) -> Vec<&'a str> {
        rule.when.iter().map(String::as_str).filter(|feature| !self.on(ruleset, feature, from, to)).collect()
    }

    fn on(&self, ruleset: usize, feature: &str, from: &str, to: &str) -> bool {
        let Some(known) = self.site.rulesets.get(ruleset) else { return false };
        self.assumed.contains(&(ruleset, feature))
            || self.site.features.iter().any(|switch| {
                switch.feature == feature
                    && switch.ruleset.as_ref().is_none_or(|id| *id == known.id)
                    && switch
                        .between
                        .as_ref()
                        .is_none_or(|(a, b)| (a == from && b == to) || (a == to && b == from))
            })
    }

    /// All features in force as text, for the head of a report.
    pub fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self
            .site
            .features
            .iter()
            .map(|switch| {
                let ruleset = switch.ruleset.as_ref().map_or(String::new(), |id| format!("{id}:"));
                let between =
                    switch.between.as_ref().map_or(String::new(), |(a, b)| format!(" (between {a} and {b})"));
                format!("{ruleset}{}{between}", switch.feature)
            })
            .collect();
        told.extend(self.assumed.iter().map(|(_, name)| format!("{name} (assumed)")));
        told
    }
}
