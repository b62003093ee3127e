//! Packets of which not even the addresses can be read: whoever is not heard may be heard in them.

use super::View;

/// Reasons for which a whole frame stays dark: encrypted on the air, in pieces there, a link type without a reader.
const DARK: [&str; 3] = ["encrypted-802.11", "in-pieces-802.11", "unknown-link-type"];
/// From one packet in so many on it is said: fewer are what any recording has.
const ONE_IN: u64 = 100;

impl View<'_> {
    /// How many packets stay dark, in words, where they are enough to hide what a host does.
    pub fn hidden(&self) -> Option<String> {
        let tally = &self.observed.tally;
        let dark = || {
            let counted = tally.undecodable.iter().map(|(reason, counted)| (*reason, counted.packets));
            counted.filter(|(reason, _)| DARK.contains(reason))
        };
        let packets: u64 = dark().map(|(_, packets)| packets).sum();
        let reasons: Vec<_> = dark().map(|(reason, _)| reason).collect();
        (packets > 0 && packets.saturating_mul(ONE_IN) >= tally.packets).then(|| {
            format!("{packets} of {} packets hide what is in them ({})", tally.packets, reasons.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::testing::observed;
    use crate::audit::view::View;
    use crate::model::PacketRef;

    #[test]
    fn a_few_hide_nothing() {
        let hidden = |reason: &'static str, dark: u64| {
            let mut seen = observed(Vec::new(), 10_000);
            seen.tally.packets = 1_000;
            (0..dark).for_each(|_| seen.tally.undecodable(reason, PacketRef::default()));
            View::of(&seen, None).hidden()
        };
        assert_eq!(hidden("encrypted-802.11", 9), None);
        let told = hidden("encrypted-802.11", 10).expect("one in a hundred");
        assert!(told.starts_with("10 of ") && told.contains("encrypted-802.11"), "{told}");
        assert_eq!(hidden("no-data-802.11", 900), None, "beacons hide nobody");
    }
}
