//! Sequence numbers, which go round (RFC 9293 section 3.4).

/// Whether one sequence number comes after another (RFC 9293 section 3.4: modulo 2^32).
pub fn later(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}

/// The later of two.
pub fn latest(a: u32, b: u32) -> u32 {
    if later(a, b) { a } else { b }
}

/// The earlier of two.
pub fn earliest(a: u32, b: u32) -> u32 {
    if later(a, b) { b } else { a }
}

/// Where the part of `low..high` that lies before `limit` ends.
pub fn earliest_or(low: u32, high: u32, limit: u32) -> u32 {
    if later(limit, low) { earliest(high, limit) } else { low }
}

/// How many sequence numbers two stretches share.
pub fn overlap(a: (u32, u32), b: (u32, u32)) -> u32 {
    let (start, end) = (latest(a.0, b.0), earliest(a.1, b.1));
    if later(end, start) { end.wrapping_sub(start) } else { 0 }
}
