//! What a payload said beyond its protocol's name: versions, names, functions.

use compact_str::CompactString;

use super::PacketRef;

/// The most facts that one flow keeps; a flow that states more has its later ones counted, not kept.
pub const MOST_FACTS: usize = 64;
/// How many more are kept of those that say what is done to a machine: no number of other facts may hide a late write.
const MOST_ACCESS: usize = 8;
/// What the key of such a fact ends with.
pub const ACCESS: &str = ".access";
/// The longest value kept, in bytes; longer text is cut at a character boundary.
pub const LONGEST_VALUE: usize = 255;

/// The fact of an ICMP flow that has its first message's type (RFC 792, RFC 4443), as a number.
pub const ICMP_TYPE: &str = "icmp.type";
/// The same for its code.
pub const ICMP_CODE: &str = "icmp.code";

/// One fact: a dotted key (`tls.version`) and its value in plain words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// `protocol.property`, one of the keys that a protocol documents.
    pub key: &'static str,
    /// The value as text. It comes from the wire: printing it is the formats' job to make safe. Most are a word or a number, and those
    /// need no memory of their own.
    pub value: CompactString,
    /// The packet that first showed it, once the pipeline has tied it to one.
    pub at: Option<PacketRef>,
}

/// The facts of one flow, in the order they were learnt, without repetitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    all: Vec<Fact>,
    /// A bit for each key that is among them, which other keys may share: most of what is asked for is not there, and that shows without a
    /// look at the facts.
    keys: u64,
}

/// The bit of a key: of its length, its first and its last letter.
#[inline]
fn bit(key: &str) -> u64 {
    let letter = |letter: Option<&u8>| letter.map_or(0, |&letter| usize::from(letter));
    let (first, last) = (letter(key.as_bytes().first()), letter(key.as_bytes().last()));
    1 << ((key.len() * 5 + first * 3 + last) % 64)
}

impl Facts {
    /// No facts yet.
    pub const fn new() -> Self {
        Self { all: Vec::new(), keys: 0 }
    }

    /// Adds a fact unless it is known already or the bound is reached.
    pub fn add(&mut self, key: &'static str, value: impl AsRef<str> + Into<CompactString>) {
        let told = shortened(value.as_ref());
        if self.knows(key, told) {
            return;
        }
        let length = told.len();
        let mut value = value.into();
        value.truncate(length);
        self.keep(Fact { key, value, at: None });
    }

    /// Whether a key has this value already. Much of what is stated is, so there is no look at the bits first.
    fn knows(&self, key: &str, value: &str) -> bool {
        // One key is nearly always one place in memory, so that most are told apart without a look at their letters.
        let same = |one: &str| std::ptr::eq(one, key) || one == key;
        self.all.iter().any(|fact| same(fact.key) && fact.value == value)
    }

    /// Adds what is not known, unless the bound is reached.
    fn keep(&mut self, fact: Fact) {
        let more = if self.all.len() >= MOST_FACTS && fact.key.ends_with(ACCESS) { MOST_ACCESS } else { 0 };
        if self.all.len() < MOST_FACTS + more {
            self.keys |= bit(fact.key);
            self.all.push(fact);
        }
    }

    #[inline]
    fn may_have(&self, key: &str) -> bool {
        self.keys & bit(key) != 0
    }

    /// The first value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// The first fact under a key, with its packet.
    pub fn fact(&self, key: &str) -> Option<&Fact> {
        if !self.may_have(key) {
            return None;
        }
        self.all.iter().find(|fact| fact.key == key)
    }

    /// All values under a key.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let some = if self.may_have(key) { self.all.as_slice() } else { &[] };
        some.iter().filter(move |fact| fact.key == key).map(|fact| fact.value.as_str())
    }

    /// All facts.
    pub fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.all.iter()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Ties what is not tied to a packet yet to the one that showed it: the last ones, since facts are told in their order.
    pub fn tie(&mut self, at: PacketRef) {
        for fact in self.all.iter_mut().rev().take_while(|fact| fact.at.is_none()) {
            fact.at = Some(at);
        }
    }

    /// Takes over another list, tying what is new to the packet that showed it.
    pub fn learn(&mut self, news: Facts, at: PacketRef) {
        if self.all.is_empty() {
            *self = news;
            self.tie(at);
            return;
        }
        for fact in news.all {
            if !self.knows(fact.key, &fact.value) {
                self.keep(Fact { at: fact.at.or(Some(at)), ..fact });
            }
        }
    }

    /// Takes over one fact, tied to the packet that showed it where it is new; whether it was.
    pub fn learn_one(
        &mut self,
        key: &'static str,
        value: impl AsRef<str> + Into<CompactString>,
        at: PacketRef,
    ) -> bool {
        let known = self.all.len();
        self.add(key, value);
        let added = self.all.get_mut(known);
        let news = added.is_some();
        if let Some(added) = added {
            added.at = Some(at);
        }
        news
    }
}

/// As much of a value as is kept.
fn shortened(value: &str) -> &str {
    if value.len() <= LONGEST_VALUE {
        return value;
    }
    let cut = (0..=LONGEST_VALUE).rev().find(|&at| value.is_char_boundary(at)).unwrap_or(0);
    value.get(..cut).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_share_a_bit_are_told_apart() {
        let mut facts = Facts::new();
        assert_eq!((facts.get("a.b"), facts.all("a.b").count()), (None, 0));
        facts.add("a.b", "1");
        facts.add("a.b", "1");
        facts.add("a.b", "2");
        assert_eq!(bit("a.b"), bit("axb"));
        assert_eq!((facts.get("axb"), facts.fact("axb")), (None, None));
        assert_eq!(facts.all("a.b").collect::<Vec<_>>(), ["1", "2"]);
        let mut learnt = Facts::new();
        learnt.learn(facts.clone(), PacketRef::NONE);
        assert!(
            !learnt.learn_one("a.b", "2", PacketRef::NONE) && learnt.learn_one("axb", "2", PacketRef::NONE)
        );
        assert_eq!(learnt.get("axb"), Some("2"));
    }
}
