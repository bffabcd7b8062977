//! Signals by their names.

/// A signal as images and pods write it: "SIGQUIT", "QUIT", "3", "SIGRTMIN+3"; empty is SIGTERM.
///
/// # Errors
/// A text for people when it is none.
pub(crate) fn number(text: &str) -> Result<i32, String> {
    let invalid = || format!("stop signal {text:?} is not one");
    if text.is_empty() {
        return Ok(libc::SIGTERM);
    }
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=libc::SIGRTMAX()).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let from = [("RTMIN", libc::SIGRTMIN(), 1), ("RTMAX", libc::SIGRTMAX(), -1)];
    for (real_time, base, step) in from {
        let Some(offset) = name.strip_prefix(real_time) else { continue };
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().map_err(|_| invalid())? };
        let number = base + offset;
        let known = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) && offset * step >= 0;
        return if known { Ok(number) } else { Err(invalid()) };
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_images_and_pods_write_them() {
        let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
        for (text, want) in [
            ("", 15),
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN", first),
            ("SIGRTMIN+3", first + 3),
            ("SIGRTMAX-2", last - 2),
        ] {
            assert_eq!(number(text), Ok(want), "{text}");
        }
        for text in ["0", "99", "SIGNONE", "SIGRTMIN+99", "SIGRTMIN-1", "SIGRTMAX+1"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
