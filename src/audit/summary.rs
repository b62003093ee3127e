//! The parts of a report that tell how it came about: the site as read, the mirror's view, and waivers.

use std::collections::BTreeSet;

use crate::model::Copies;
use crate::model::Finding;
use crate::model::Host;
use crate::model::Observed;
use crate::model::RoleSummary;
use crate::model::RulesetSummary;
use crate::model::SiteSummary;
use crate::model::Timestamp;
use crate::model::Vantage;
use crate::rules::Binding;
use crate::rules::Site;

use super::features::Features;
use super::guess::Guessed;
use super::leases::Followed;
use super::view::View;
use super::view::in_a_row;

/// Share of pairs heard from one side from which on the mirror itself is called one-sided.
const ONE_SIDED: f64 = 0.3;

/// The most mirrors told apart.
const MIRRORS_TOLD: usize = 8;

/// The site as the reader gave it.
pub fn site(site: &Site, features: &Features<'_>, by_guess: Option<&Guessed>) -> SiteSummary {
    let guesses = by_guess.map_or(&[][..], |guessed| &guessed.guesses);
    let notes = by_guess.map_or(&[][..], |guessed| &guessed.notes);
    let roles = site.roles.iter().map(|(role, bindings)| RoleSummary {
        role: role.clone(),
        endpoints: bindings.iter().map(binding).collect(),
        guessed: guesses.iter().find(|guess| guess.role == *role).map(|guess| guess.evidence.clone()),
    });
    SiteSummary {
        name: site.name.clone(),
        file: site.file.clone(),
        rulesets: site
            .rulesets
            .iter()
            .map(|ruleset| RulesetSummary {
                id: ruleset.id.clone(),
                title: ruleset.title.clone(),
                revision: ruleset.revision.clone(),
            })
            .collect(),
        features: features.told(),
        roles: roles.collect(),
        assumptions: features.assumptions().into_iter().chain(notes.iter().cloned()).collect(),
        provisional: by_guess.is_some(),
        warnings: site.warnings.clone(),
    }
}

/// An address that counts as another one because its machine got it by a lease.
pub fn followed(one: &Followed, view: &View<'_>) -> String {
    format!(
        "{} counts as {}: the machine {} had that address before and got this one by DHCP ({}); bind it by mac: to have that said",
        one.address,
        one.bound,
        one.mac,
        view.packet(one.at)
    )
}

/// A binding as the site file would write it.
fn binding(binding: &Binding) -> String {
    let at = |cell: &Option<String>| cell.as_ref().map_or(String::new(), |cell| format!("@{cell}"));
    match binding {
        Binding::Address { ip, cell } => format!("{ip}{}", at(cell)),
        Binding::Prefix { net, cell } => format!("{net}{}", at(cell)),
        Binding::Mac(mac) => format!("mac:{mac}"),
        Binding::Host(pattern) => format!("host:{pattern}"),
        Binding::AnyOf(several) => several.iter().map(self::binding).collect::<Vec<_>>().join(" or "),
    }
}

/// The mirror's view with what it means for the verdicts.
pub fn vantage(observed: &Observed, view: &View<'_>) -> Vantage {
    let mut vantage = observed.vantage.clone();
    if observed.vantage.loss().is_none() && observed.vantage.dropped.is_none() {
        vantage.notes.push(format!(
            "too little traffic to tell loss: {} bytes of TCP payload were acknowledged",
            observed.vantage.acknowledged_bytes
        ));
    }
    vantage.notes.extend(copies(vantage.copies));
    let recordings = view.recordings();
    for (recording, files) in recordings.in_several_files() {
        vantage.notes.push(format!(
            "{} are taken for one recording in {files} files: each begins where the one before it ends",
            recordings.name(recording)
        ));
    }
    vantage.notes.extend(mirrors(view));
    if let Some(missing) = view.missing_in_all().filter(|missing| missing.caps()) {
        vantage.notes.push(format!(
            "{}: grades are capped at C, and silence that loss could explain stays undecided",
            view.told_missing(missing)
        ));
    }
    let lossy = view.lossy_mirrors();
    vantage.notes.extend(lossy.iter().take(MIRRORS_TOLD).map(|&(recording, vlans, tunnels, missing)| {
        format!(
            "mirror {}: about {:.1} % of the traffic is missing there",
            place(view, recording, vlans, tunnels),
            missing.share() * 100.0
        )
    }));
    if lossy.len() > MIRRORS_TOLD {
        vantage.notes.push(format!("{} more mirrors that miss packets", lossy.len() - MIRRORS_TOLD));
    }
    let of_text = |text: &String| text.split_once(" (").map(|(ip, _)| ip.to_owned());
    let mut overlapping: BTreeSet<String> = vantage.overlapping.iter().filter_map(of_text).collect();
    for (ip, macs, told) in view.shared_addresses() {
        let ip = Host::Ip(ip).text();
        if overlapping.insert(ip.as_str().to_owned()) {
            vantage.overlapping.push(format!("{ip} ({})", in_a_row(macs, ", ")));
        }
        vantage
            .notes
            .push(format!("{told}; what is concluded from silence or resets there has grade C at most"));
    }
    if vantage.has_lost_a_direction() == Some(true) {
        vantage.notes.push(format!("{}, and silence there proves nothing", vantage.lost_in_words()));
    } else if vantage.pairs > 0 && vantage.one_sided_pairs as f64 / vantage.pairs as f64 >= ONE_SIDED {
        vantage.notes.push(format!(
            "{} of {} pairs of hosts are heard in one direction only: this mirror copies one side, and silence of the other proves nothing",
            vantage.one_sided_pairs, vantage.pairs
        ));
    }
    if let Some(dark) = view.hidden() {
        let radio = dark.contains("802.11");
        let advice = if radio {
            "; what goes over the air is clear on the wired side of its access point"
        } else {
            ""
        };
        vantage.notes.push(format!("{dark}: what they would have shown counts as not seen{advice}"));
    }
    if vantage.cut_packets > 0 {
        vantage.notes.push(format!(
            "{} packets are cut by a snap length: what stood behind the cut was not seen",
            vantage.cut_packets
        ));
    }
    vantage
}

/// Which of several mirrors show one direction only.
fn mirrors(view: &View<'_>) -> Vec<String> {
    let seen = view.directions();
    let mirrors = seen.len();
    let told = seen
        .into_iter()
        .filter(|(_, (all, one_sided))| *one_sided as f64 / (*all).max(1) as f64 >= ONE_SIDED);
    let mut told: Vec<_> = told.collect();
    // What all of them show is told of the capture as a whole.
    if told.len() == mirrors {
        return Vec::new();
    }
    told.sort_by_key(|(key, (all, _))| (std::cmp::Reverse(*all), *key));
    let more = told.len().saturating_sub(MIRRORS_TOLD);
    let mut notes: Vec<String> = told
        .into_iter()
        .take(MIRRORS_TOLD)
        .map(|((recording, vlans, tunnels), (all, one_sided))| {
            format!(
                "mirror {}: {one_sided} of {all} opened connections are heard in one direction only",
                place(view, recording, vlans, tunnels)
            )
        })
        .collect();
    if more > 0 {
        notes.push(format!("{more} more mirrors (VLANs, tunnels) with fewer connections"));
    }
    notes
}

/// Why the mirror delivers packets more than once.
fn copies(known: Copies) -> Option<String> {
    let kinds = [
        (known.routed, "before and behind a router (their time to live differs)"),
        (known.other_vlan, "in several VLANs"),
        (known.other_way, "with other MAC addresses or tunnels"),
        (known.same, "alike in everything"),
    ];
    let told: Vec<String> =
        kinds.iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{n} {how}")).collect();
    (!told.is_empty())
        .then(|| format!("packets that the mirror delivers twice are counted once: {}", told.join(", ")))
}

/// Which of several mirrors is meant.
fn place(view: &View<'_>, recording: usize, vlans: &[u16], tunnels: &[String]) -> String {
    let recordings = view.recordings();
    let mut parts: Vec<String> = Vec::new();
    if recordings.count() > 1 {
        parts.push(recordings.name(recording));
    }
    parts.extend(vlans.iter().map(|vlan| format!("VLAN {vlan}")));
    parts.extend(tunnels.iter().cloned());
    if parts.is_empty() { "without VLAN or tunnel".to_owned() } else { parts.join(", ") }
}

/// Takes out findings that somebody answers for, and tells which waivers have expired or matched nothing.
pub fn apply_waivers(site: &Site, observed: &Observed, findings: &mut Vec<Finding>) -> Vec<String> {
    let now = observed.vantage.last.unwrap_or(Timestamp::MIN);
    let mut words = Vec::new();
    for waiver in &site.waivers {
        let named =
            waiver.finding.as_deref().map_or_else(|| "by match".to_owned(), |id| format!("of finding {id}"));
        if waiver.until.is_some_and(|until| now > until) {
            words.push(format!(
                "the waiver {named} by {} ('{}') expired before this capture and does not count",
                waiver.owner, waiver.reason
            ));
            continue;
        }
        if let Some(id) = &waiver.finding {
            let before = findings.len();
            findings.retain(|finding| finding.id != *id);
            if findings.len() < before {
                words.push(format!("finding {id} is waived by {}: {}", waiver.owner, waiver.reason));
            } else {
                words.push(format!(
                    "the waiver {named} by {} matches no finding of this capture",
                    waiver.owner
                ));
            }
        }
    }
    words
}
