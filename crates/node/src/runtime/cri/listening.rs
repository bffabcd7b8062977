//! Whether somebody listens on a port of a pod, by what the kernel tells of its network.

use std::fs;

/// The state of a socket that listens, as the kernel writes it.
const LISTEN: &str = "0A";

/// True when a socket of this process's network listens on the port. None: it can't be told.
pub(super) fn listens(pid: i32, port: u16) -> Option<bool> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/net/{file}"));
    // A kernel without IPv6 has no second file.
    let (v4, v6) = (read("tcp").ok()?, read("tcp6").unwrap_or_default());
    Some(v4.lines().chain(v6.lines()).any(|line| is_listener(line, port)))
}

/// A line is `SL: LOCAL:PORT REMOTE:PORT STATE ...`, in hex.
fn is_listener(line: &str, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next(), words.next(), words.next());
    let own = local.and_then(|local| local.rsplit_once(':')).and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    state == Some(LISTEN) && own == Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue";
        let listener =
            "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0";
        let connection =
            "   1: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0";
        let sixth = "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0 0";
        for (line, port, want) in [
            (head, 0, false),
            (listener, 80, true),
            (listener, 81, false),
            (connection, 80, false),
            (sixth, 8080, true),
        ] {
            assert_eq!(is_listener(line, port), want, "{line}");
        }
    }

    #[test]
    fn a_listener_of_this_process_is_seen_while_it_listens() {
        let own = i32::try_from(std::process::id()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listens(own, port), Some(true));
        drop(listener);
        assert_eq!(listens(own, port), Some(false));
        assert_eq!(listens(i32::MAX, port), None);
    }
}
