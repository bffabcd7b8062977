//! `everynode install`: an agent or a server as a systemd unit, started now and at every boot.
//!
//! # Invariants
//! - An agent joins before its unit is written, so that what is wrong is said here and not in a log; the unit has no token.
//! - Nothing is written before all flags are known to be good. Installing again replaces unit and binary, each in one step.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser as _};

use crate::flags::{AgentArgs, Cli, Command};
use crate::up::state::Layout;
use crate::{agent, join, preflight};

pub(crate) mod systemd;
pub(crate) mod unit;

use unit::{Part, Unit};

/// Where the binary is put.
const BINARY: &str = "usr/local/bin/everynode";
/// Where a binary stays: what is here is there after a reboot and is nobody's working directory.
const LASTING: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/opt"];

#[derive(Args)]
pub(crate) struct InstallArgs {
    /// Print the unit and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Run the binary where it is, instead of a copy in /usr/local/bin
    #[arg(long)]
    in_place: bool,
    /// Install into the file system of another machine, mounted here: nothing is started, and an agent joins at its first start
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// What to run
    part: Part,
    /// Its flags (see `everynode help agent` and `everynode help server`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(mut args: InstallArgs) -> Result<()> {
    // Behind the first flag of the part, ours would count as the part's.
    args.dry_run |= args.flags.iter().any(|flag| flag == "--dry-run");
    args.flags.retain(|flag| flag != "--dry-run");
    let parsed = parse(args.part, &args.flags)?;
    let data_dir = parsed.data_dir();
    if !data_dir.is_absolute() {
        bail!("--data-dir {}: write it from the root, units have no working directory", data_dir.display());
    }
    let (binary, copied) = binary(&args)?;
    let mut unit = Unit { part: args.part, binary, copied, data_dir: data_dir.to_owned(), flags: args.flags.clone() };
    if args.dry_run {
        unit.flags = unit::without_token(&unit.flags);
        print!("{}", unit.render());
        return Ok(());
    }
    preflight::root("install")?;
    if args.root.is_none() && !systemd::runs() {
        let part = args.part.command();
        bail!(
            "systemd does not run here: have what starts services here run `everynode {part} …` (stopping it must not stop its \
             children); `everynode install --dry-run {part} …` prints the unit"
        );
    }
    if args.root.is_none() {
        parsed.enter()?;
        unit.flags = unit::without_token(&unit.flags);
    }
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    if unit.copied {
        copy_binary(&root.join(BINARY))?;
        println!("wrote {}", root.join(BINARY).display());
    }
    let path = root.join(systemd::UNITS).join(args.part.unit());
    write_unit(&path, &unit)?;
    println!("wrote {}", path.display());
    enable(args.root.as_deref(), args.part)
}

/// Writes the unit; everybody may read one without a token.
fn write_unit(path: &Path, unit: &Unit) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    crate::private_file::write(path, &unit.render())?;
    if unit::without_token(&unit.flags) == unit.flags {
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(path, readable).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Flags of the part, as the part reads them.
enum Parsed {
    Agent(Box<AgentArgs>),
    Server(PathBuf),
}

fn parse(part: Part, flags: &[String]) -> Result<Parsed> {
    let words = ["everynode", part.command()].map(OsString::from);
    let words = words.into_iter().chain(flags.iter().map(OsString::from));
    let parsed = Cli::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        anyhow::anyhow!("{line}; see `everynode help {}`", part.command())
    })?;
    match parsed.command {
        Command::Agent(args) => Ok(Parsed::Agent(args)),
        Command::Server(args) => Ok(Parsed::Server(args.data.data_dir)),
        _ => bail!("{} is nothing to install", part.command()),
    }
}

impl Parsed {
    fn data_dir(&self) -> &Path {
        match self {
            Self::Agent(args) => &args.data.data_dir,
            Self::Server(data_dir) => data_dir,
        }
    }

    /// Joins the cluster, if it is an agent that has to.
    fn enter(&self) -> Result<()> {
        let Self::Agent(args) = self else { return Ok(()) };
        preflight::containers("install")?;
        match &args.kubeconfig {
            Some(file) if !file.is_absolute() => {
                bail!("--kubeconfig {}: write it from the root, units have no working directory", file.display())
            }
            Some(file) if !file.is_file() => bail!("{} is not there", file.display()),
            Some(_) => return Ok(()),
            None => {}
        }
        let layout = Layout::create(&args.data.data_dir)?;
        let name = agent::node_name(args.node_name.as_deref())?;
        crate::runtime(1)?
            .block_on(async { join::enter(&layout.root, &name, &args.servers, args.token.as_ref()).await.map(drop) })
    }
}

/// The binary that the unit runs, and whether it is put there.
fn binary(args: &InstallArgs) -> Result<(PathBuf, bool)> {
    let here = std::env::current_exe().context("where is this binary")?;
    let stays = args.root.is_none() && (args.in_place || LASTING.iter().any(|dir| here.starts_with(dir)));
    match stays {
        true => Ok((here, false)),
        false => Ok((Path::new("/").join(BINARY), true)),
    }
}

/// Copies this binary, in one step: the one that is there may run.
fn copy_binary(to: &Path) -> Result<()> {
    let put = || -> std::io::Result<()> {
        let directory = to.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory)?;
        let new = to.with_extension("new");
        let mut from = File::open("/proc/self/exe")?;
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o755).open(&new)?;
        std::io::copy(&mut from, &mut file)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        file.sync_all()?;
        std::fs::rename(&new, to)?;
        File::open(directory)?.sync_all()
    };
    put().with_context(|| to.display().to_string())
}

/// Has the unit run at every boot, and now unless it is another machine's.
fn enable(root: Option<&Path>, part: Part) -> Result<()> {
    let unit = part.unit();
    let Some(root) = root else {
        systemd::say(&["daemon-reload"])?;
        systemd::say(&["enable", &unit])?;
        systemd::say(&["restart", &unit])?;
        println!("started {unit}: `journalctl -u {unit}` has its log");
        return Ok(());
    };
    let wants = root.join(systemd::UNITS).join("multi-user.target.wants");
    let link = wants.join(&unit);
    std::fs::create_dir_all(&wants).with_context(|| wants.display().to_string())?;
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(Path::new("/").join(systemd::UNITS).join(&unit), &link)
        .with_context(|| link.display().to_string())?;
    println!("wrote {}: it starts at the next boot", link.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn flags_are_read_as_the_part_reads_them() {
        let good = parse(Part::Server, &flags(&["--listen", "0.0.0.0:1", "--data-dir", "/d"])).unwrap();
        assert_eq!(good.data_dir(), Path::new("/d"));
        let error = parse(Part::Server, &flags(&["--node-name", "x"])).err().unwrap().to_string();
        assert!(error.contains("--node-name") && error.contains("everynode help server"), "{error}");
        assert_eq!(parse(Part::Agent, &[]).unwrap().data_dir(), Path::new(crate::flags::DATA_DIR));
    }

    #[test]
    fn what_stands_behind_the_part_is_its_own() {
        let words = ["everynode", "install", "agent", "--server", "https://a:1", "--root-is-not-ours", "x"];
        let Command::Install(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!((args.part, &args.flags[..]), (Part::Agent, &flags(&words[3..])[..]));
    }

    #[test]
    fn a_unit_with_a_token_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/systemd/system/everynode-agent.service");
        for (words, want) in [(&["--token", "t"][..], 0o600), (&[], 0o644)] {
            let (binary, data_dir) = ("/b".into(), "/d".into());
            let unit = Unit { part: Part::Agent, binary, copied: false, data_dir, flags: flags(words) };
            write_unit(&path, &unit).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, want);
        }
        assert_ne!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_binary_is_replaced_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("bin/everynode");
        copy_binary(&to).unwrap();
        copy_binary(&to).unwrap();
        let meta = std::fs::metadata(&to).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o755);
        assert_eq!(meta.len(), std::fs::metadata("/proc/self/exe").unwrap().len());
        assert_eq!(std::fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
    }
}
