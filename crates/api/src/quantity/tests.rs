//! Quantities as Kubernetes reads and writes them.

use super::*;

#[test]
fn canonical_text() {
    fn check(text: &str, expect: &str) {
        assert_eq!(Quantity::parse(text).expect(text).to_string(), expect, "{text}");
    }
    check("0", "0");
    check("0Ki", "0");
    check("100m", "100m");
    check("0.1", "100m");
    check("1.5", "1500m");
    check("1.500", "1.500"); // Kubernetes keeps it
    check("1000m", "1");
    check("1024Ki", "1Mi");
    check("200Mi", "200Mi");
    check("1.5Gi", "1536Mi");
    check("0.5Gi", "512Mi");
    check("1023", "1023");
    check("1Ki", "1Ki");
    check("0.001Ki", "1024m");
    check("9Ei", "9223372036854775807");
    check("12e6", "12e6");
    check("1e4", "10e3");
    check("1E", "1E");
    check("1000E", "1000E");
    check("0.0000000001", "1n");
    check("-1.5", "-1500m");
    check("5.", "5."); // and this
    check("2048000", "2048k");
    check("1.0001Mi", "1048680857600u");
    check("123456789123456789123", "123456789123456789123");
}

#[test]
fn refused_text() {
    fn check(text: &str, expect: QuantityError) {
        assert_eq!(Quantity::parse(text).map(|q| q.to_string()), Err(expect), "{text}");
    }
    check("", QuantityError::Format);
    check("x", QuantityError::Format);
    check("1.2.3", QuantityError::Format);
    check("1 Gi", QuantityError::Format);
    check("1mm", QuantityError::Suffix);
    check("1e", QuantityError::Suffix);
    check("5Kii", QuantityError::Suffix);
}

#[test]
fn amounts() {
    fn check(text: &str, units: i64, milli: i64) {
        let quantity = Quantity::parse(text).expect(text);
        assert_eq!((quantity.units(), quantity.milli()), (units, milli), "{text}");
    }
    check("1", 1, 1000);
    check("1100m", 2, 1100);
    check("1u", 1, 1);
    check("-1500m", -2, -1500);
    check("1Ki", 1024, 1_024_000);
    check("1e25", i64::MAX, i64::MAX);
}

#[test]
fn rounding_to_milli() {
    fn check(text: &str, expect: &str) {
        assert_eq!(Quantity::parse(text).expect(text).rounded_to_milli().to_string(), expect, "{text}");
    }
    check("100m", "100m");
    check("1.500", "1.500");
    check("1u", "1m");
    check("-1500u", "-2m");
}

#[test]
fn sums_and_order() {
    let q = |text: &str| Quantity::parse(text).expect(text);
    assert_eq!((q("1Gi") + &q("512Mi")).to_string(), "1536Mi");
    assert_eq!((q("0") + &q("512Mi")).to_string(), "512Mi");
    assert_eq!((q("1") - &q("100m")).to_string(), "900m");
    assert!(q("1") == q("1000m") && q("1Ki") > q("1k") && q("-1") < q("0"));
}

#[test]
fn the_largest_amounts_round_without_overflow() {
    let digits = "9".repeat(60);
    for text in [format!("1.{digits}e30"), format!("{digits}.{digits}"), format!("-{digits}.{digits}Gi")] {
        let rounded = Quantity::parse(&text).unwrap().rounded_to_milli();
        assert!(!rounded.is_zero(), "{text}");
    }
    // Found by fuzzing: as many billionths as can be held, and a few that are no thousandth.
    let largest = Quantity { nanos: i128::MAX, format: Format::DecimalSi, kept: None };
    assert!(!largest.rounded_to_milli().is_negative());
    let least = Quantity { nanos: -i128::MAX, format: Format::BinarySi, kept: None }.rounded_to_milli();
    assert!(least.to_string().starts_with('-'));
}
