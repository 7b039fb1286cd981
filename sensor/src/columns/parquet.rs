//! Apache Parquet, version 1 of its data pages: plain values, definition levels for what may be empty, zstd. The
//! metadata is Thrift in its compact protocol. Formats: parquet.apache.org/docs/file-format, and
//! thrift/doc/specs/thrift-compact-protocol.md.

use std::io::{self, Write};

use super::{Cell, Column, Kind, unfit};

const MAGIC: &[u8; 4] = b"PAR1";
/// Rows of a group: what is held in memory, some ten megabytes.
const GROUP: usize = 1 << 16;
const LEVEL: i32 = 3;
/// Numbers of `parquet.thrift`: types, codec, encodings.
const INT64: i64 = 2;
const DOUBLE: i64 = 5;
const BYTE_ARRAY: i64 = 6;
const ZSTD: i64 = 6;
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// Values of a column that are not written yet.
#[derive(Default)]
struct Chunk {
    values: Vec<u8>,
    /// For a column that may be empty: whether each row has a value.
    levels: Vec<bool>,
}

/// A chunk that was written.
struct Written {
    offset: u64,
    /// Bytes with the page's head, packed and not.
    packed: u64,
    plain: u64,
}

struct Group {
    chunks: Vec<Written>,
    n_rows: u64,
}

/// A Parquet file.
pub struct Parquet<W> {
    columns: &'static [Column],
    out: W,
    offset: u64,
    chunks: Vec<Chunk>,
    n_rows: usize,
    groups: Vec<Group>,
}

impl<W: Write> Parquet<W> {
    pub fn new(columns: &'static [Column], mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self {
            columns,
            out,
            offset: MAGIC.len() as u64,
            chunks: columns.iter().map(|_| Chunk::default()).collect(),
            n_rows: 0,
            groups: Vec::new(),
        })
    }

    pub fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        let columns = self.columns;
        let is_fit = |(column, cell): (&Column, &Cell)| match (column.kind, cell) {
            (_, Cell::Empty) => column.is_optional,
            (Kind::Int, Cell::Int(_))
            | (Kind::Number, Cell::Number(_))
            | (Kind::Text, Cell::Text(_))
            | (Kind::Time, Cell::Time(_)) => true,
            _ => false,
        };
        // Whole rows or none: a column that is longer than the others would shift what follows.
        let wrong = columns.iter().zip(cells).position(|pair| !is_fit(pair));
        if cells.len() != columns.len() {
            return Err(unfit(columns, columns.len()));
        }
        if let Some(wrong) = wrong {
            return Err(unfit(columns, wrong));
        }
        for ((column, cell), chunk) in columns.iter().zip(cells).zip(&mut self.chunks) {
            if column.is_optional {
                chunk.levels.push(*cell != Cell::Empty);
            }
            match cell {
                Cell::Empty => {}
                Cell::Int(value) => chunk.values.extend(value.to_le_bytes()),
                Cell::Number(value) => chunk.values.extend(value.to_le_bytes()),
                Cell::Time(ns) => chunk.values.extend((ns / 1_000).to_le_bytes()),
                Cell::Text(text) => {
                    chunk.values.extend((text.len() as u32).to_le_bytes());
                    chunk.values.extend(text.as_bytes());
                }
            }
        }
        self.n_rows += 1;
        if self.n_rows >= GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    /// Writes the rows that are held, a page for each column.
    fn write_group(&mut self) -> io::Result<()> {
        let n_rows = std::mem::take(&mut self.n_rows);
        let mut chunks = Vec::new();
        for chunk in &mut self.chunks {
            let chunk = std::mem::take(chunk);
            let mut page = levels(&chunk.levels);
            page.extend(&chunk.values);
            let packed = zstd::bulk::compress(&page, LEVEL)?;
            let mut head = Thrift::default();
            head.int(1, 0);
            head.int(2, page.len() as i64);
            head.int(3, packed.len() as i64);
            head.structure(5, |data| {
                data.int(1, n_rows as i64);
                data.int(2, PLAIN);
                data.int(3, RLE);
                data.int(4, RLE);
            });
            let head = head.finish();
            self.out.write_all(&head)?;
            self.out.write_all(&packed)?;
            let written = Written {
                offset: self.offset,
                packed: (head.len() + packed.len()) as u64,
                plain: (head.len() + page.len()) as u64,
            };
            self.offset += written.packed;
            chunks.push(written);
        }
        self.groups.push(Group {
            chunks,
            n_rows: n_rows as u64,
        });
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        if self.n_rows > 0 {
            self.write_group()?;
        }
        let footer = self.footer();
        self.out.write_all(&footer)?;
        self.out.write_all(&(footer.len() as u32).to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The file's metadata.
    fn footer(&self) -> Vec<u8> {
        let n_rows: u64 = self.groups.iter().map(|group| group.n_rows).sum();
        let mut file = Thrift::default();
        file.int(1, 1);
        file.list(2, STRUCT, self.columns.len() + 1, |list| {
            list.element(|root| {
                root.text(4, "schema");
                root.int(5, self.columns.len() as i64);
            });
            for column in self.columns {
                list.element(|element| describe(column, element));
            }
        });
        file.long(3, n_rows as i64);
        file.list(4, STRUCT, self.groups.len(), |list| {
            for group in &self.groups {
                list.element(|element| self.describe_group(group, element));
            }
        });
        file.text(6, concat!("sensor version ", env!("CARGO_PKG_VERSION")));
        file.finish()
    }

    fn describe_group(&self, group: &Group, thrift: &mut Thrift) {
        thrift.list(1, STRUCT, group.chunks.len(), |list| {
            for (column, chunk) in self.columns.iter().zip(&group.chunks) {
                list.element(|element| {
                    element.long(2, chunk.offset as i64);
                    element.structure(3, |meta| {
                        meta.int(1, physical(column.kind));
                        meta.list(2, I32, 2, |list| {
                            list.number(PLAIN);
                            list.number(RLE);
                        });
                        meta.list(3, BINARY, 1, |list| list.bytes(column.name));
                        meta.int(4, ZSTD);
                        meta.long(5, group.n_rows as i64);
                        meta.long(6, chunk.plain as i64);
                        meta.long(7, chunk.packed as i64);
                        meta.long(9, chunk.offset as i64);
                    });
                });
            }
        });
        let plain: u64 = group.chunks.iter().map(|chunk| chunk.plain).sum();
        thrift.long(2, plain as i64);
        thrift.long(3, group.n_rows as i64);
    }
}

const fn physical(kind: Kind) -> i64 {
    match kind {
        Kind::Int | Kind::Time => INT64,
        Kind::Number => DOUBLE,
        Kind::Text => BYTE_ARRAY,
    }
}

/// A column's element of the schema, with its type in both old and new words.
fn describe(column: &Column, element: &mut Thrift) {
    element.int(1, physical(column.kind));
    element.int(3, i64::from(column.is_optional));
    element.text(4, column.name);
    match column.kind {
        Kind::Text => {
            element.int(6, 0);
            element.structure(10, |logical| logical.structure(1, |_| {}));
        }
        Kind::Time => {
            element.int(6, 10);
            element.structure(10, |logical| {
                logical.structure(8, |timestamp| {
                    timestamp.truth(1);
                    timestamp.structure(2, |unit| unit.structure(2, |_| {}));
                });
            });
        }
        Kind::Int | Kind::Number => {}
    }
}

/// Definition levels of one bit, bit-packed, with their length before them.
fn levels(levels: &[bool]) -> Vec<u8> {
    if levels.is_empty() {
        return Vec::new();
    }
    let n_groups = levels.len().div_ceil(8);
    let mut bits = Vec::new();
    varint(&mut bits, (n_groups as u64) << 1 | 1);
    for group in levels.chunks(8) {
        let bit = |(n, has): (usize, &bool)| u8::from(*has) << n;
        bits.push(group.iter().enumerate().map(bit).sum());
    }
    let mut bytes = (bits.len() as u32).to_le_bytes().to_vec();
    bytes.extend(bits);
    bytes
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Types of the compact protocol.
const TRUE: u8 = 1;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A structure in Thrift's compact protocol.
#[derive(Default)]
struct Thrift {
    out: Vec<u8>,
    last: u8,
}

impl Thrift {
    fn field(&mut self, id: u8, kind: u8) {
        // Fields are written in order, less than 16 apart.
        self.out.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    /// A number as it stands in fields and lists.
    fn number(&mut self, n: i64) {
        varint(&mut self.out, ((n << 1) ^ (n >> 63)) as u64);
    }

    fn bytes(&mut self, text: &str) {
        varint(&mut self.out, text.len() as u64);
        self.out.extend(text.as_bytes());
    }

    fn int(&mut self, id: u8, n: i64) {
        self.field(id, I32);
        self.number(n);
    }

    fn long(&mut self, id: u8, n: i64) {
        self.field(id, I64);
        self.number(n);
    }

    fn text(&mut self, id: u8, text: &str) {
        self.field(id, BINARY);
        self.bytes(text);
    }

    fn truth(&mut self, id: u8) {
        self.field(id, TRUE);
    }

    fn structure(&mut self, id: u8, fill: impl FnOnce(&mut Self)) {
        self.field(id, STRUCT);
        self.element(fill);
    }

    /// A structure within a list.
    fn element(&mut self, fill: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.last);
        fill(self);
        self.out.push(0);
        self.last = before;
    }

    fn list(&mut self, id: u8, kind: u8, n: usize, fill: impl FnOnce(&mut Self)) {
        self.field(id, LIST);
        if n < 15 {
            self.out.push((n as u8) << 4 | kind);
        } else {
            self.out.push(0xf0 | kind);
            varint(&mut self.out, n as u64);
        }
        fill(self);
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.push(0);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zigzag_varints() {
        let number = |n| {
            let mut thrift = Thrift::default();
            thrift.number(n);
            thrift.out
        };
        assert_eq!(number(0), [0]);
        assert_eq!(number(-1), [1]);
        assert_eq!(number(300), [0xd8, 0x04]);
        assert_eq!(number(i64::MIN).len(), 10);
    }

    #[test]
    fn levels_are_packed_eight_to_a_byte() {
        let has = [true, false, true, true, true, true, true, true, true];
        assert_eq!(levels(&has), [3, 0, 0, 0, 5, 0b1111_1101, 1]);
        assert!(levels(&[]).is_empty());
    }

    #[test]
    fn a_file_begins_and_ends_with_its_mark_and_tells_where_the_footer_is() {
        const COLUMNS: &[Column] = &[Column::new("n", Kind::Int)];
        let mut file = Parquet::new(COLUMNS, Vec::new()).unwrap();
        file.row(&[Cell::Int(7)]).unwrap();
        assert!(file.row(&[Cell::Empty]).is_err());
        assert!(file.row(&[]).is_err());
        let bytes = file.finish().unwrap();
        assert!(bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC));
        let length = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
        assert!((u32::from_le_bytes(length) as usize) < bytes.len() - 12);
    }
}
