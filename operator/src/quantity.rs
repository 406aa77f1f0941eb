//! Kubernetes quantities: `500m`, `1Gi`.

/// A Kubernetes quantity as a number; none for what is not one.
pub(crate) fn quantity(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1.0));
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if digits.is_empty() || !digits.chars().all(plain) {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale() {
        for (text, number) in [
            ("1", Some(1.0)),
            ("500m", Some(0.5)),
            ("1Ki", Some(1024.0)),
            ("2G", Some(2e9)),
            ("", None),
            ("Gi", None),
            ("main", None),
        ] {
            assert_eq!(quantity(text), number, "{text:?}");
        }
    }
}
