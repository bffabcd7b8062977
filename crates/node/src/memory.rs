//! Memory of processes that mostly wait, of which there are many: agents, and a shim for every pod of a node.
//!
//! A shim works for some milliseconds and then waits for weeks: it lets go of what it used. An agent starts with much of a
//! large program, and then lives on a small part of it: it lets go of the rest now and then.
//!
//! What a process used of the program file (code, constants) stays in the kernel's page cache, where the agent and other shims
//! share it; only this process's claim on it goes, so that the kernel may reclaim it. The next event maps again what it
//! needs, some microseconds for each part.

use std::fs;
use std::ptr::null_mut;

/// Lets go of the program's code and constants, and of free heap.
pub fn release() {
    release_heap();
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in unchanged_parts(&maps) {
        // SAFETY: the range is a private mapping of a file that nothing in this process has ever written to (no write
        // permission, no relocations), so the pages come back from the file with the same content.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}

/// Returns to the kernel what is free: what this thread keeps for itself, then the pages of all arenas (that is what 4096 stands for).
fn release_heap() {
    for order in [c"thread.tcache.flush", c"arena.4096.purge"] {
        // SAFETY: both orders read and write nothing here; what is allocated stays. Harmless in a process of another allocator.
        let errno = unsafe { tikv_jemalloc_sys::mallctl(order.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
        debug_assert_eq!(errno, 0, "{order:?}");
    }
}

/// Start and length of the mappings of a file that are code, or constants at its begin. Later read-only mappings are
/// not: they hold relocated addresses, which are in no file.
fn unchanged_parts(maps: &str) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(offset)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let of_file = fields.nth(2).is_some_and(|path| path.starts_with('/'));
        let constants = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
        if !of_file || !(rights == "r-xp" || constants) {
            continue;
        }
        let bounds = range.split_once('-').and_then(|(start, end)| {
            let start = usize::from_str_radix(start, 16).ok()?;
            Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
        });
        parts.extend(bounds);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
555500000000-555500001000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000002000 r--p 00000000 fe:00 7042543                    /usr/bin/everynode
7f0000002000-7f0000005000 r-xp 00002000 fe:00 7042543                    /usr/bin/everynode
7f0000005000-7f0000006000 r--p 00005000 fe:00 7042543                    /usr/bin/everynode
7f0000006000-7f0000007000 rw-p 00006000 fe:00 7042543                    /usr/bin/everynode
7ffcf0000000-7ffcf0002000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn relocated_constants_stay() {
        assert_eq!(unchanged_parts(MAPS), [(0x7f00_0000_0000, 0x2000), (0x7f00_0000_2000, 0x3000)]);
    }

    #[test]
    fn the_program_goes_on_after_its_code_was_let_go_of() {
        release();
        assert_eq!(format!("{:?}", ["constants", "too"]), "[\"constants\", \"too\"]");
    }
}
