//! Amounts of resources: `100m`, `1.5Gi`, `2e3`. Exact, in billionths of a unit.
//!
//! In: the texts of `k8s.io/apimachinery/pkg/api/resource`. Out: a [`Quantity`] that compares and adds exactly and prints in Kubernetes'
//! canonical form. Simplifying assumption: amounts beyond ±1.7e29 units, which Kubernetes keeps as big integers, stop there.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// How many of the smallest step make a unit.
const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The most a binary amount (`Ki`…`Ei`) can be, in units, as in Kubernetes.
const BINARY_LIMIT_UNITS: i128 = i64::MAX as i128;
/// Digits of a fraction that are looked at; the rest only rounds up. 10^18 · 2^60 fits an i128.
const FRACTION_DIGITS: usize = 18;
/// The longest text; amounts have at most some forty digits.
const TEXT_LIMIT_BYTES: usize = 128;

/// Which suffixes an amount is printed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `1e3`.
    DecimalExponent,
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `n`, `u`, `m`, `k`, `M`, …
    #[default]
    DecimalSi,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount. Equality and order look at the amount only, not at the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Reads a quantity; what is smaller than a billionth is rounded away from zero.
    ///
    /// # Errors
    /// Where the text has not the form, the numbers or the suffix of a quantity.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(ParseError::Format);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || !has_suffix_form(suffix) {
            return Err(ParseError::Format);
        }
        if fraction.contains('.') {
            return Err(ParseError::Format);
        }
        let (mut nanos, mut format) = match multiplier(suffix)? {
            Multiplier::Decimal(exponent, format) => (decimal(whole, fraction, exponent), format),
            Multiplier::Binary(bits) => (binary(whole, fraction, bits), Format::BinarySi),
        };
        if format == Format::BinarySi {
            nanos = nanos.min(BINARY_LIMIT_UNITS * NANOS_PER_UNIT);
            if 0 < nanos && nanos < NANOS_PER_UNIT {
                format = Format::DecimalSi;
            }
        }
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Reads the quantity of an object.
    ///
    /// # Errors
    /// As [`Quantity::parse`].
    pub fn of(text: &Text) -> Result<Self, ParseError> {
        Self::parse(&text.0)
    }

    /// So many whole units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Quantity { nanos: i128::from(units) * NANOS_PER_UNIT, format }
    }

    /// So many thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Quantity { nanos: i128::from(millis) * (NANOS_PER_UNIT / 1000), format: Format::DecimalSi }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Which suffixes it is printed with.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whole units, rounded away from zero, at most what an i64 holds.
    pub fn value_ceil(&self) -> i64 {
        self.steps(NANOS_PER_UNIT)
    }

    /// Thousandths, rounded away from zero, at most what an i64 holds.
    pub fn milli_value_ceil(&self) -> i64 {
        self.steps(NANOS_PER_UNIT / 1000)
    }

    fn steps(&self, nanos_per_step: i128) -> i64 {
        let steps = self.nanos.unsigned_abs().div_ceil(nanos_per_step.unsigned_abs());
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        if self.nanos < 0 { -steps } else { steps }
    }

    /// The amount in units, as near as a double comes.
    pub fn to_f64(&self) -> f64 {
        self.nanos as f64 / NANOS_PER_UNIT as f64
    }

    /// Whether it is a multiple of a whole unit: pods, ports and the like cannot be split.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS_PER_UNIT == 0
    }

    /// Whether it is a multiple of a thousandth, the finest step for CPU.
    pub fn is_whole_millis(&self) -> bool {
        self.nanos % (NANOS_PER_UNIT / 1000) == 0
    }

    /// The canonical text as objects hold it.
    pub fn to_text(&self) -> Text {
        Text(self.to_string())
    }
}

fn has_suffix_form(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|it| "eEinumkKMGTP".contains(it));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    rest.bytes().all(|it| it.is_ascii_digit())
}

enum Multiplier {
    /// A power of ten.
    Decimal(i32, Format),
    /// A power of two.
    Binary(u32),
}

fn multiplier(suffix: &str) -> Result<Multiplier, ParseError> {
    let decimal = |exponent| Ok(Multiplier::Decimal(exponent, Format::DecimalSi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Ok(Multiplier::Binary(10)),
        "Mi" => Ok(Multiplier::Binary(20)),
        "Gi" => Ok(Multiplier::Binary(30)),
        "Ti" => Ok(Multiplier::Binary(40)),
        "Pi" => Ok(Multiplier::Binary(50)),
        "Ei" => Ok(Multiplier::Binary(60)),
        _ => match suffix.strip_prefix(['e', 'E']).map(str::parse) {
            Some(Ok(exponent)) => Ok(Multiplier::Decimal(exponent, Format::DecimalExponent)),
            _ => Err(ParseError::Suffix),
        },
    }
}

/// The digits as a number, at most what an i128 holds.
fn digits(text: &str) -> i128 {
    text.bytes().fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(digit - b'0')))
}

/// `whole.fraction` · 10^`exponent` in nanos, rounded up.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let all = format!("{whole}{fraction}");
    let all = all.trim_start_matches('0');
    let Ok(fraction_digits) = i64::try_from(fraction.len()) else { return 0 };
    let shift = i64::from(exponent) + 9 - fraction_digits;
    if all.is_empty() {
        return 0;
    }
    if shift >= 0 {
        let power = u32::try_from(shift).ok().and_then(|it| 10_i128.checked_pow(it)).unwrap_or(i128::MAX);
        return digits(all).saturating_mul(power);
    }
    let dropped = usize::try_from(-shift).unwrap_or(usize::MAX);
    if dropped >= all.len() {
        return 1;
    }
    let (kept, rest) = all.split_at(all.len() - dropped);
    digits(kept).saturating_add(i128::from(rest.bytes().any(|it| it != b'0')))
}

/// `whole.fraction` · 2^`bits` in nanos, rounded up.
fn binary(whole: &str, fraction: &str, bits: u32) -> i128 {
    let (near, far) = fraction.split_at(fraction.len().min(FRACTION_DIGITS));
    let far = i128::from(far.bytes().any(|it| it != b'0'));
    let near = digits(&format!("{near:0<FRACTION_DIGITS$}")) + far;
    let parts_per_nano = 10_i128.pow(FRACTION_DIGITS as u32 - 9);
    let fraction_nanos = ((near << bits) + parts_per_nano - 1) / parts_per_nano;
    digits(whole).saturating_mul(1 << bits).saturating_mul(NANOS_PER_UNIT).saturating_add(fraction_nanos)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANOS_PER_UNIT;
        if self.format == Format::BinarySi && self.is_whole() && !(-1023..=1023).contains(&units) {
            let (mut units, mut step) = (units, 0);
            while units % 1024 == 0 && step < 6 {
                units /= 1024;
                step += 1;
            }
            return write!(f, "{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        let highest = if self.format == Format::DecimalExponent { 36 } else { 18 };
        while mantissa % 1000 == 0 && exponent < highest {
            mantissa /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (Format::DecimalExponent, 0) => write!(f, "{mantissa}"),
            (Format::DecimalExponent, _) => write!(f, "{mantissa}e{exponent}"),
            _ => {
                let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                write!(f, "{mantissa}{}", suffixes[((exponent + 9) / 3) as usize])
            }
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

/// A sum takes the format of its first part that is not zero.
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity { nanos: self.nanos.saturating_neg(), format: self.format }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(parts: I) -> Quantity {
        parts.fold(Quantity::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<(&str, i64, i64), ParseError>) {
        let got = Quantity::parse(text).map(|it| (it.to_string(), it.value_ceil(), it.milli_value_ceil()));
        assert_eq!(got, expected.map(|(text, units, millis)| (text.to_owned(), units, millis)), "{text}");
    }

    #[test]
    fn reads_and_prints_canonically() {
        check("0", Ok(("0", 0, 0)));
        check("0.5", Ok(("500m", 1, 500)));
        check("100m", Ok(("100m", 1, 100)));
        check("1000m", Ok(("1", 1, 1000)));
        check("1500", Ok(("1500", 1500, 1_500_000)));
        check("12000", Ok(("12k", 12000, 12_000_000)));
        check("1Gi", Ok(("1Gi", 1 << 30, 1000 << 30)));
        check("1.5Gi", Ok(("1536Mi", 3 << 29, 1500 << 30)));
        check("1023", Ok(("1023", 1023, 1_023_000)));
        check("1Ki", Ok(("1Ki", 1024, 1_024_000)));
        check("0.5Ki", Ok(("512", 512, 512_000)));
        check("0.0001Ki", Ok(("102400u", 1, 103)));
        check("1e3", Ok(("1e3", 1000, 1_000_000)));
        check("100e-3", Ok(("100e-3", 1, 100)));
        check("1E", Ok(("1E", 1_000_000_000_000_000_000, i64::MAX)));
        check("9Ei", Ok(("9223372036854775807", i64::MAX, i64::MAX)));
        check("0.1n", Ok(("1n", 1, 1)));
        check("-5m", Ok(("-5m", -1, -5)));
        check("+1.", Ok(("1", 1, 1000)));
        check(".5", Ok(("500m", 1, 500)));
        check("128974848", Ok(("128974848", 128_974_848, 128_974_848_000)));
        check("", Err(ParseError::Format));
        check("1.1.1", Err(ParseError::Format));
        check("1 Gi", Err(ParseError::Format));
        check("aoeu", Err(ParseError::Format));
        check("1i", Err(ParseError::Suffix));
        check("1K", Err(ParseError::Suffix));
        check("1mi", Err(ParseError::Suffix));
        check("3e", Err(ParseError::Suffix));
    }

    #[test]
    fn adds_and_compares() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!((of("1Gi") + of("512Mi")).to_string(), "1536Mi");
        assert_eq!((of("0") + of("1Gi")).to_string(), "1Gi");
        assert_eq!((of("1") - of("250m")).to_string(), "750m");
        assert_eq!(of("1000m"), of("1e0"));
        assert!(of("1Ki") > of("1k"));
        assert_eq!([of("100m"), of("1")].into_iter().sum::<Quantity>(), of("1.1"));
    }

    proptest! {
        #[test]
        fn printed_amounts_read_back(number in -1_000_000_000_000_i64..1_000_000_000_000, dots in "(\\.[0-9]{1,4})?", suffix in "n|u|m||k|M|Ki|Mi|Gi|e3|e-2") {
            let one = Quantity::parse(&format!("{number}{dots}{suffix}")).unwrap();
            let again = Quantity::parse(&one.to_string()).unwrap();
            prop_assert_eq!(one, again);
            prop_assert_eq!(one.to_string(), again.to_string());
        }

        #[test]
        fn order_is_that_of_numbers(a in any::<i32>(), b in any::<i32>(), suffix in "m||k|Mi") {
            let of = |number: i32| Quantity::parse(&format!("{number}{suffix}")).unwrap();
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
            prop_assert_eq!(of(a) + of(b) - of(b), of(a));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eEinumkKMGTP]{0,40}") {
            let _ = Quantity::parse(&text).map(|it| (it.to_string(), it.value_ceil()));
        }
    }
}
