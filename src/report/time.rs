//! Capture times as text: RFC 3339 in UTC for programs, the same without its hurdles for people.

use std::time::Duration;

use arrayvec::ArrayString;

use crate::model::Timestamp;

/// RFC 3339 in UTC with nanoseconds: `2026-11-20T09:14:03.112345678Z`.
pub fn rfc3339(time: Timestamp) -> String {
    Moment(time).text().as_str().to_owned()
}

/// A time that is written as [`rfc3339`] writes it. A large report has millions, so that this is done by hand.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub Timestamp);

impl Moment {
    /// Its text.
    pub fn text(self) -> ArrayString<30> {
        let (day, clock) = day_and_clock(self.0);
        let mut text = [0; 30];
        let (date_place, clock_place) = text.split_at_mut(11);
        date_place.copy_from_slice(&date_text(day));
        clock_place.copy_from_slice(&clock);
        // Digits and signs are UTF-8.
        ArrayString::from_byte_string(&text).unwrap_or_default()
    }
}

/// The day of a time, counted from 1970-01-01, and the time of day as text: `09:14:03.112345678Z`.
#[inline]
pub fn day_and_clock(time: Timestamp) -> (i64, [u8; 19]) {
    let nanos = time.as_nanos();
    let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let fraction = fraction as u32;
    let ([h, i], [m, n], [s, t]) = (two(second / 3600), two(second / 60 % 60), two(second % 60));
    let [a, b] = two(fraction / 10_000_000);
    let [c, d] = two(fraction / 100_000 % 100);
    let [e, f] = two(fraction / 1_000 % 100);
    let [g, k] = two(fraction / 10 % 100);
    let [_, l] = two(fraction % 10);
    (day, [h, i, b':', m, n, b':', s, t, b'.', a, b, c, d, e, f, g, k, l, b'Z'])
}

/// The date of a day with the sign that follows it: `2026-11-20T`.
pub fn date_text(day: i64) -> [u8; 11] {
    let (year, month, day) = date_of(day);
    let year = year as u32;
    let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
    let ([m, n], [e, f]) = (two(month as u32), two(day as u32));
    [a, b, c, d, b'-', m, n, b'-', e, f, b'T']
}

/// A number below a hundred in two digits.
#[inline]
fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

impl serde::Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar, by eras of 400 years that begin in March.
fn date_of(day: i64) -> (i64, i64, i64) {
    // Days from 0000-03-01 to 1970-01-01; days of an era, of a century, of four years.
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 153 days in each five.
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (year + 400 * era, month, of_month)
}

/// A time that [`rfc3339`] wrote, or any other RFC 3339 text; `None` where it is none or lies outside what a capture can hold.
pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
    let read: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(read.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

/// For people: date and time of day to the millisecond, in UTC as the page says once.
pub fn date_and_time(time: Timestamp) -> String {
    told(time, "%Y-%m-%d %H:%M:%S%.3f")
}

/// For people, where the date is plain: the time of day to the millisecond.
pub fn time_of_day(time: Timestamp) -> String {
    told(time, "%H:%M:%S%.3f")
}

/// For people: the date alone.
pub fn date(time: Timestamp) -> String {
    told(time, "%Y-%m-%d")
}

/// A length of time in the two largest units that say something: `2 h 5 min`, `6 min 8 s`, `3.25 s`, `12 ms`.
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        86_400.. => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        3_600.. => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        60.. => two(seconds / 60, "min", seconds % 60, "s"),
        10.. => format!("{:.1} s", length.as_secs_f64()),
        1.. => format!("{:.2} s", length.as_secs_f64()),
        0 if length.subsec_micros() >= 1_000 => format!("{} ms", length.subsec_millis()),
        0 => format!("{} µs", length.subsec_micros()),
    }
}

/// Every time that a capture can hold lies inside jiff's range, so that the fallback is for the type checker alone.
fn told(time: Timestamp, pattern: &str) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())) {
        Ok(known) => known.strftime(pattern).to_string(),
        Err(_) => format!("{} ns", time.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_nine_digits() {
        assert_eq!(
            rfc3339(Timestamp::from_nanos(1_795_166_043_112_345_678)),
            "2026-11-20T09:14:03.112345678Z"
        );
        assert_eq!(rfc3339(Timestamp::from_nanos(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(Timestamp::from_nanos(-1)), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(
            date_and_time(Timestamp::from_nanos(1_795_166_043_112_945_678)),
            "2026-11-20 09:14:03.112"
        );
        for nanos in [1_795_166_043_112_345_678, 0, -1, i64::MAX] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        }
        assert_eq!(from_rfc3339("yesterday"), None);
        assert_eq!(rfc3339(Timestamp::MIN), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(rfc3339(Timestamp::MAX), "2262-04-11T23:47:16.854775807Z");
    }

    proptest::proptest! {
        /// Every time that a capture can hold is written as a library for calendars writes it.
        #[test]
        fn moments_are_those_of_the_calendar(nanos: i64) {
            let known = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let expected = known.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            proptest::prop_assert_eq!(rfc3339(Timestamp::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn spans_read_well() {
        for (millis, expected) in [
            (12, "12 ms"),
            (3_250, "3.25 s"),
            (12_340, "12.3 s"),
            (368_000, "6 min 8 s"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
    }
}
