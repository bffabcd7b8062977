//! Which devices a container may use, where control groups are version 2: a program in the kernel that decides.
//!
//! Version 1 has a devices hierarchy, which libcontainer writes. For version 2 it would need a C library to make this
//! program, which is always the same.
//!
//! # Invariants
//! - The devices are those every Kubernetes runtime allows: null, zero, full, random, urandom, tty, console, ptmx, pts.
//!   Making other nodes is allowed, opening them is not.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;

/// In the low half of the first word the kernel passes.
const CHARACTER_DEVICE: i32 = 2;
/// In its high half: only mknod, neither read nor write.
const ONLY_MKNOD: i32 = 1;

/// Major number, minor numbers (none: all).
const ALLOWED: [(i32, &[i32]); 3] = [(1, &[3, 5, 7, 8, 9]), (5, &[0, 1, 2]), (136, &[])];

/// One instruction of the kernel's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// destination = *(u32 *)(source + offset)
const fn load(destination: u8, source: u8, offset: i16) -> Instruction {
    instruction(0x61, destination, source, offset, 0)
}

/// destination = immediate
const fn set(destination: u8, immediate: i32) -> Instruction {
    instruction(0xb7, destination, 0, 0, immediate)
}

/// if register != immediate skip the next `over`
const fn skip_unless_equal(register: u8, immediate: i32, over: i16) -> Instruction {
    instruction(0x55, register, 0, over, immediate)
}

const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// Answers 1 (may) or 0.
fn program() -> Vec<Instruction> {
    let mut code = vec![
        load(2, 1, 0),
        instruction(0xbf, 3, 2, 0, 0),      // r3 = r2
        instruction(0x57, 3, 0, 0, 0xffff), // r3 &= 0xffff: kind of device
        instruction(0x77, 2, 0, 0, 16),     // r2 >>= 16: what for
        load(4, 1, 4),                      // major
        load(5, 1, 8),                      // minor
        set(0, 1),
        skip_unless_equal(2, ONLY_MKNOD, 1),
        EXIT,
        set(0, 0),
        instruction(0x15, 3, 0, 1, CHARACTER_DEVICE), // if r3 == character skip the exit
        EXIT,
    ];
    for (major, minors) in ALLOWED {
        let body: Vec<Instruction> = match minors {
            [] => vec![set(0, 1), EXIT],
            minors => minors.iter().flat_map(|minor| [skip_unless_equal(5, *minor, 2), set(0, 1), EXIT]).collect(),
        };
        code.push(skip_unless_equal(4, major, i16::try_from(body.len()).unwrap_or(i16::MAX)));
        code.extend(body);
    }
    code.push(EXIT);
    code
}

/// The kernel's attributes of BPF_PROG_LOAD, as far as they matter here.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same of BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Restricts the group at `dir` from now on.
///
/// # Errors
/// What the kernel says: it was built without BPF for control groups, or we may not.
pub(crate) fn restrict(dir: &Path) -> io::Result<()> {
    let code = program();
    let attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(code.len()).map_err(io::Error::other)?,
        code: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the attributes, and the code and license they point to, are valid for the call.
    let program =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of_val(&attributes)) };
    if program < 0 {
        return Err(io::Error::last_os_error());
    }
    let program = i32::try_from(program).map_err(io::Error::other)?;
    // SAFETY: the kernel gave the descriptor just now, nobody else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let group = File::open(dir)?;
    let attributes = AttachAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: the attributes are valid for the call, their descriptors are open.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attributes, size_of_val(&attributes)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's machine, as far as the program uses it.
    fn run(access: u32, kind: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let code = program();
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = code[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let value = u64::try_from(immediate).unwrap();
            let skip = usize::try_from(offset).unwrap();
            at += 1;
            match code {
                0x61 => registers[to] = u64::from(context[skip / 4]),
                0xb7 => registers[to] = value,
                0xbf => registers[to] = registers[from],
                0x57 => registers[to] &= value,
                0x77 => registers[to] >>= value,
                0x55 if registers[to] != value => at += skip,
                0x15 if registers[to] == value => at += skip,
                0x55 | 0x15 => {}
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn only_the_usual_devices_can_be_opened_and_all_can_be_made() {
        let (mknod, read, write, block, character) = (1, 2, 4, 1, 2);
        for (access, kind, major, minor, want) in [
            (read | write, character, 1, 3, true),
            (write, character, 1, 9, true),
            (read, character, 5, 2, true),
            (read, character, 136, 42, true),
            (read, character, 1, 1, false),
            (write, character, 5, 3, false),
            (read, character, 10, 200, false),
            (read, block, 8, 0, false),
            (read, block, 1, 3, false),
            (mknod, block, 8, 0, true),
            (mknod | read, block, 8, 0, false),
        ] {
            assert_eq!(run(access, kind, major, minor), want, "{access} {kind} {major}:{minor}");
        }
    }
}
