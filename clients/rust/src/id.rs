//! Ids of what has a text and no number.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The id of content or of a reader that has a text (a slug, a path, a UUID) and
/// no number: the XXH64 of its bytes with seed 0, which `ClickHouse`'s `xxHash64`
/// gives, too.
///
/// ```
/// assert_eq!(lectern_emit::id("abc"), 0x44bc2cf5ad770999);
/// ```
#[must_use]
pub const fn id(text: &str) -> u64 {
    id_bytes(text.as_bytes())
}

/// The same of any bytes.
#[must_use]
pub const fn id_bytes(b: &[u8]) -> u64 {
    let (mut h, mut i) = (P5, 0);
    if b.len() >= 32 {
        let (mut v1, mut v2, mut v3, mut v4) = (P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1));
        while b.len() - i >= 32 {
            v1 = round(v1, word64(b, i));
            v2 = round(v2, word64(b, i + 8));
            v3 = round(v3, word64(b, i + 16));
            v4 = round(v4, word64(b, i + 24));
            i += 32;
        }
        h = v1
            .rotate_left(1)
            .wrapping_add(v2.rotate_left(7))
            .wrapping_add(v3.rotate_left(12))
            .wrapping_add(v4.rotate_left(18));
        h = merge(merge(merge(merge(h, v1), v2), v3), v4);
    }
    h = h.wrapping_add(b.len() as u64);
    while b.len() - i >= 8 {
        h ^= round(0, word64(b, i));
        h = h.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        i += 8;
    }
    if b.len() - i >= 4 {
        h ^= word32(b, i).wrapping_mul(P1);
        h = h.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        i += 4;
    }
    while i < b.len() {
        h ^= (b[i] as u64).wrapping_mul(P5);
        h = h.rotate_left(11).wrapping_mul(P1);
        i += 1;
    }
    h = (h ^ h >> 33).wrapping_mul(P2);
    h = (h ^ h >> 29).wrapping_mul(P3);
    h ^ h >> 32
}

const fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2))
        .rotate_left(31)
        .wrapping_mul(P1)
}

const fn merge(h: u64, lane: u64) -> u64 {
    (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4)
}

const fn word32(b: &[u8], i: usize) -> u64 {
    b[i] as u64 | (b[i + 1] as u64) << 8 | (b[i + 2] as u64) << 16 | (b[i + 3] as u64) << 24
}

const fn word64(b: &[u8], i: usize) -> u64 {
    word32(b, i) | word32(b, i + 4) << 32
}
