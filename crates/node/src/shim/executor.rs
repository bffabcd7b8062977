//! The last step inside a container: finds the program and becomes it.
//!
//! libcontainer's own step wants a program that everyone may run and tells nobody when the kernel refuses it; this one
//! leaves the decision to the kernel and tells why it failed, in the words other runtimes use.
//!
//! # Invariants
//! - `errors` is a pipe that closes when the program starts: its reader gets an error text or, at once, the end.
//! - Between the filter of system calls and the program there is nothing but the program's start.

use std::ffi::CString;
use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::files::Confinement;
use crate::seccomp;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    errors: RawFd,
    confinement: Option<Confinement>,
}

impl Exec {
    /// `errors` must stay open until the container's process has been cloned.
    pub(crate) fn new(errors: RawFd, confinement: Option<Confinement>) -> Self {
        Self { errors, confinement }
    }

    /// Gives back what was lent, and lets the kernel ask the filter from now on. What is lent is still effective in this
    /// process, and no longer in what it becomes.
    fn confine(&self) -> Result<(), String> {
        let Some(confinement) = &self.confinement else { return Ok(()) };
        for capability in &confinement.lent {
            // SAFETY: prctl takes no memory here.
            let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(*capability), 0, 0, 0) };
            if done != 0 {
                let error = std::io::Error::last_os_error();
                return Err(format!("failed to give capability {capability} back: {}", describe(error)));
            }
        }
        seccomp::install(&confinement.filter).map_err(|error| format!("failed to install the seccomp filter: {error}"))
    }

    fn report(&self, message: &str) {
        // SAFETY: the buffer is valid for its length; a descriptor that is not open only makes write fail.
        unsafe { libc::write(self.errors, message.as_ptr().cast(), message.len()) };
    }
}

impl Executor for Exec {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, path) = program(spec).map_err(ExecutorError::Other)?;
        let c_string = |text: &str| CString::new(text).map_err(|_| ExecutorError::InvalidArg);
        let c_args = args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>()?;
        let c_path = CString::new(path.into_os_string().into_encoded_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        if let Err(message) = self.confine() {
            self.report(&message);
            return Err(ExecutorError::Other(message));
        }
        let Err(errno) = nix::unistd::execv(&c_path, &c_args);
        let message = format!("exec {:?}: {}", args[0], describe(std::io::Error::from(errno)));
        self.report(&message);
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        program(spec).map(|_| ()).map_err(|message| {
            self.report(&message);
            ExecutorValidationError::ArgValidationError(message)
        })
    }
}

/// Arguments, and the program's path in the container.
fn program(spec: &Spec) -> Result<(Vec<String>, PathBuf), String> {
    let process = spec.process().as_ref().ok_or("no process in the configuration")?;
    let args = process.args().clone().unwrap_or_default();
    let name = args.first().filter(|name| !name.is_empty()).ok_or("no command specified")?.clone();
    if name.contains('/') {
        let path = PathBuf::from(&name);
        return match path.metadata() {
            Ok(meta) if meta.is_dir() => Err(format!("exec: {name:?}: is a directory")),
            Ok(_) => Ok((args, path)),
            Err(error) => Err(format!("exec: {name:?}: stat {name}: {}", describe(error))),
        };
    }
    let env = process.env().clone().unwrap_or_default();
    let search = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
    for dir in search.split(':') {
        let path = PathBuf::from(if dir.is_empty() { "." } else { dir }).join(&name);
        let runnable = |meta: std::fs::Metadata| {
            use std::os::unix::fs::PermissionsExt as _;
            meta.is_file() && meta.permissions().mode() & 0o111 != 0
        };
        if path.metadata().is_ok_and(runnable) {
            return Ok((args, path));
        }
    }
    Err(format!("exec: {name:?}: executable file not found in $PATH"))
}

/// The kernel's words without the number.
fn describe(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => "exec format error".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(args: &[&str], path: &str) -> Spec {
        let json = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "args": args, "env": [format!("PATH={path}")], "user": {"uid": 0, "gid": 0} },
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn programs_are_found_or_refused_in_the_usual_words() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("data"), "x").unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "x").unwrap();
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(program(&spec(&["tool", "a"], &format!("/nowhere:{here}"))).unwrap().1, tool);
        let missing = format!("{here}/none");
        for (name, want) in [
            ("none", "exec: \"none\": executable file not found in $PATH".to_owned()),
            ("data", "exec: \"data\": executable file not found in $PATH".to_owned()),
            (missing.as_str(), format!("exec: {missing:?}: stat {missing}: no such file or directory")),
            (here, format!("exec: {here:?}: is a directory")),
            ("", "no command specified".to_owned()),
        ] {
            assert_eq!(program(&spec(&[name], here)).unwrap_err(), want);
        }
    }
}
