//! What payloads state held against what a rule demands of it.

use std::fmt;

use crate::model::Fact;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::rules::Condition;

use super::attempt::Fault;
use super::attempt::State;

/// A fact that a rule rules out.
#[derive(Clone, Copy, Debug)]
pub struct Contradiction<'a> {
    /// What is demanded.
    pub condition: &'a Condition,
    /// What was stated.
    pub fact: &'a Fact,
}

impl fmt::Display for Contradiction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its {} is {} where {} is documented",
            self.condition.key,
            self.fact.value,
            self.condition.wanted()
        )
    }
}

/// The first fact of the flow that does not agree with what is demanded.
pub fn contradiction<'a>(flow: &'a FlowRecord, require: &'a [Condition]) -> Option<Contradiction<'a>> {
    require.iter().find_map(|condition| {
        let stated = flow.classification.facts.iter().filter(|fact| fact.key == condition.key);
        let fact = stated.into_iter().find(|fact| !condition.fits(&fact.value))?;
        Some(Contradiction { condition, fact })
    })
}

/// The state of an attempt whose payload says what the document rules out.
pub fn contradicted(flow: &FlowRecord, require: &[Condition]) -> Option<State> {
    let found = contradiction(flow, require)?;
    let at = found.fact.at.or(flow.classification.proven).unwrap_or(flow.first);
    let evidence = Proofs::new(at, format!("shows {} {}", found.fact.key, found.fact.value));
    let failure = Failure { mechanism: Mechanism::NotAsDocumented, grade: Grade::B, by: None, evidence };
    Some(State::Fails(Fault::Violated, failure, found.to_string()))
}

/// What a flow that contradicts nothing leaves open. All but `.access` is read from the beginning of a flow, so agreement is of the beginning alone.
pub fn shown(flow: &FlowRecord, require: &[Condition]) -> Option<String> {
    let (seen, unseen): (Vec<&Condition>, Vec<&Condition>) =
        require.iter().partition(|condition| flow.classification.facts.get(&condition.key).is_some());
    let keys = |list: &[&Condition]| {
        list.iter().map(|condition| condition.key.as_str()).collect::<Vec<_>>().join(" and ")
    };
    if !unseen.is_empty() {
        return Some(format!("the capture does not show {}", keys(&unseen)));
    }
    // What messages do to a machine is read throughout, all else from the beginning.
    let throughout = seen.iter().all(|condition| condition.key.ends_with(".access"));
    let how_far = match throughout {
        true => "in every message that fills its packets",
        false => "at the beginning of the flow, which alone is read",
    };
    (!seen.is_empty()).then(|| format!("{} as documented {how_far}", keys(&seen)))
}
