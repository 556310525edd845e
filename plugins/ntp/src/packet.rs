//! NTP packets (RFC 5905, 7.3).

use bellwether_plugin::Timestamp;

/// Bytes of a packet without extensions.
pub const SIZE: usize = 48;
/// Seconds from NTP's epoch, 1900, to Unix's.
const UNIX_EPOCH: i64 = 2_208_988_800;
/// Seconds of an era: the counter has 32 bits.
const ERA: i64 = 1 << 32;

/// What a server says.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// 3: the server's clock is not set.
    pub leap: u8,
    pub stratum: u8,
    /// Seconds.
    pub root_dispersion: f64,
    /// Four letters where the stratum is 0.
    pub reference: [u8; 4],
    pub received: Timestamp,
    pub transmitted: Timestamp,
}

/// A client's packet. `cookie` comes back in the answer; no clock is told to
/// the server.
pub fn question(cookie: u64) -> Vec<u8> {
    let mut packet = vec![0; SIZE];
    // Version 4, mode 3 (client).
    packet[0] = 4 << 3 | 3;
    packet[40..48].copy_from_slice(&cookie.to_be_bytes());
    packet
}

fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// A timestamp of the era that is nearest to `now`.
fn timestamp(packet: &[u8], at: usize, now: Timestamp) -> Option<Timestamp> {
    let bits = u64::from_be_bytes(bytes(packet, at)?);
    let seconds = (bits >> 32) as i64 - UNIX_EPOCH;
    let now = now.div_euclid(1_000_000);
    let eras = (now - seconds + ERA / 2).div_euclid(ERA);
    let micros = ((bits & 0xffff_ffff) * 1_000_000) >> 32;
    Some((seconds + eras * ERA) * 1_000_000 + micros as i64)
}

/// Reads a server's packet. The error says what was expected.
pub fn answer(packet: &[u8], cookie: u64, now: Timestamp) -> Result<Answer, String> {
    if packet.len() < SIZE {
        return Err(format!(
            "expected at least {SIZE} bytes, found {}",
            packet.len()
        ));
    }
    if packet[0] & 7 != 4 {
        return Err(format!(
            "expected the mode of a server (4), found {}",
            packet[0] & 7
        ));
    }
    if bytes(packet, 24) != Some(cookie.to_be_bytes()) {
        return Err("the answer belongs to another question".to_owned());
    }
    let read = || {
        Some(Answer {
            leap: packet[0] >> 6,
            stratum: packet[1],
            root_dispersion: f64::from(u32::from_be_bytes(bytes(packet, 8)?)) / 65_536.0,
            reference: bytes(packet, 12)?,
            received: timestamp(packet, 32, now)?,
            transmitted: timestamp(packet, 40, now)?,
        })
    };
    read().ok_or_else(|| "the packet is cut".to_owned())
}
