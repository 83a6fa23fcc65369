//! Which CPUs are online.

use super::Error;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The online CPUs, in rising order.
pub fn online_cpus() -> Result<Vec<u32>, Error> {
    let text =
        std::fs::read_to_string(ONLINE).map_err(|source| Error::Read { path: ONLINE, source })?;
    Ok(parse_cpu_list(&text))
}

/// Parses the kernel's list format: `0-3,5`.
fn parse_cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::parse_cpu_list;

    #[test]
    fn lists() {
        for (text, expected) in [
            ("0\n", vec![0]),
            ("0-1\n", vec![0, 1]),
            ("0-2,5,7-8\n", vec![0, 1, 2, 5, 7, 8]),
            ("\n", vec![]),
        ] {
            assert_eq!(parse_cpu_list(text), expected, "{text:?}");
        }
    }
}
