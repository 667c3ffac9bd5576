//! PAX records: `length key=value\n`, as POSIX.1-2001's pax has them, with the keys that matter for layers. Pure.

use super::sparse::{Extent, MAX_EXTENTS};
use crate::runtime::native::images::fault::Fault;

/// The prefix under which star, GNU tar and Go keep extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Extended attributes of one file: the kernel's own limit is their total size.
const MAX_XATTRS: usize = 128;

/// What the records of an entry say.
#[derive(Clone, Debug, Default)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<SparseForm>,
}

/// What GNU tar says of a sparse file in records.
#[derive(Clone, Debug, Default)]
pub struct SparseForm {
    /// Where the data belongs (forms 0.0 and 0.1); form 1.0 has this before the data.
    pub map: Option<Vec<Extent>>,
    /// The file's true name; the header's is made up.
    pub name: Option<Vec<u8>>,
    /// Bytes with holes.
    pub real_size: Option<u64>,
}

impl Pax {
    /// Takes in the content of a header. A later record wins over an earlier one.
    ///
    /// # Errors
    /// When it is not made of records, or one makes no sense.
    pub fn merge(&mut self, mut content: &[u8]) -> Result<(), Fault> {
        while !content.is_empty() {
            let wrong = || Fault::bad("a PAX header is malformed");
            let space = content.iter().position(|it| *it == b' ').ok_or_else(wrong)?;
            let length = usize::try_from(number(&content[..space])?).map_err(|_| wrong())?;
            // The length counts itself, the space and the newline.
            let record = content.get(space + 1..length).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|it| *it == b'=').ok_or_else(wrong)?;
            self.note(&record[..equals], &record[equals + 1..])?;
            content = &content[length..];
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.retain(|(it, _)| it != name);
            if self.xattrs.len() >= MAX_XATTRS {
                return Err(Fault::bad(format!("an entry has more than {MAX_XATTRS} extended attributes")));
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.name" => self.form().name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.form().real_size = Some(number(value)?),
            b"GNU.sparse.major" => _ = self.form(),
            b"GNU.sparse.map" => {
                let numbers = value.split(|it| *it == b',').map(number).collect::<Result<Vec<_>, _>>()?;
                if numbers.len() % 2 != 0 || numbers.len() / 2 > MAX_EXTENTS {
                    return Err(Fault::bad("a sparse file's map is malformed"));
                }
                let map = numbers.chunks_exact(2).map(|it| Extent { offset: it[0], length: it[1] });
                self.form().map = Some(map.collect());
            }
            // Form 0.0: a pair of records an extent.
            b"GNU.sparse.offset" => {
                let extent = Extent { offset: number(value)?, length: 0 };
                let map = self.form().map.get_or_insert_default();
                if map.len() >= MAX_EXTENTS {
                    return Err(Fault::bad("a sparse file's map is too long"));
                }
                map.push(extent);
            }
            b"GNU.sparse.numbytes" => {
                let length = number(value)?;
                let last = self.form().map.as_mut().and_then(|it| it.last_mut());
                last.ok_or_else(|| Fault::bad("a sparse file's map is malformed"))?.length = length;
            }
            _ => {}
        }
        Ok(())
    }

    fn form(&mut self) -> &mut SparseForm {
        self.sparse.get_or_insert_default()
    }
}

/// A decimal number.
pub fn number(text: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(text).ok().filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    let wrong = || Fault::bad(format!("{:?} in a tar header is no number", String::from_utf8_lossy(text)));
    digits.and_then(|it| it.parse().ok()).ok_or_else(wrong)
}

/// Seconds with a fraction, and perhaps before 1970.
fn time(text: &[u8]) -> Result<(i64, u32), Fault> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |it| (true, it));
    let dot = text.iter().position(|it| *it == b'.').unwrap_or(text.len());
    let seconds =
        i64::try_from(number(&text[..dot])?).map_err(|_| Fault::bad("a time in a tar header is too large"))?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    let nine: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    // Nine digits are below 10^9, which fits.
    let nanoseconds = number(&nine)? as u32;
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // Nanoseconds count upwards also before 1970.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_nonsense_is_refused() {
        let check = |text: &[u8], good: bool| {
            assert_eq!(Pax::default().merge(text).is_ok(), good, "{}", String::from_utf8_lossy(text));
        };
        check(b"", true);
        check(b"11 size=10\n", true);
        check(b"12 size=10\n", false);
        check(b"11 size=1x\n", false);
        check(b"99999999999999999999 size=1\n", false);
        check(b"4 a\n", false);
        check(b"0 a=b\n", false);
        check(b"27 GNU.sparse.map=0,512,1024\n", false);
        check(b"25 GNU.sparse.numbytes=1\n", false);
        check(b"27 GNU.sparse.numbytes=100\n", false);
    }

    #[test]
    fn times_have_fractions() {
        let check = |text: &str, expected: (i64, u32)| assert_eq!(time(text.as_bytes()).unwrap(), expected, "{text}");
        check("1", (1, 0));
        check("1.5", (1, 500_000_000));
        check("1.0000000019", (1, 1));
        check("-1", (-1, 0));
        check("-1.5", (-2, 500_000_000));
    }
}
