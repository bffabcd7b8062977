//! Where all memory of the binary comes from: of what a server and its agents do under load much is to take and return small
//! pieces (docs/adr/0011-allocator.md).

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// No huge pages, whatever the machine gives by itself: most of these processes are small, and wait.
// The name is jemalloc's own for this.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 10] = b"thp:never\0";

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_char, c_void};
    use std::fs;
    use std::ptr::{null, null_mut};

    /// 64 MiB of them are held for a moment.
    const PIECES: usize = 16 * 1024;
    const PIECE_BYTES: usize = 4096;

    #[allow(unsafe_code)]
    fn setting(name: &CStr) -> String {
        let (mut value, mut bytes) = (null::<c_char>(), size_of::<*const c_char>());
        // SAFETY: a setting that is text is read into a pointer; the text lives as long as the process.
        unsafe {
            let into = (&raw mut value).cast::<c_void>();
            assert_eq!(tikv_jemalloc_sys::mallctl(name.as_ptr(), into, &raw mut bytes, null_mut(), 0), 0);
            CStr::from_ptr(value).to_str().unwrap().to_owned()
        }
    }

    /// Pages of this process that are in memory.
    fn resident_pages() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn there_are_no_huge_pages() {
        assert_eq!(setting(c"opt.thp"), "never");
    }

    #[test]
    fn what_is_free_goes_back_to_the_kernel() {
        let before = resident_pages();
        let pieces: Vec<_> = (0..PIECES).map(|n| vec![u8::try_from(n % 251).unwrap(); PIECE_BYTES]).collect();
        let held = resident_pages();
        drop(pieces);
        let free = resident_pages();
        node::memory::release();
        let left = resident_pages();
        let half = before.midpoint(held);
        assert!(free > half && left < half, "{before} pages, then {held}, {free} once it was free, then {left}");
    }
}
