//! Batches of records, format 2 (kafka.apache.org/documentation, "Record Batch"), with the checksum that they
//! carry and the hash by which a key finds its partition.

use std::io;

use super::wire::put_length;

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub key: String,
    pub value: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
    /// Unix time, ms.
    pub at_ms: i64,
}

/// Writes records as a batch that is not compressed, of a producer without an identifier.
///
/// # Errors
/// When a length is greater than the format can say.
pub fn batch(messages: &[&Message]) -> io::Result<Vec<u8>> {
    let first = messages.iter().map(|one| one.at_ms).min().unwrap_or(0);
    let last = messages.iter().map(|one| one.at_ms).max().unwrap_or(0);
    let mut summed = Vec::new();
    summed.extend(0_i16.to_be_bytes()); // attributes
    put_length(&mut summed, messages.len().saturating_sub(1))?;
    summed.extend(first.to_be_bytes());
    summed.extend(last.to_be_bytes());
    summed.extend((-1_i64).to_be_bytes()); // producer: identifier, epoch, sequence
    summed.extend((-1_i16).to_be_bytes());
    summed.extend((-1_i32).to_be_bytes());
    put_length(&mut summed, messages.len())?;
    for (n, message) in messages.iter().enumerate() {
        put_record(&mut summed, n, message, first);
    }
    let mut bytes = Vec::with_capacity(summed.len() + 21);
    bytes.extend(0_i64.to_be_bytes()); // offset: the broker's to say
    put_length(&mut bytes, summed.len() + 9)?;
    bytes.extend((-1_i32).to_be_bytes()); // epoch of the leader
    bytes.push(2); // format
    bytes.extend(crc32c(&summed).to_be_bytes());
    bytes.extend(summed);
    Ok(bytes)
}

fn put_record(bytes: &mut Vec<u8>, n: usize, message: &Message, first_ms: i64) {
    let mut record = vec![0]; // attributes
    put_number(&mut record, message.at_ms - first_ms);
    put_number(&mut record, as_number(n));
    put_block(&mut record, message.key.as_bytes());
    put_block(&mut record, &message.value);
    put_number(&mut record, as_number(message.headers.len()));
    for (name, value) in &message.headers {
        put_block(&mut record, name.as_bytes());
        put_block(&mut record, value.as_bytes());
    }
    put_block(bytes, &record);
}

fn put_block(bytes: &mut Vec<u8>, block: &[u8]) {
    put_number(bytes, as_number(block.len()));
    bytes.extend(block);
}

fn as_number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Appends a number in zigzag, seven bits a byte, the lowest first.
fn put_number(bytes: &mut Vec<u8>, n: i64) {
    let mut rest = ((n << 1) ^ (n >> 63)).cast_unsigned();
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

const CASTAGNOLI: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut value = n as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ if value & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

/// CRC-32C (RFC 3720, appendix B.4).
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let place = (crc ^ u32::from(*byte)) & 0xff;
        (crc >> 8) ^ CASTAGNOLI[place as usize]
    };
    !bytes.iter().fold(!0, step)
}

/// Place of a key among so many partitions, the same as that of Kafka's own clients (murmur2).
pub fn place(key: &[u8], n_partitions: usize) -> usize {
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ (key.len() as u32);
    let words = key.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let word = word
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u32::from(*byte));
        let mixed = word.wrapping_mul(FACTOR);
        let mixed = (mixed ^ (mixed >> 24)).wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ mixed;
    }
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as usize % n_partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_and_hash_are_those_of_their_definitions() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        // Examples of Kafka's own tests (UtilsTest.testMurmur2).
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            let hash = hash.cast_unsigned() & 0x7fff_ffff;
            assert_eq!(place(key.as_bytes(), usize::MAX), hash as usize, "{key}");
        }
    }

    #[test]
    fn numbers_are_written_in_zigzag() {
        for (n, wanted) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (64, &[0x80, 1]),
            (-65, &[0x81, 1]),
            (300, &[0xd8, 4]),
        ] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, n);
            assert_eq!(bytes, wanted, "{n}");
        }
    }
}
