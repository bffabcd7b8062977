//! Architectures and the numbers of their system calls.

/// One that programs on this machine may be made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Architecture {
    /// As profiles name it.
    pub(crate) name: &'static str,
    /// As the kernel tells it to filters.
    pub(crate) audit: u32,
    /// Number of a call by its name.
    pub(crate) number: fn(&str) -> Option<u32>,
    /// All its calls.
    pub(crate) all: fn() -> Vec<(u32, &'static str)>,
}

macro_rules! architecture {
    ($constant:ident, $module:ident, $name:literal, $audit:literal) => {
        pub(crate) const $constant: Architecture = Architecture {
            name: $name,
            audit: $audit,
            number: |name| name.parse::<syscalls::$module::Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok()),
            all: || {
                let last = usize::try_from(syscalls::$module::Sysno::last().id()).unwrap_or_default();
                let at = |number: usize| {
                    let call = syscalls::$module::Sysno::new(number)?;
                    Some((u32::try_from(number).ok()?, call.name()))
                };
                (0..=last).filter_map(at).collect()
            },
        };
    };
}

architecture!(X86_64, x86_64, "SCMP_ARCH_X86_64", 0xC000_003E);
architecture!(X86, x86, "SCMP_ARCH_X86", 0x4000_0003);
architecture!(AARCH64, aarch64, "SCMP_ARCH_AARCH64", 0xC000_00B7);
architecture!(ARM, arm, "SCMP_ARCH_ARM", 0x4000_0028);

/// What this machine runs: its own, then the older one that it runs too. Empty where no table is here.
pub(crate) fn of_machine() -> &'static [Architecture] {
    if cfg!(target_arch = "x86_64") {
        &[X86_64, X86]
    } else if cfg!(target_arch = "aarch64") {
        &[AARCH64, ARM]
    } else {
        &[]
    }
}

/// As Go, and so profiles of Docker's form, name it.
pub(crate) fn go_name(architecture: &Architecture) -> &'static str {
    match architecture.name {
        "SCMP_ARCH_X86_64" => "amd64",
        "SCMP_ARCH_X86" => "x86",
        "SCMP_ARCH_AARCH64" => "arm64",
        _ => "arm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!((X86_64.number)("mount"), Some(165));
        assert_eq!((X86.number)("mount"), Some(21));
        assert_eq!((AARCH64.number)("mount"), Some(40));
        assert_eq!((ARM.number)("socketcall"), None);
        for architecture in [X86_64, X86, AARCH64, ARM] {
            let all = (architecture.all)();
            assert!(all.len() > 300 && all.iter().all(|(number, name)| (architecture.number)(name) == Some(*number)));
        }
    }
}
