//! The clock of a pcapng interface: what its timestamps count, and from when (draft-ietf-opsawg-pcapng section 4.2).

use crate::model::Timestamp;

/// How the timestamps of an interface count.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    unit: Unit,
    /// Nanoseconds to add.
    offset: i128,
}

/// The unit of a timestamp (`if_tsresol`, section 4.2).
#[derive(Clone, Copy)]
enum Unit {
    /// So many nanoseconds each.
    Nanos(i64),
    /// So many of them in a nanosecond.
    PerNano(u128),
    /// Two to this power of them in a second.
    BinaryFraction(u32),
}

impl Clock {
    /// From the options `if_tsresol` and `if_tsoffset`.
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let unit = match exponent {
            _ if resolution & 0x80 != 0 => Unit::BinaryFraction(exponent),
            0..=9 => Unit::Nanos(10_i64.pow(9 - exponent)),
            // Beyond 10^38 units in a nanosecond no timestamp of 64 bits is as much as one.
            _ => Unit::PerNano(10_u128.checked_pow(exponent - 9).unwrap_or(u128::MAX)),
        };
        Self { unit, offset: i128::from(offset) * 1_000_000_000 }
    }

    /// The time of a timestamp, at the end of what can be expressed where it lies beyond.
    #[inline]
    pub(super) fn time(&self, high: u32, low: u32) -> Timestamp {
        let count = u64::from(high) << 32 | u64::from(low);
        if let (Unit::Nanos(each), 0, Ok(count)) = (self.unit, self.offset, i64::try_from(count))
            && let Some(nanos) = count.checked_mul(each)
        {
            return Timestamp::from_nanos(nanos);
        }
        let nanos = match self.unit {
            Unit::Nanos(each) => i128::from(count) * i128::from(each),
            Unit::PerNano(many) => i128::try_from(u128::from(count) / many).unwrap_or(i128::MAX),
            Unit::BinaryFraction(power) => {
                i128::try_from((u128::from(count) * 1_000_000_000).checked_shr(power).unwrap_or(0))
                    .unwrap_or(i128::MAX)
            }
        };
        let nanos = nanos.saturating_add(self.offset).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp::from_nanos(nanos as i64)
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::testing::Writer;
    use crate::capture::testing::read_all;
    use crate::capture::walker::Order;

    const ORDERS: [Order; 2] = [Order::Little, Order::Big];

    #[test]
    fn clocks_of_all_kinds() {
        let check = |resolution: u8, offset: i64, stamp: u64, nanos: i64| {
            for order in ORDERS {
                let file = Writer::new(order).section().block(1, |body| {
                    let options = body.u16(1).u16(0).u32(0).option(9, &[resolution]);
                    options.u16(14).u16(8).u64(offset as u64).u32(0)
                });
                let (packets, stopped) = read_all(&file.enhanced(0, stamp, &[1]).bytes);
                assert_eq!(stopped, None);
                assert_eq!(packets[0].2, nanos, "{resolution:#x} {offset} {stamp} {order:?}");
            }
        };
        check(6, 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000);
        check(9, 0, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001);
        check(3, 0, 1_700_000_000_001, 1_700_000_000_001_000_000);
        check(0, 0, 1_700_000_000, 1_700_000_000_000_000_000);
        check(12, 0, 7_000_000_123_456, 7_000_000_123);
        check(0x8a, 0, 1024 + 512, 1_500_000_000);
        check(0xbf, 0, 1 << 63, 1_000_000_000);
        check(0xff, 0, u64::MAX, 0);
        check(6, 3600, 1, 3_600_000_001_000);
        check(6, -3600, 3_600_000_001, 1_000);
        check(0, 0, u64::MAX, i64::MAX);
        check(127, 0, u64::MAX, 0);
        check(0, i64::MIN, 0, i64::MIN);
    }
}
