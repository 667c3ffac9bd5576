//! The tables, as GitHub-flavoured Markdown. Pure but for the header, which reads what machine this is.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A table with a title and remarks.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Sentences below it: what was done, what failed.
    pub remarks: Vec<String>,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|it| (*it).to_owned()).collect();
        Table { title: title.into(), columns, ..Table::default() }
    }

    /// Adds a row; cells that are missing are left empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a sentence below.
    pub fn remark(&mut self, sentence: impl Into<String>) {
        self.remarks.push(sentence.into());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cell = |row: &[String], column: usize| row.get(column).map_or("", String::as_str).replace('|', "\\|");
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let rows = self.rows.iter().map(|row| cell(row, column).chars().count());
                rows.chain([self.columns[column].chars().count(), 3]).max().unwrap_or(3)
            })
            .collect();
        writeln!(f, "\n## {}\n", self.title)?;
        for (index, row) in [&self.columns].into_iter().chain(&self.rows).enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let text = cell(row, column);
                // Names to the left, numbers to the right.
                if column == 0 { write!(f, "| {text:<width$} ")? } else { write!(f, "| {text:>width$} ")? }
            }
            writeln!(f, "|")?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let line = "-".repeat(width - usize::from(column > 0));
                    write!(f, "| {line}{} ", if column > 0 { ":" } else { "" })?;
                }
                writeln!(f, "|")?;
            }
        }
        if !self.remarks.is_empty() {
            writeln!(f)?;
        }
        self.remarks.iter().try_for_each(|it| writeln!(f, "- {it}"))
    }
}

/// Milliseconds with three significant digits.
pub fn milliseconds(duration: Duration) -> String {
    significant(duration.as_secs_f64() * 1e3)
}

/// Whole microseconds.
pub fn microseconds(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1e6)
}

/// MiB with one decimal.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// A count per second, with thousands set apart.
pub fn rate(per_second: f64) -> String {
    let digits = format!("{per_second:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Three significant digits, no exponent.
pub fn significant(value: f64) -> String {
    match value {
        it if it >= 100.0 => format!("{it:.0}"),
        it if it >= 10.0 => format!("{it:.1}"),
        it => format!("{it:.2}"),
    }
}

/// The head of the report: machine, kernel, date, what it takes to be durable here, and the machine's pace: a program's life and a megabyte of JSON.
pub fn header(now: &str, fsync: Option<Duration>, pace: Option<(Duration, Duration)>, versions: &[String]) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|it| it.strip_prefix("model name")?.split_once(": ")).map_or("?", |it| it.1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|it| it.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let load = read("/proc/loadavg");
    let mut text = format!("# Orlop benchmarks\n\n- Date: {now}\n");
    text += &format!(
        "- Machine: {model}, {cores} cores, {:.0} GiB; client, server and store share it. Load average at the start: {}\n",
        memory.unwrap_or(0u64) as f64 / f64::from(1 << 20),
        load.split(' ').next().unwrap_or("?"),
    );
    text += &format!("- Kernel: {}\n", read("/proc/sys/kernel/osrelease").trim());
    if let Some(fsync) = fsync {
        text += &format!("- Disk: a write of 4 KiB and fdatasync take {} ms (median of 200)\n", milliseconds(fsync));
    }
    if let Some((start, json)) = pace {
        let (start, json) = (milliseconds(start), milliseconds(json));
        text += &format!("- Pace: `true` starts and ends in {start} ms, 1 MB of JSON is read in {json} ms (medians)\n");
    }
    versions.iter().for_each(|it| text += &format!("- {it}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new("Verbs", &["verb", "requests/s"]);
        table.row(["create".into(), rate(12_345.6)]);
        table.row(["get".into()]);
        table.remark("One | remark.");
        assert_eq!(
            table.to_string(),
            "\n## Verbs\n\n\
             | verb   | requests/s |\n\
             | ------ | ---------: |\n\
             | create |     12,346 |\n\
             | get    |            |\n\
             \n- One | remark.\n"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let check = |value: f64, expected: &str| assert_eq!(significant(value), expected);
        check(0.1234, "0.12");
        check(1.234, "1.23");
        check(12.34, "12.3");
        check(123.4, "123");
        assert_eq!((rate(999.0), rate(1_000.0), rate(1_234_567.0)), ("999".into(), "1,000".into(), "1,234,567".into()));
        assert_eq!((microseconds(Duration::from_nanos(99_600)), mebibytes(52_428_800)), ("100".into(), "50.0".into()));
    }
}
