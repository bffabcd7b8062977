//! What needs memory and changes the process: starting containers and execs with libcontainer, in a child that ends.
//!
//! The shim forks a worker for each; the worker may allocate, unshare and chdir as it likes. Containers are cloned as
//! the worker's siblings (CLONE_PARENT), so they are the shim's children and the shim sees how they end.
//!
//! # Invariants
//! - The worker speaks first: [`Report::Pid`]; a container starts only after the shim has noted that and said go. If
//!   either dies before, the container never runs.
//! - Nothing of the shim's file descriptors, signal mask or ignored signals reaches the program.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::devices;
use super::executor::Exec;
use super::files::{CONTAINER, CONTAINERS, ContainerFile, OCI_CONFIG, OCI_STATE, ROOTFS, read_json, write_json};
use super::protocol::ExecProcess;
use super::rootfs;
use super::user;

/// Short, so that the path of libcontainer's socket below the pod's directory fits a socket address.
const OCI_ID: &str = "c";
/// The kernel's own words and a path.
const ERROR_BYTES_MAX: u64 = 4096;

/// What a worker tells the shim, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The process is there.
    Pid(i32),
    /// The program runs.
    Started,
    /// It can't.
    Failed(String),
}

/// What a worker shall start.
#[derive(Debug)]
pub(crate) enum Job {
    /// A container whose files lie in `containers/ID`.
    Container {
        /// Its id.
        id: String,
        /// Standard streams; none with a terminal.
        streams: Option<[OwnedFd; 3]>,
        /// Socket that takes the terminal.
        console: Option<PathBuf>,
    },
    /// A program in it.
    Exec {
        /// The container's id.
        id: String,
        /// What to run.
        process: ExecProcess,
        /// Standard streams; none with a terminal.
        streams: Option<[OwnedFd; 3]>,
    },
}

/// A worker at work.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its process.
    pub(crate) pid: i32,
    /// Its reports come here; does not block.
    pub(crate) reports: OwnedFd,
    /// A byte here lets a container start.
    pub(crate) go: OwnedFd,
}

/// Forks a worker.
///
/// # Errors
/// What the kernel says.
pub(crate) fn spawn(job: Job) -> nix::Result<Worker> {
    let (reports, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (wait, go) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(reports.as_raw_fd(), nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // SAFETY: the shim has one thread, so the child may do all that the parent may.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Worker { pid: child.as_raw(), reports, go }),
        nix::unistd::ForkResult::Child => {
            drop((reports, go));
            let mut tell = File::from(tell);
            let report = match run(job, &mut tell, File::from(wait)) {
                Ok(()) => Report::Started,
                Err(message) => Report::Failed(message),
            };
            send(&mut tell, &report);
            // SAFETY: ends the child at once; destructors are the shim's business.
            unsafe { libc::_exit(0) }
        }
    }
}

fn send(tell: &mut File, report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = tell.write_all(&line);
    }
}

fn run(job: Job, tell: &mut File, wait: File) -> Result<(), String> {
    clean_process();
    let (errors, errors_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| errno.to_string())?;
    let keep = |streams: &Option<[OwnedFd; 3]>| {
        let mut keep = vec![tell.as_raw_fd(), wait.as_raw_fd(), errors.as_raw_fd(), errors_in.as_raw_fd()];
        keep.extend(streams.iter().flatten().map(|fd| fd.as_raw_fd()));
        keep
    };
    match job {
        Job::Container { id, streams, console } => {
            close_all_but(&keep(&streams));
            let dir = PathBuf::from(CONTAINERS).join(&id);
            let file: ContainerFile = read_json(&dir.join(CONTAINER)).map_err(|error| error.to_string())?;
            let started = start_container(&dir, &file, streams, console, errors_in, tell, wait);
            with_exec_error(started, errors)
        }
        Job::Exec { id, process, streams } => {
            close_all_but(&keep(&streams));
            let dir = PathBuf::from(CONTAINERS).join(&id);
            let started = exec(&dir, process, streams, errors_in, tell);
            with_exec_error(started, errors)
        }
    }
}

/// What the container's own process said is nearer to the cause than what libcontainer makes of it.
fn with_exec_error(started: Result<(), String>, errors: OwnedFd) -> Result<(), String> {
    let mut text = Vec::new();
    let _ = File::from(errors).take(ERROR_BYTES_MAX).read_to_end(&mut text);
    match (text.is_empty(), started) {
        (false, _) => Err(format!("unable to start container process: {}", String::from_utf8_lossy(&text))),
        (true, Err(message)) => Err(format!("unable to start container process: {message}")),
        (true, Ok(())) => Ok(()),
    }
}

/// Signals and mask as a program expects them; both would outlive execve.
fn clean_process() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: resets dispositions; no handler is involved. Those that can't be changed stay.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
}

fn close_all_but(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3).chain([RawFd::MAX]) {
        if fd > from {
            // SAFETY: closes descriptors that nothing in this child uses: all it uses are in `keep`.
            unsafe { libc::syscall(libc::SYS_close_range, from, if fd == RawFd::MAX { fd } else { fd - 1 }, 0) };
        }
        from = fd.saturating_add(1);
    }
}

fn start_container(
    dir: &Path,
    file: &ContainerFile,
    streams: Option<[OwnedFd; 3]>,
    console: Option<PathBuf>,
    errors: OwnedFd,
    tell: &mut File,
    mut wait: File,
) -> Result<(), String> {
    let node_mounts = File::open("/proc/self/ns/mnt").map_err(|error| format!("no mount namespace: {error}"))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("failed to unshare the mount namespace: {errno}"))?;
    let root_path = dir.join(ROOTFS);
    rootfs::mount_overlay(&file.lower_dirs, &file.data_dir, &root_path)?;
    let root = rootfs::open_root(&root_path).map_err(|error| error.to_string())?;
    let deferred = rootfs::mount_all(root.as_fd(), &file.mounts)?;
    let spec = finish_spec(root.as_fd(), file, &streams)?;
    write_json(&dir.join(OCI_CONFIG), &spec).map_err(|error| format!("failed to write the OCI config: {error}"))?;
    prepare_cgroup(&file.cgroup)?;
    let oci = dir.join(OCI_STATE);
    let _ = fs::remove_dir_all(&oci);
    let mut builder = ContainerBuilder::new(OCI_ID.to_owned(), SyscallType::default())
        .with_executor(Exec::new(errors.as_raw_fd(), file.confinement.clone()))
        .with_root_path(&oci)
        .map_err(|error| chain(&error))?
        .with_console_socket(console);
    if let Some([stdin, stdout, stderr]) = streams {
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let built = builder.as_init(dir).with_systemd(false).with_detach(true).as_sibling(true).build();
    // Its other copy, the container's, closes when the program starts; then the reader sees the end.
    drop(errors);
    let mut container = built.map_err(|error| chain(&error))?;
    let pid = container.pid().ok_or("the container has no process")?.as_raw();
    let finish = || {
        restrict_devices(file)?;
        if deferred.is_empty() { Ok(()) } else { enter_mounts(pid).and_then(|()| rootfs::mount_deferred(deferred)) }
    };
    if let Err(message) = finish() {
        // SAFETY: kill takes no memory; the process is our sibling and nobody has reaped it before we report it.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        return Err(message);
    }
    setns(&node_mounts, CloneFlags::CLONE_NEWNS).map_err(|errno| format!("failed to leave the mounts: {errno}"))?;
    send(tell, &Report::Pid(pid));
    let mut go = [0];
    wait.read_exact(&mut go).map_err(|_| "the shim has ended")?;
    container.start().map_err(|error| chain(&error))
}

/// libcontainer has done it with version 1; with version 2 the group had to be there first.
fn restrict_devices(file: &ContainerFile) -> Result<(), String> {
    let all = file.spec["linux"]["resources"]["devices"][0]["allow"] == true;
    let hierarchies = cgroup::hierarchies().map_err(|error| error.to_string())?;
    if all || matches!(hierarchies, cgroup::Hierarchies::V1(_)) {
        return Ok(());
    }
    let restricted = hierarchies.directories(&file.cgroup).iter().try_for_each(|dir| devices::restrict(dir));
    restricted.map_err(|error| format!("failed to restrict devices (the kernel needs CONFIG_CGROUP_BPF): {error}"))
}

fn enter_mounts(pid: i32) -> Result<(), String> {
    let namespace =
        File::open(format!("/proc/{pid}/ns/mnt")).map_err(|error| format!("the container ended: {error}"))?;
    setns(&namespace, CloneFlags::CLONE_NEWNS).map_err(|errno| format!("failed to enter the container: {errno}"))
}

/// Puts in what only the container's own files tell: the user's numbers and home.
fn finish_spec(
    root: std::os::fd::BorrowedFd<'_>,
    file: &ContainerFile,
    streams: &Option<[OwnedFd; 3]>,
) -> Result<serde_json::Value, String> {
    let passwd = rootfs::read_in_root(root, "/etc/passwd");
    let group = rootfs::read_in_root(root, "/etc/group");
    let user = user::resolve(&file.user, &passwd, &group)?;
    let mut spec = file.spec.clone();
    let process = &mut spec["process"];
    process["user"] = serde_json::json!({ "uid": user.uid, "gid": user.gid, "additionalGids": user.groups });
    if let Some(env) = process["env"].as_array_mut()
        && !env.iter().any(|pair| pair.as_str().is_some_and(|pair| pair.starts_with("HOME=")))
    {
        env.push(format!("HOME={}", user.home).into());
    }
    if let Some(score) = process["oomScoreAdj"].as_i64()
        && fs::write("/proc/self/oom_score_adj", score.to_string()).is_err()
    {
        // Lowering needs CAP_SYS_RESOURCE. The container then has the shim's own score.
        process["oomScoreAdj"] = serde_json::Value::Null;
    }
    if let Some(cwd) = process["cwd"].as_str() {
        // The image may lack its working directory; below a volume it is the volume's matter.
        let _ = rootfs::make_dir_in_root(root, Path::new(cwd));
    }
    own_streams(&spec, streams);
    Ok(spec)
}

/// A program that opens /dev/stdout anew needs the right to.
fn own_streams(spec: &serde_json::Value, streams: &Option<[OwnedFd; 3]>) {
    let user = spec.get("process").unwrap_or(spec);
    let id = |field: &str| user["user"][field].as_u64().and_then(|id| u32::try_from(id).ok());
    let (Some(uid), Some(gid)) = (id("uid"), id("gid")) else { return };
    for stream in streams.iter().flatten() {
        // Streams that are not pipes (/dev/null) stay whose they are.
        if nix::sys::stat::fstat(stream.as_raw_fd()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO) {
            let _ = nix::unistd::fchown(stream.as_raw_fd(), Some(uid.into()), Some(gid.into()));
        }
    }
}

/// An earlier container of the same name and attempt may have left processes when its shim was killed.
fn prepare_cgroup(path: &Path) -> Result<(), String> {
    let hierarchies = cgroup::hierarchies().map_err(|error| error.to_string())?;
    if !hierarchies.processes(path).is_empty() {
        hierarchies.kill(path);
    }
    if let cgroup::Hierarchies::V1(_) = hierarchies {
        // The container's view of its groups is bind-mounted from these directories.
        hierarchies.create(path).map_err(|error| format!("failed to create cgroup {}: {error}", path.display()))?;
    }
    Ok(())
}

fn exec(
    dir: &Path,
    process: ExecProcess,
    streams: Option<[OwnedFd; 3]>,
    errors: OwnedFd,
    tell: &mut File,
) -> Result<(), String> {
    let config: serde_json::Value = read_json(&dir.join(OCI_CONFIG)).map_err(|error| error.to_string())?;
    let file: ContainerFile = read_json(&dir.join(CONTAINER)).map_err(|error| error.to_string())?;
    let mut spec = config["process"].clone();
    spec["args"] = process.command.into();
    if process.console.is_some()
        && let Some(env) = spec["env"].as_array_mut()
    {
        // Whatever the container's own program was told, this one has a terminal.
        env.retain(|pair| !pair.as_str().is_some_and(|pair| pair.starts_with("TERM=")));
        env.push("TERM=xterm".into());
    }
    own_streams(&spec, &streams);
    spec["terminal"] = process.console.is_some().into();
    let oci = dir.join(OCI_STATE);
    let path = oci.join(format!("exec-{}.json", std::process::id()));
    write_json(&path, &spec).map_err(|error| format!("failed to write the process: {error}"))?;
    let mut builder = ContainerBuilder::new(OCI_ID.to_owned(), SyscallType::default())
        .with_executor(Exec::new(errors.as_raw_fd(), file.confinement))
        .with_root_path(&oci)
        .map_err(|error| chain(&error))?
        .with_console_socket(process.console);
    if let Some([stdin, stdout, stderr]) = streams {
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let built = builder.as_tenant().with_process(Some(&path)).with_detach(true).as_sibling(true).build();
    drop(errors);
    let _ = fs::remove_file(&path);
    send(tell, &Report::Pid(built.map_err(|error| chain(&error))?.as_raw()));
    Ok(())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

/// A descriptor as its owner.
pub(crate) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller got the number from the kernel just now, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
