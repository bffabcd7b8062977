//! Becoming the pod's sandbox: out of the agent's reach, into the pod's namespaces.
//!
//! # Invariants
//! - The caller has one thread: unshare and fork apply to the whole process.
//! - After [`daemonize`] the process has its own session, no terminal, no parent that waits for it, and adopts the
//!   orphans of its containers.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::ForkResult;

use super::cgroup;
use super::files::ShimConfig;
use crate::runtime::NamespaceMode;

/// The kernel's last choice when memory is short, as containerd's shims are.
const OOM_SCORE: &str = "-998";

/// Leaves the parent: returns in a grandchild, the calling process ends.
///
/// # Errors
/// What the kernel says.
pub(crate) fn daemonize() -> io::Result<()> {
    for last in [false, true] {
        // SAFETY: the shim has one thread, so the child may do all that the parent may.
        match unsafe { nix::unistd::fork() }? {
            // SAFETY: the parent has nothing to tidy up.
            ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
            ForkResult::Child if last => {}
            ForkResult::Child => {
                nix::unistd::setsid()?;
            }
        }
    }
    nix::sys::prctl::set_child_subreaper(true)?;
    // Needs CAP_SYS_RESOURCE; without it the shim keeps the agent's score.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let _ = nix::sys::prctl::set_name(c"everynode-shim");
    Ok(())
}

/// Enters the shim's cgroup, the pod's namespaces, and sets their host name and sysctls.
///
/// # Errors
/// A text for people.
pub(crate) fn enter(config: &ShimConfig) -> Result<(), String> {
    cgroup::hierarchies()
        .and_then(|hierarchies| hierarchies.enter(&config.cgroup))
        .map_err(|error| format!("failed to enter cgroup {}: {error}", config.cgroup.display()))?;
    if let Some(path) = &config.netns {
        let namespace =
            fs::File::open(path).map_err(|error| format!("network namespace {}: {error}", path.display()))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| format!("failed to join network namespace {}: {errno}", path.display()))?;
    }
    let mut unshared = CloneFlags::empty();
    unshared.set(CloneFlags::CLONE_NEWIPC, config.ipc != NamespaceMode::Node);
    unshared.set(CloneFlags::CLONE_NEWUTS, config.hostname.is_some());
    unshare(unshared).map_err(|errno| format!("failed to make the pod's namespaces: {errno}"))?;
    if let Some(hostname) = &config.hostname {
        nix::unistd::sethostname(hostname).map_err(|errno| format!("failed to set host name {hostname:?}: {errno}"))?;
    }
    for (name, value) in &config.sysctls {
        set_sysctl(name, value).map_err(|error| format!("failed to set sysctl {name}={value}: {error}"))?;
    }
    Ok(())
}

/// Dots and slashes are each other's where an interface's name holds a dot, as sysctl(8) has it.
fn sysctl_path(name: &str) -> String {
    let swapped: String = match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name.to_owned(),
        _ => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    };
    format!("/proc/sys/{swapped}")
}

fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    if name.split(['.', '/']).any(|part| part.is_empty()) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    fs::write(sysctl_path(name), value)
}

/// Makes the pod's process namespace: a first process that reaps, and ends when what is returned is closed.
///
/// # Errors
/// What the kernel says.
pub(crate) fn pause_process() -> io::Result<(i32, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (until, life) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the shim has one thread, so the child may do all that the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            drop((writer, until));
            let mut pid = [0; 4];
            let read = nix::unistd::read(reader.as_raw_fd(), &mut pid);
            nix::sys::wait::waitpid(child, None)?;
            match (read, i32::from_ne_bytes(pid)) {
                (Ok(4), pid) if pid > 0 => Ok((pid, life)),
                _ => Err(io::Error::other("failed to make a process namespace")),
            }
        }
        ForkResult::Child => {
            drop(life);
            // The middle process: its child is the namespace's first, and becomes the shim's own when this one ends.
            if unshare(CloneFlags::CLONE_NEWPID).is_ok() {
                // SAFETY: as above.
                match unsafe { nix::unistd::fork() } {
                    Ok(ForkResult::Parent { child }) => {
                        let _ = nix::unistd::write(&writer, &child.as_raw().to_ne_bytes());
                    }
                    Ok(ForkResult::Child) => pause(until),
                    Err(_) => {}
                }
            }
            // SAFETY: ends the child at once; destructors are the shim's business.
            unsafe { libc::_exit(0) }
        }
    }
}

/// The namespace's first process. Its end ends all others in it; so it must not outlive the shim, which alone could
/// tell about them.
fn pause(until: OwnedFd) -> ! {
    let _ = nix::sys::prctl::set_name(c"pause");
    super::let_go_of_streams();
    // SAFETY: an ignored SIGCHLD lets the kernel reap; no handler is involved.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let mut byte = [0];
    while nix::unistd::read(until.as_raw_fd(), &mut byte) == Err(Errno::EINTR) {}
    // SAFETY: ends the child at once; destructors are the shim's business.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_become_paths() {
        for (name, want) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(sysctl_path(name), want);
        }
        assert!(set_sysctl("net..ipv4", "1").is_err());
    }
}
