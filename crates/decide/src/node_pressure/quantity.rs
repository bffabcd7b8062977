//! Bytes as Kubernetes writes them.

/// With the largest unit of 1024 that divides the number.
pub(super) fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut number, mut unit) = (bytes, 0);
    while number > 0 && number % 1024 == 0 && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::binary;

    #[test]
    fn units_that_divide() {
        for (bytes, want) in [(0, "0"), (1, "1"), (1024, "1Ki"), (100 << 20, "100Mi"), ((1 << 30) + 1024, "1048577Ki")]
        {
            assert_eq!(binary(bytes), want);
        }
    }
}
