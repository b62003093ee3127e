//! Rules bound to a site meet conversations: verdicts, and the findings that follow from them.
//!
//! Sees no bytes: flows and conversations come in, a [`Report`] goes out. The vantage comes first (`view`), since it limits
//! what may be said; then who plays what (`cast`); then each flow is laid beside the rules that cover it (`matching`),
//! judged as an attempt (`attempt`), and the attempts of each pair are weighed together (`timeline`).

mod attempt;
mod cadence;
mod cast;
mod catalogue;
mod condition;
mod crossing;
mod failing;
mod features;
mod finding;
mod guess;
mod id;
mod judge;
mod leases;
mod lookup;
mod machines;
mod matching;
mod names;
mod own_rules;
mod party;
mod patterns;
mod ports;
mod proxy;
mod requirement;
mod shown;
mod silent;
mod strangers;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeline;
mod unseen;
mod view;
mod walk;

use std::num::NonZeroUsize;

use crate::model::Conclusion;
use crate::model::ConversationKey;
use crate::model::Observed;
use crate::model::Report;
use crate::model::Verdict;
use crate::model::counted;
use crate::rules::Site;
use crate::threads::both;

use cast::Cast;
use catalogue::Catalogue;
use features::Features;
use matching::Matched;
use matching::Matcher;
use requirement::Ground;
use shown::Shown;
use view::View;

/// How an audit is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Optional requirements that fail count as well.
    pub strict: bool,
    /// Threads for what is done with each conversation; none: the calling thread does it all. The report is the same.
    pub workers: Option<NonZeroUsize>,
    /// Whether the process ends once it is told: then the many small pieces of memory that it was found out by are left to the system.
    pub last: bool,
}

/// Holds what was observed against a site. Where the site binds no component, roles are guessed and the report is provisional.
pub fn audit(observed: Observed, site: &Site, options: Options) -> Report {
    of(&observed, site, options)
}

/// The same of what somebody else keeps.
pub fn of(observed: &Observed, site: &Site, options: Options) -> Report {
    let guessed = site.roles.is_empty();
    let by_guess = guessed.then(|| guess::site(observed, site));
    let site = by_guess.as_ref().map_or(site, |guessed| &guessed.site);

    let (view, shown) = both(
        observed.conversations.len(),
        walk::LEAST_SHARE,
        options.workers,
        || View::of(observed, options.workers),
        || Shown::of(observed),
    );
    let cast = Cast::of(site, observed, &shown, &view);
    let features = Features::of(site);
    let catalogue = Catalogue::of(site, &features, &cast);
    let matcher = Matcher::new(observed, &cast, &catalogue);
    let ground = Ground { site, observed, cast: &cast, catalogue: &catalogue, view: &view };
    let wanted = |one: &Matched<'_>| guessed || one.is_covered() || one.asks_proxy;
    let judge::All { mut judged, matched } = judge::all(ground, &matcher, wanted, options.workers);
    let mut bound = requirement::all(ground, &matched);
    if guessed {
        judged = guess::calls_nothing_unexpected(judged);
    }
    name_conversations(&mut bound, &judged);
    let (mut findings, vantage) = both(
        judged.len(),
        walk::LEAST_SHARE,
        options.workers,
        || finding::all(&bound, &judged, options),
        || summary::vantage(observed, &view),
    );
    if guessed {
        findings.extend(failing::all(ground, &matched, &bound));
    }
    let warnings = summary::apply_waivers(site, observed, &mut findings);
    let (conclusion, because) =
        conclude(&bound, &findings, guessed, (cast.has_any_component(), view.hidden()));
    let mut told = summary::site(site, &features, by_guess.as_ref());
    told.assumptions.extend(cast.followed().iter().map(|one| summary::followed(one, &view)));
    told.warnings.extend(warnings);
    let requirements = bound.into_iter().map(|one| one.told).collect();
    let conversations = judged.into_iter().map(|one| one.told).collect();
    if options.last {
        std::mem::forget(matched);
        std::mem::forget((cast, view, shown));
    }
    Report {
        vantage,
        site: told,
        conclusion,
        because,
        requirements,
        conversations,
        findings,
        inputs: observed.inputs.clone(),
        tally: observed.tally.clone(),
    }
}

/// Gives each requirement the ids under which its conversations are told.
fn name_conversations(bound: &mut [requirement::Bound], judged: &[judge::Judged<'_>]) {
    // They stand in the order of their keys.
    let id = |key: &ConversationKey| {
        let at = judged.binary_search_by_key(&key, |one| one.key).ok()?;
        judged.get(at).map(|one| one.told.id.clone())
    };
    for one in bound {
        one.told.conversations = one.conversations.iter().filter_map(id).collect();
    }
}

/// The answer, and why it is inconclusive where it is.
fn conclude(
    bound: &[requirement::Bound],
    findings: &[crate::model::Finding],
    guessed: bool,
    (any_component, hidden): (bool, Option<String>),
) -> (Conclusion, Vec<String>) {
    let mut because = Vec::new();
    if guessed {
        because.push(match any_component {
            true => "the roles were guessed from the traffic".to_owned(),
            false => "nobody said who plays which role, and the traffic does not show it".to_owned(),
        });
        because.extend(hidden);
        return (Conclusion::Inconclusive, because);
    }
    if findings.iter().any(|finding| finding.counts) {
        return (Conclusion::Findings, because);
    }
    let open = |wanted: fn(&Verdict) -> bool| {
        bound.iter().filter(|one| one.matters && wanted(&one.told.verdict)).count()
    };
    for (count, words) in [
        (open(|verdict| matches!(verdict, Verdict::Undecided)), "could not be decided"),
        (open(|verdict| matches!(verdict, Verdict::Unseen)), "never tried"),
        (open(|verdict| matches!(verdict, Verdict::NotVisible)), "outside this mirror"),
    ] {
        if count > 0 {
            because
                .push(format!("{} {words}", counted(count as u64, "required continuous or periodic flow")));
        }
    }
    // What nobody documented may be in there.
    because.extend(hidden);
    if !any_component {
        because.push("the site names no machine of the product".to_owned());
    }
    (if because.is_empty() { Conclusion::Compliant } else { Conclusion::Inconclusive }, because)
}
