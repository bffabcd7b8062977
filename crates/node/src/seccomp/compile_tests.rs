use super::super::default::runtime_default;
use super::super::table::{X86, X86_64};
use super::*;

const NEW: (u32, u32) = (6, 1);

/// What the kernel would do.
fn run(filter: &Filter, audit: u32, number: u32, args: [u64; 6]) -> Action {
    let word = |at: u32| match at {
        NUMBER_AT => number,
        ARCHITECTURE_AT => audit,
        _ => {
            let arg = args[((at - ARGUMENTS_AT) / 8) as usize];
            if at.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
        }
    };
    let (mut at, mut register) = (0_usize, 0_u32);
    loop {
        let Instruction { code, yes, no, value } = filter.program[at];
        at += 1;
        let branch = |on: bool| usize::from(if on { yes } else { no });
        match code {
            LOAD => register = word(value),
            AND => register &= value,
            JUMP => at += value as usize,
            IS_EQUAL => at += branch(register == value),
            IS_GREATER => at += branch(register > value),
            IS_GREATER_OR_EQUAL => at += branch(register >= value),
            RETURN => return value,
            other => panic!("{other:#x}"),
        }
    }
}

fn profile(json: &str) -> Profile {
    serde_json::from_str(json).unwrap()
}

fn caps(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn call(filter: &Filter, name: &str, args: &[u64]) -> Action {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let own = of_machine()[0];
    run(filter, own.audit, (own.number)(name).unwrap(), all)
}

const EPERM: Action = ERRNO | 1;
const ENOSYS: Action = ERRNO | 38;

#[test]
fn every_operator_asks_both_words() {
    const BIG: u64 = 1 << 32;
    for (op, value, two, cases) in [
        ("EQ", BIG + 5, 0, vec![(BIG + 5, true), (5, false), (BIG + 4, false), (2 * BIG + 5, false)]),
        ("NE", BIG + 5, 0, vec![(BIG + 5, false), (5, true), (BIG + 4, true)]),
        ("GT", BIG + 5, 0, vec![(BIG + 5, false), (BIG + 6, true), (6, false), (2 * BIG, true)]),
        ("GE", BIG + 5, 0, vec![(BIG + 5, true), (BIG + 4, false), (6, false), (2 * BIG, true)]),
        ("LT", BIG + 5, 0, vec![(BIG + 5, false), (BIG + 4, true), (9, true), (2 * BIG, false)]),
        ("LE", BIG + 5, 0, vec![(BIG + 5, true), (BIG + 6, false), (9, true), (2 * BIG, false)]),
        ("MASKED_EQ", BIG + 6, BIG + 2, vec![(BIG + 3, true), (3, false), (BIG + 7, false), (3 * BIG + 2, true)]),
    ] {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["getpid"], "action": "SCMP_ACT_ALLOW",
                "args": [{{"index": 1, "value": {value}, "valueTwo": {two}, "op": "SCMP_CMP_{op}"}}]}}]}}"#
        );
        let filter = compile(&profile(&text), &[], NEW).unwrap();
        for (arg, allowed) in cases {
            let want = if allowed { ALLOW } else { EPERM };
            assert_eq!(call(&filter, "getpid", &[0, arg]), want, "{op} {arg:#x}");
        }
    }
}

#[test]
fn the_first_rule_that_holds_counts() {
    let filter = compile(
        &profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 9, "op": "SCMP_CMP_GT"}]},
            {"names": ["write", "nothing"], "action": "SCMP_ACT_KILL_PROCESS", "args": [
                {"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"name": "read", "action": "SCMP_ACT_LOG"}, {"name": "read", "action": "SCMP_ACT_TRAP"}]}"#,
        ),
        &[],
        NEW,
    )
    .unwrap();
    assert_eq!(call(&filter, "write", &[1, 0, 10]), ERRNO | 5);
    assert_eq!(call(&filter, "write", &[1, 0, 9]), ALLOW, "both must hold");
    assert_eq!([call(&filter, "write", &[7]), call(&filter, "write", &[8])], [KILL_PROCESS; 2], "either may hold");
    assert_eq!(call(&filter, "read", &[]), LOG);
    assert_eq!(run(&filter, of_machine()[0].audit, 9999, [0; 6]), ALLOW);
}

#[test]
fn other_architectures_are_killed_unless_named() {
    let text = |more: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW"{more}}}"#);
    let of = |more: &str| compile(&profile(&text(more)), &[], NEW).unwrap();
    if of_machine()[0].audit != X86_64.audit {
        return;
    }
    assert_eq!(run(&of(""), X86.audit, 1, [0; 6]), KILL_THREAD);
    assert_eq!(run(&of(r#", "architectures": ["SCMP_ARCH_X86"]"#), X86.audit, 1, [0; 6]), ALLOW);
    let map = r#", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]"#;
    assert_eq!(run(&of(map), X86.audit, 1, [0; 6]), ALLOW);
}

#[test]
fn rules_hold_by_capability_and_kernel() {
    let file = profile(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["umount2"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
        {"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    for (own, kernel, want) in [
        (caps(&[]), (4, 7), [EPERM, ALLOW, EPERM]),
        (caps(&["CAP_SYS_ADMIN"]), (4, 8), [ALLOW, EPERM, ALLOW]),
        (caps(&[]), (5, 0), [EPERM, ALLOW, ALLOW]),
    ] {
        let filter = compile(&file, &own, kernel).unwrap();
        assert_eq!(["mount", "umount2", "ptrace"].map(|name| call(&filter, name, &[])), want, "{own:?} {kernel:?}");
        assert_eq!(call(&filter, "acct", &[]), EPERM);
    }
}

#[test]
fn the_default_withholds_what_others_do() {
    let filter = compile(&runtime_default(&caps(&["CAP_SYS_CHROOT"])), &caps(&["CAP_SYS_CHROOT"]), NEW).unwrap();
    let of = |name: &str, args: &[u64]| call(&filter, name, args);
    for (name, args, want) in [
        ("read", &[][..], ALLOW),
        ("chroot", &[], ALLOW),
        ("removexattrat", &[], ALLOW),
        ("mount", &[], EPERM),
        ("unshare", &[], EPERM),
        ("keyctl", &[], EPERM),
        ("io_uring_setup", &[], EPERM),
        ("clone3", &[], ENOSYS),
        ("file_getattr", &[], ENOSYS),
        ("clone", &[0x11], ALLOW),
        ("clone", &[0x1000_0011], EPERM),
        ("socket", &[1], ALLOW),
        ("socket", &[38], EPERM),
        ("socket", &[40], EPERM),
        ("socket", &[44], ALLOW),
        // A family is a number of 32 bits: what is above must not hide it.
        ("socket", &[(1 << 32) + 40], EPERM),
        ("personality", &[0x8], ALLOW),
        ("personality", &[0x40000], EPERM),
    ] {
        assert_eq!(of(name, args), want, "{name} {args:?}");
    }
    let mighty = caps(&["CAP_SYS_ADMIN"]);
    let filter = compile(&runtime_default(&mighty), &mighty, NEW).unwrap();
    for (name, want) in [("mount", ALLOW), ("clone3", ALLOW), ("bpf", ALLOW), ("chroot", EPERM), ("keyctl", EPERM)] {
        assert_eq!(call(&filter, name, &[]), want, "{name}");
    }
    if of_machine()[0].audit == X86_64.audit {
        assert_eq!(run(&filter, X86.audit, 21, [0; 6]), ALLOW, "mount of 32 bits");
        assert_eq!(run(&filter, X86_64.audit, 0x4000_0000, [0; 6]), ENOSYS, "x32");
    }
    assert!(filter.program.len() < 600, "{}", filter.program.len());
}

#[test]
fn what_can_not_be_is_refused() {
    for (text, want) in [
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{}"#, "action \"\""),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#, "flag \"X\""),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}"#, "listenerPath"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}"#,
            "argument 6",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "op": "LIKE"}]}]}"#,
            "operator \"LIKE\"",
        ),
    ] {
        let error = compile(&profile(text), &[], NEW).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_program_goes_through_a_file() {
    let filter = compile(&runtime_default(&[]), &[], NEW).unwrap();
    let text = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
}
