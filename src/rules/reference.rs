//! Words of a text that refer to something known: services, protocols, roles, features, rules.

use toml::de::DeValue;

use super::Condition;
use super::Service;
use super::diagnostic::Sink;
use super::reader::Table;
use super::reader::Value;
use super::reader::Word;
use super::reader::some_words;
use super::reader::words;
use super::suggest::did_you_mean;
use super::suggest::quoted;
use super::value;

/// A service or a list of them, for rules and sites alike.
pub(super) fn service_list(sink: &mut Sink<'_>, value: &Value<'_>) -> Vec<Service> {
    let mut services = Vec::new();
    for text in some_words(sink, value, "'service'") {
        match value::services(text.text) {
            Ok(parsed) => {
                for service in parsed {
                    if services.contains(&service) {
                        sink.error(text.span(), format!("{service} is listed twice"));
                    } else {
                        services.push(service);
                    }
                }
            }
            Err(slip) => slipped(sink, text, slip),
        }
    }
    services
}

/// Protocol words, for rules and sites alike.
pub(super) fn protocol_words(sink: &mut Sink<'_>, value: &Value<'_>, protocols: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // Words with a dot are keys of facts.
    let protocols: Vec<&str> = protocols.iter().copied().filter(|word| !word.contains('.')).collect();
    for protocol in words(sink, value) {
        if !protocols.contains(&protocol.text) {
            let spelled: String = protocol.text.to_lowercase().replace(['/', ' ', '_'], "-");
            let other_name =
                PROTOCOL_ALIASES.iter().find(|(alias, _)| *alias == spelled).map(|(_, word)| *word);
            let help = match other_name.filter(|word| protocols.contains(word)) {
                Some(word) => Some(format!("did you mean '{word}'?")),
                None => did_you_mean(protocol.text, protocols.iter().copied()),
            };
            sink.error(protocol.span(), format!("no protocol is named {}", quoted(protocol.text))).help(help);
        } else if found.iter().any(|known| known == protocol.text) {
            sink.error(protocol.span(), format!("{} is listed twice", quoted(protocol.text)));
        }
        found.push(protocol.text.to_owned());
    }
    found
}

/// Facts that the payload has to agree with. `known` may hold their keys; where it holds none, any key is taken.
pub(super) fn conditions(sink: &mut Sink<'_>, value: &Value<'_>, of: &str, known: &[&str]) -> Vec<Condition> {
    let Some(table) = Table::of(sink, value, format!("'require' of {of}")) else { return Vec::new() };
    let keys: Vec<&str> = known.iter().copied().filter(|word| word.contains('.')).collect();
    let mut found: Vec<Condition> = Vec::new();
    for (key, value) in table.named() {
        if let DeValue::Table(_) = value.get_ref() {
            sink.error(value.span(), format!("{} is a table", quoted(key.text)))
                .expected("expected the key of a fact in quotes: \"tls.version\" = \">= 1.3\"");
            continue;
        }
        if !keys.is_empty() && !keys.contains(&key.text) {
            let family = key.text.split('.').next().unwrap_or_default();
            let near: Vec<&str> =
                keys.iter().copied().filter(|known| known.split('.').next() == Some(family)).collect();
            let listed = if near.is_empty() { String::new() } else { format!("known: {}", near.join(", ")) };
            sink.error(key.span(), format!("no protocol states a fact {}", quoted(key.text)))
                .expected(listed)
                .help(did_you_mean(key.text, keys.iter().copied()));
        }
        let mut condition = Condition::new(key.text);
        for word in some_words(sink, value, &quoted(key.text)) {
            if let Err(slip) = condition.add(word.text) {
                slipped(sink, word, slip);
            }
        }
        found.push(condition);
    }
    if table.named().is_empty() {
        sink.error(table.span.clone(), "'require' names no fact")
            .expected("expected a line like: require = { \"tls.version\" = \">= 1.3\" }");
    }
    found
}

/// Notes a word that names nothing known.
pub(super) fn unknown<'k, K: AsRef<str> + 'k + ?Sized>(
    sink: &mut Sink<'_>,
    word: Word<'_>,
    what: &str,
    known: impl Iterator<Item = &'k K>,
) {
    let known: Vec<&str> = known.map(AsRef::as_ref).filter(|word| !word.is_empty()).collect();
    let listed = if known.is_empty() {
        format!("there is no {what} at all")
    } else if known.len() > 24 {
        String::new()
    } else {
        format!("known: {}", known.join(", "))
    };
    sink.error(word.span(), format!("no {what} is named {}", quoted(word.text)))
        .expected(listed)
        .help(did_you_mean(word.text, known));
}

/// Notes a word that does not follow its grammar.
pub(super) fn slipped(sink: &mut Sink<'_>, word: Word<'_>, slip: value::Slip) {
    sink.error(word.span(), slip.message).expected(slip.expected).help(slip.help);
}

/// What people call protocols whose word here is another.
const PROTOCOL_ALIASES: [(&str, &str); 17] = [
    ("https", "tls"),
    ("ssl", "tls"),
    ("ldaps", "tls"),
    ("amqps", "tls"),
    ("ethernet-ip", "enip"),
    ("cip", "enip"),
    ("bacnet-ip", "bacnet"),
    ("modbus-tcp", "modbus"),
    ("s7", "s7comm"),
    ("s7-plus", "s7comm-plus"),
    ("s7plus", "s7comm-plus"),
    ("srtp", "ge-srtp"),
    ("iec-60870-5-104", "iec104"),
    ("opcua", "opc-ua"),
    ("rpc", "dce-rpc"),
    ("cifs", "smb"),
    ("profinet", "profinet-cm"),
];
