//! The verbs as a command line, and how one is run.

use std::process::ExitCode;

use crate::client::Api;
use crate::failure::{Failure, Result};
use crate::globals::{GlobalArgs, chain};
use crate::verbs::{
    api_resources, apply, attach, auth, cordon, cp, create, delete, describe, diff, drain, events, exec, get, label,
    logs, patch, plan, policy, port_forward, replace, rollout, scale, set, taint, version, wait, why,
};

/// A verb's own flags, and those of every verb.
#[derive(Debug)]
pub struct With<T: clap::Args> {
    args: T,
    globals: GlobalArgs,
}

// By hand, because the flags of every verb are to be taken below it too (`rollout status -n x`), but not by the binary's
// other commands, which have flags of the same names.
impl<T: clap::Args> clap::Args for With<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let flags: Vec<clap::Id> = GlobalArgs::augment_args(clap::Command::new(""))
            .get_arguments()
            .map(|flag| flag.get_id().clone())
            .collect();
        let command = GlobalArgs::augment_args(T::augment_args(command));
        flags.iter().fold(command, |command, flag| command.mut_arg(flag, |flag| flag.global(true)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<T: clap::Args> clap::FromArgMatches for With<T> {
    fn from_arg_matches(matches: &clap::ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { args: T::from_arg_matches(matches)?, globals: GlobalArgs::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> std::result::Result<(), clap::Error> {
        self.args.update_from_arg_matches(matches)?;
        self.globals.update_from_arg_matches(matches)
    }
}

/// No flags.
#[derive(Debug, clap::Args)]
pub struct Nothing {}

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make objects as files say, leaving alone what they don't say
    Apply(With<apply::Args>),
    /// Show what `apply` would change
    Diff(With<diff::Args>),
    /// Show objects
    Get(With<get::Args>),
    /// Show objects in words, with their events
    Describe(With<describe::Args>),
    /// Make objects from files
    Create(With<create::Args>),
    /// Put objects of files in place of those that stand
    Replace(With<replace::Args>),
    /// Change objects as a patch says
    Patch(With<patch::Args>),
    /// Remove objects
    Delete(With<delete::Args>),
    /// Tell what `apply` would do to nodes and pods, and how long it would take
    Plan(With<plan::Args>),
    /// Tell why nodes run a daemon, wait for one or have none
    Why(With<why::Args>),
    /// Follow, list, undo, restart, hold and promote rollouts
    Rollout(With<rollout::Args>),
    /// Print the definition of RolloutPolicies
    Policy(policy::Args),
    /// Set images of containers
    Set(With<set::SetArgs>),
    /// Set the number of replicas
    Scale(With<scale::Args>),
    /// Show what containers wrote
    Logs(With<logs::Args>),
    /// Run a command in a container
    Exec(With<exec::Args>),
    /// Take part in what a container does
    Attach(With<attach::Args>),
    /// Copy files and directories to and from containers
    Cp(With<cp::Args>),
    /// Have ports of a pod on this machine
    PortForward(With<port_forward::Args>),
    /// Set and remove labels
    Label(With<label::Args>),
    /// Set and remove annotations
    Annotate(With<label::Args>),
    /// Set and remove taints of nodes
    Taint(With<taint::Args>),
    /// Close nodes to new pods
    Cordon(With<cordon::Args>),
    /// Open nodes to new pods
    Uncordon(With<cordon::Args>),
    /// Close a node and move its pods away
    Drain(With<drain::Args>),
    /// Wait until something is so
    Wait(With<wait::Args>),
    /// Show what happened
    Events(With<events::Args>),
    /// Ask what the user may do
    Auth(With<auth::Args>),
    /// List what the server serves
    ApiResources(With<api_resources::Args>),
    /// List the group versions that the server serves
    ApiVersions(With<Nothing>),
    /// Show versions
    Version(With<version::Args>),
}

/// Runs a verb; `outer` are the flags that stood before it.
///
/// Prints what it finds, and why it failed. The exit code is 1 for a failure; `diff` and `plan` have 1 for differences
/// and 2 for failures.
pub async fn run(command: Command, outer: GlobalArgs) -> ExitCode {
    match dispatch(command, outer).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.text();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::from(failure.code())
        }
    }
}

async fn dispatch(command: Command, outer: GlobalArgs) -> Result<()> {
    match command {
        Command::Apply(With { args, globals }) => apply::run(&connect(globals, outer).await?, &args).await,
        Command::Diff(With { args, globals }) => diff::run(&connect(globals, outer).await?, &args).await,
        Command::Get(With { args, globals }) => get::run(&connect(globals, outer).await?, &args).await,
        Command::Describe(With { args, globals }) => describe::run(&connect(globals, outer).await?, &args).await,
        Command::Create(With { args, globals }) => create::run(&connect(globals, outer).await?, &args).await,
        Command::Replace(With { args, globals }) => replace::run(&connect(globals, outer).await?, &args).await,
        Command::Patch(With { args, globals }) => patch::run(&connect(globals, outer).await?, &args).await,
        Command::Delete(With { args, globals }) => delete::run(&connect(globals, outer).await?, &args).await,
        Command::Plan(With { args, globals }) => plan::run(&connect(globals, outer).await?, &args).await,
        Command::Why(With { args, globals }) => why::run(&connect(globals, outer).await?, &args).await,
        Command::Rollout(With { args, globals }) => rollout::run(&connect(globals, outer).await?, &args).await,
        Command::Policy(args) => policy::run(&args),
        Command::Set(With { args, globals }) => set::run(&connect(globals, outer).await?, &args).await,
        Command::Scale(With { args, globals }) => scale::run(&connect(globals, outer).await?, &args).await,
        Command::Logs(With { args, globals }) => logs::run(&connect(globals, outer).await?, &args).await,
        Command::Exec(With { args, globals }) => exec::run(&connect(globals, outer).await?, &args).await,
        Command::Attach(With { args, globals }) => attach::run(&connect(globals, outer).await?, &args).await,
        Command::Cp(With { args, globals }) => cp::run(&connect(globals, outer).await?, &args).await,
        Command::PortForward(With { args, globals }) => port_forward::run(&connect(globals, outer).await?, &args).await,
        Command::Label(With { args, globals }) => {
            label::run(&connect(globals, outer).await?, &args, label::What::Labels).await
        }
        Command::Annotate(With { args, globals }) => {
            label::run(&connect(globals, outer).await?, &args, label::What::Annotations).await
        }
        Command::Taint(With { args, globals }) => taint::run(&connect(globals, outer).await?, &args).await,
        Command::Cordon(With { args, globals }) => cordon::run(&connect(globals, outer).await?, &args, true).await,
        Command::Uncordon(With { args, globals }) => cordon::run(&connect(globals, outer).await?, &args, false).await,
        Command::Drain(With { args, globals }) => drain::run(&connect(globals, outer).await?, &args).await,
        Command::Wait(With { args, globals }) => wait::run(&connect(globals, outer).await?, &args).await,
        Command::Events(With { args, globals }) => events::run(&connect(globals, outer).await?, &args).await,
        Command::Auth(With { args, globals }) => auth::run(&connect(globals, outer).await?, &args).await,
        Command::ApiResources(With { args, globals }) => {
            api_resources::run(&connect(globals, outer).await?, &args).await
        }
        Command::ApiVersions(With { globals, .. }) => api_resources::versions(&connect(globals, outer).await?).await,
        Command::Version(With { args, globals }) => {
            // The client's version needs no server.
            version::run(connect(globals, outer).await.ok().as_ref(), &args).await
        }
    }
}

async fn connect(inner: GlobalArgs, outer: GlobalArgs) -> Result<Api> {
    let globals = inner.or(outer);
    let config = globals.config().await?;
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let namespace = config.default_namespace.clone();
    let client = kube::Client::try_from(config).map_err(|e| -> Failure { chain(&e) })?;
    Ok(Api::new(client, namespace, globals.namespace.is_some(), host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
        #[command(flatten)]
        globals: GlobalArgs,
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_every_verb_stand_before_or_after_it() {
        let cases = [
            "everynode -n a get pods",
            "everynode get pods -n a",
            "everynode -n b get -n a pods",
            "everynode get pods --namespace=a",
        ];
        for line in cases {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Command::Get(with) = cli.command else { panic!("{line}") };
            assert_eq!(with.globals.or(cli.globals).namespace.as_deref(), Some("a"), "{line}");
        }
    }

    #[test]
    fn flags_of_every_verb_stand_below_it_too() {
        for line in [
            "everynode rollout status ds/x -n a",
            "everynode rollout -n a status ds/x",
            "everynode -n a rollout status ds/x",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Command::Rollout(with) = cli.command else { panic!("{line}") };
            assert_eq!(with.globals.or(cli.globals).namespace.as_deref(), Some("a"), "{line}");
        }
    }

    #[test]
    fn takes_the_words_that_kubectl_takes() {
        let lines = [
            "apply -f a.yaml -f - -R --dry-run=server",
            "apply --dry-run -f a.yaml",
            "get ds,pods -A -o wide --show-labels -L a,b --sort-by=.spec.nodeName --no-headers",
            "get pod x -o jsonpath={.a}",
            "get nodes -w --field-selector metadata.name=x",
            "delete ds x --cascade=orphan --grace-period=0 --force --wait=false --timeout=5s --ignore-not-found",
            "delete ds x --ignore-not-found=true --cascade=false",
            "label nodes n-0 ssd- a=b --overwrite",
            "taint nodes n-3 dedicated=edge:NoSchedule",
            "plan -f a.yaml -o json",
            "why ds/x node/n-3 -o json",
            "why ds x -l zone=a -n b",
            "rollout status ds/x --timeout=60s -w=false",
            "rollout status ds/x -o json --progress-deadline=2m",
            "rollout undo ds x --to-revision=9",
            "rollout history daemonset x --revision=2",
            "rollout restart ds -l a=b",
            "rollout pause ds/x -n a --dry-run=server",
            "rollout resume ds x y",
            "rollout freeze ds -l a=b -o name",
            "rollout unfreeze ds/x",
            "rollout promote ds/x --full",
            "policy crd",
            "logs -f ds/x -c c --tail=-1 --since=1h -p --timestamps",
            "exec -it p -c c -- sh -c exit",
            "exec ds/x -i -n a -- cat -n",
            "attach p -it",
            "port-forward ds/x 8080:80 :443 --address=127.0.0.1,::1",
            "scale rs web --replicas=5",
            "set image ds/x c=image:tag *=other",
            "wait --for=condition=Ready node/n-0 --timeout=-1s",
            "drain n-2 --ignore-daemonsets --delete-emptydir-data --force --timeout=30s",
            "patch ds x --type=json -p []",
            "create cm x --from-literal=a=b --dry-run=client -o yaml",
            "api-resources --namespaced=false -o name",
            "version --client",
        ];
        for line in lines {
            let words = std::iter::once("everynode").chain(line.split(' '));
            if let Err(e) = Cli::try_parse_from(words) {
                panic!("{line}: {e}");
            }
        }
    }
}
