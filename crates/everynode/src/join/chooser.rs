//! Which of several servers is asked: the one that answered last, until it can't be reached.
//!
//! # Invariants
//! Many requests that fail on one server at once move on from it once.
//!
//! # Absent
//! I/O, a clock: who asks says what failed.

/// A place in a list of servers.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    servers: usize,
    at: usize,
}

impl Chooser {
    /// Begins with the first of so many.
    pub(crate) fn new(servers: usize) -> Self {
        Self { servers: servers.max(1), at: 0 }
    }

    /// The one to ask.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Takes note that a server can't be reached; returns the next one if that changes whom to ask.
    pub(crate) fn failed(&mut self, server: usize) -> Option<usize> {
        if server != self.at || self.servers == 1 {
            return None;
        }
        self.at = (self.at + 1) % self.servers;
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_asked_when_one_is_gone() {
        let mut chooser = Chooser::new(3);
        assert_eq!(chooser.at(), 0);
        assert_eq!(chooser.failed(0), Some(1));
        assert_eq!(chooser.failed(0), None, "a request that failed at the same time moves nobody");
        assert_eq!(chooser.at(), 1);
        assert_eq!((chooser.failed(1), chooser.failed(2)), (Some(2), Some(0)));
        let mut lone = Chooser::new(1);
        assert_eq!((lone.failed(0), lone.at()), (None, 0));
    }
}
