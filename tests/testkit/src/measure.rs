//! What a process has used, and what several runs of the same thing say.

use std::fmt;
use std::time::Duration;

use crate::error::{Doing as _, Error, Result};

/// What a process has used so far, as Linux tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// CPU time of all its threads, of those that ended too, in user and in kernel mode.
    pub cpu: Duration,
    /// Bytes in memory now.
    pub resident: u64,
    /// The most bytes that were in memory at once.
    pub peak: u64,
}

impl Used {
    /// What the process with this id has used.
    pub fn by(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).doing(|| format!("read {path}"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let odd = || Error::Other(format!("/proc/{pid} is not of the form that Linux writes"));
        Ok(Self {
            cpu: cpu(&stat, rustix::param::clock_ticks_per_second()).ok_or_else(odd)?,
            resident: bytes(&status, "VmRSS:").ok_or_else(odd)?,
            peak: bytes(&status, "VmHWM:").ok_or_else(odd)?,
        })
    }
}

/// The CPU time in `/proc/<pid>/stat`: its 14th and 15th field, in ticks.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the program's name, in parentheses, with whatever it holds.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / ticks_per_second))
}

/// A line of `/proc/<pid>/status`, such as `VmRSS:     1234 kB`.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number * 1_024)
}

/// The same thing measured several times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// Adds a measurement.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The one in the middle; the lower of two. 0 where nothing was measured.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.0
            .get(self.0.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(0.0)
    }

    /// Written as `median unit (least–most)`.
    #[must_use]
    pub fn show(&self, unit: &str) -> String {
        let (least, most) = (self.0.first(), self.0.last());
        let number = |value: Option<&f64>| Number(value.copied().unwrap_or(0.0)).to_string();
        format!(
            "{} {unit} ({}–{})",
            Number(self.median()),
            number(least),
            number(most)
        )
    }
}

/// A number as people read it: three digits that count, thousands apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value < 10.0 {
            return write!(f, "{value:.2}");
        }
        if value < 100.0 {
            return write!(f, "{value:.1}");
        }
        let digits = format!("{value:.0}");
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 9 9 20 0 8 0 1 1 1";
        assert_eq!(cpu(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(cpu("7 (a", 100), None);
        assert_eq!(bytes("VmHWM:\t  12 kB\nVmRSS:\t 8 kB\n", "VmRSS:"), Some(8_192));
        let own = Used::by(std::process::id()).expect("this process");
        assert!(own.resident > 0 && own.peak >= own.resident);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let mut runs = Runs::default();
        for value in [3.0, 1.0, 1_234.5, 2.0, 80.0] {
            runs.add(value);
        }
        assert_eq!(runs.show("s"), "3.00 s (1.00–1,234)");
        assert_eq!(Number(1_234_567.0).to_string(), "1,234,567");
        assert_eq!(Runs::default().median(), 0.0);
    }
}
