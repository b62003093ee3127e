//! An audit as a page for the people of a plant: the answer first, then what to do about it, then everything behind it.

mod findings;
mod head;
pub mod mirror;
mod requirements;
mod site;

use std::io;

use crate::model::Addressee;
use crate::model::Grade;
use crate::model::Report;

use super::Format;
use super::Style;
use super::page::Page;

/// A page for people.
pub struct Text;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn about(&self) -> &'static str {
        "a page for people: the answer, what to do, and the packets that prove it"
    }

    fn write(&self, report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        let page = &mut Page::new(out, style);
        head::write(page, report)?;
        findings::write(page, report)?;
        requirements::write(page, report)?;
        site::conversations(page, report)?;
        mirror::write(page, &report.inputs, &report.vantage, &report.tally)?;
        site::write(page, report)?;
        site::next(page, report)
    }
}

/// How a grade reads to someone who has never seen the evidence table.
fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::A => "certain (grade A): a device said so itself",
        Grade::B => "strong (grade B): the packets leave little room for another explanation",
        Grade::C => "suggestive (grade C): worth a look, other causes are possible",
    }
}

/// Whom to ask.
fn addressee(addressee: Addressee) -> &'static str {
    match addressee {
        Addressee::Firewall => "whoever runs the firewall",
        Addressee::Routing => "whoever runs the routing",
        Addressee::Server => "whoever runs the target machine",
        Addressee::Product => "whoever configures the product, or its vendor",
        Addressee::NameService => "whoever runs name service (DNS)",
        Addressee::Proxy => "whoever runs the proxy",
        Addressee::Mirror => "whoever placed the mirror port",
        Addressee::Site => "whoever owns the site file, or the machines that talk",
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::super::samples;
    use super::*;

    fn told(report: &Report, style: Style) -> String {
        let mut out = Vec::new();
        Text.write(report, &style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn narrow() {
        insta::assert_snapshot!(told(&samples::report(), Style { width: 80, ..Style::default() }));
    }

    #[test]
    fn wide_and_verbose() {
        insta::assert_snapshot!(told(
            &samples::report(),
            Style { width: 160, verbose: true, ..Style::default() }
        ));
    }

    #[test]
    fn provisional() {
        insta::assert_snapshot!(told(&samples::provisional_report(), Style::default()));
    }

    #[test]
    fn nothing_at_all() {
        insta::assert_snapshot!(told(&samples::empty_report(), Style::default()));
    }

    /// Colours change nothing but colours.
    #[test]
    fn coloured_is_the_same_text() {
        let coloured = told(&samples::report(), Style { color: true, ..Style::default() });
        assert!(coloured.contains('\u{1b}'));
        let mut plain = String::new();
        for (index, piece) in coloured.split('\u{1b}').enumerate() {
            plain.push_str(if index == 0 { piece } else { piece.split_once('m').unwrap().1 });
        }
        assert_eq!(plain, told(&samples::report(), Style::default()));
    }

    /// What a reader copies (display filters, commands) may be longer than the page is wide; prose may not.
    #[test]
    fn prose_fits_the_page() {
        for width in [72, 80, 100, 160] {
            for line in told(&samples::report(), Style { width, ..Style::default() }).lines() {
                assert!(
                    line.width() <= width || line.contains("frame.number") || line.contains("spanaudit "),
                    "{width}: {line}"
                );
                assert!(!line.ends_with(' '), "{line:?}");
            }
        }
    }
}
