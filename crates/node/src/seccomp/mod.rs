//! System calls that a container may make: profiles as files have them, to a program that the kernel runs on each call.
//!
//! # Invariants
//! - Pure but for [`install`]: the same profile, capabilities and architecture give the same program.
//! - What a profile asks for and can't be had (a listener that decides) is an error, never left out.
//!
//! # Absent
//! A filter of one action per profile, or for one architecture alone, as the crates without C code have it: profiles answer
//! some calls with EPERM, others with ENOSYS, and programs of 32 bits run beside those of 64.

mod compile;
mod default;
mod profile;
mod table;

use std::io;

pub(crate) use compile::{Filter, Instruction, compile};
pub(crate) use default::runtime_default;
pub(crate) use profile::Profile;

/// Lets the kernel ask the filter before each call of this process from now on, and of those it becomes.
///
/// # Errors
/// What the kernel says: it needs CAP_SYS_ADMIN, or that no program gives more rights.
pub(crate) fn install(filter: &Filter) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        len: libc::c_ushort,
        filter: *const Instruction,
    }
    let len = libc::c_ushort::try_from(filter.program.len()).map_err(io::Error::other)?;
    let program = Program { len, filter: filter.program.as_ptr() };
    // SAFETY: the kernel copies the program, whose instructions are laid out as it wants them, and keeps no pointer.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, filter.flags, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
