//! Text to rulesets and sites. Knows no packet.
