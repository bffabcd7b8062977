#!/usr/bin/env python3
"""The end-to-end run: everynode's release binary, real containers, stock kubectl (1.20 and, where there is one, a current
one) and our own CLI. Needs root; tests/install installs the rest. Ends with a line `N passed, N failed, N skipped`.

usage: run.py [part of a case's name]      EVERYNODE_BINARY=FILE takes another build than the release one"""
import hashlib, os, re, shutil, socket, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import attach, chapter, classes, dead_man, faultrun, faults, host, images, joining, leaving, machines, network, on_containerd, rollouts, shapes, shared_store, static_pods, streams, suites, units, why, words
from harness import ROOT, Client, Failed, Report, equal, holds, run, until

TOOLS = os.environ.get("EVERYNODE_TEST_TOOLS", "/opt/everynode-test-tools")


def binary():
    if "EVERYNODE_BINARY" in os.environ:
        return os.environ["EVERYNODE_BINARY"]
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    triple = run(["rustc", "-vV"]).stdout.split("host: ")[1].split()[0]
    built = os.path.join(target, triple, "release", "everynode")
    if not os.path.exists(built):
        sys.exit(f"{built} is not there: cargo build --release")
    return built


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def clients(everynode, kubeconfig):
    found = [Client("kubectl 1.20", [f"{TOOLS}/kubectl-1.20/usr/bin/kubectl"], kubeconfig)]
    current = shutil.which("kubectl")
    if current:
        version = re.search(r'"gitVersion": "v(\d+\.\d+)', run([current, "version", "--client", "-o", "json"]).stdout).group(1)
        if tuple(map(int, version.split("."))) >= (1, 25):
            found.append(Client(f"kubectl {version}", [current], kubeconfig))
    return found + [Client("own CLI", [everynode], kubeconfig)]


def first_command(everynode):
    """README command 1, as it is: offline, from nothing, and nothing left at the end."""
    p = run([everynode, "demo"], timeout=300)
    for want in ("node-4", "successfully rolled out"):
        holds(f"the demo does not show {want!r}", want in p.stdout, p.stdout[-3000:])
    equal("processes left", faults.named(lambda l: "everynode" in l and "demo" in l and str(os.getpid()) not in l), [])


def everything_is_gone(everynode, data_dir):
    # The eight digits that name the instance: the hash of its directory.
    instance = hashlib.sha256(data_dir.encode()).hexdigest()[:8]
    holds("the instance is there before", os.path.exists(f"/run/everynode/{instance}"))
    run([everynode, "down", "--data-dir", data_dir])
    equal("data", os.path.exists(data_dir) and os.listdir(data_dir), False)
    equal("processes", faults.named(lambda l: data_dir in l and "run.py" not in l), [])
    equal("mounts", host.mounts(data_dir), [])
    equal("cgroups", host.cgroup_dirs(f"everynode-{instance}"), [])
    holds("links", not [l for l in os.listdir("/sys/class/net") if instance[:6] in l], os.listdir("/sys/class/net"))
    equal("run directory", os.path.exists(f"/run/everynode/{instance}"), False)
    p = run([everynode, "down", "--data-dir", data_dir], check=False)
    equal("down twice is harmless", p.returncode, 0)


def main():
    if os.geteuid() != 0:
        sys.exit("the end-to-end run starts containers: run it as root")
    only, report, everynode = " ".join(sys.argv[1:]), Report(), binary()
    folder = tempfile.mkdtemp(prefix="everynode-e2e-")
    data_dir, port = os.path.join(folder, "data"), free_port()
    case = lambda name, body, *args: only in name and report.case(name, body, *args)
    archives = images.make(folder)
    registry = images.Registry(folder, free_port())
    try:
        for reference, path in archives.items():
            registry.push(path, reference if "/" in reference else "library/" + reference)
        case("demo", first_command, everynode)
        if only in "controllers attach, and a shadow looks on":
            attach.play(report, everynode, folder, free_port())
        if only in "two servers on one etcd":
            shared_store.play(report, everynode, TOOLS, folder, archives["nginx:1.27"])
        if only in "a machine joins":
            joining.play(report, everynode, TOOLS, folder, archives["nginx:1.27"])
        if only in "a machine joins: systemd":
            units.play(report, everynode, folder, archives["fluent/fluentd:v1.16"])
        if only in "a machine joins: containerd":
            registry.push(archives["nginx:1.10.0"], "slow/nginx:1")
            on_containerd.play(report, everynode, TOOLS, folder, list(archives.values()), images.HeldRegistry(registry.port, free_port()))
        if only in "machines":
            machines.play(report, everynode, folder, [archives["fluent/fluentd:v1.16"]])
        if only in "fault run":
            faultrun.play(report, everynode, folder, [archives["fluent/fluentd:v1.16"]])
        case("boot without the server, and shutdown", leaving.boot_without_the_server_and_shutdown, everynode, folder, archives["nginx:1.27"])
        case("static pods", static_pods.files_make_pods, everynode, folder, archives["nginx:1.27"])
        case("a daemon that cuts its node off", dead_man.a_daemon_that_cuts_its_node_off, everynode, folder, archives["nginx:1.27"])
        up = [everynode, "up", "--nodes", "3", "--data-dir", data_dir, "--listen", f"0.0.0.0:{port}", "--detach", "--verbose",
              "--registry-mirror", f"docker.io=http://127.0.0.1:{registry.port}"]
        print(run(up).stdout, flush=True)
        kubeconfig = os.path.join(data_dir, "admin.kubeconfig")
        equal("kubeconfig is private", oct(os.stat(kubeconfig).st_mode & 0o777), "0o600")
        everyone = clients(everynode, kubeconfig)
        for k in everyone:
            if only in k.name:
                chapter.play(report, k)
        for k in everyone:
            if only in f"{k.name}: streams":
                streams.play(report, k, folder)
        for k in everyone:
            if only in f"{k.name}: words":
                words.play(report, k)
        if any(only in name for name in ("why: reasons", "plan: an update before it is made")):
            why.play(report, everyone[-1])
        if only in "rollouts":
            registry.push(archives["nginx:1.10.0"], "slow/nginx:1")
            rollouts.play(report, everyone[-1], everynode, folder, images.HeldRegistry(registry.port, free_port()))
        if only in "client suites":
            suites.play(report, everyone[0], everynode, TOOLS)
        k = everyone[-2] if len(everyone) > 2 else everyone[0]
        for body in (faults.bad_manifests, faults.volumes_env_and_probes, faults.what_a_pod_waits_for_comes_by_watch, faults.host_network_daemons_share_a_port, faults.crash_loop_backs_off,
                     faults.acknowledged_writes_survive_kill, faults.killed_agents_and_server_harm_no_daemon):
            if not case(body.__name__.replace("_", " "), body, k, data_dir):
                k("delete", "daemonsets,pods", "--all", "--grace-period=1", check=False)
        if any(only in f"manifests: {name}" for name in shapes.NAMES):
            shapes.play(report, k, folder, data_dir, lambda name: only in name)
        case("host ports", network.host_ports, k)
        case("node classes", classes.node_classes, k)
        case("metrics of nodes", network.metrics, k)
        case("plugins that a daemon installs", network.plugins_that_a_daemon_installs, everynode, folder, free_port(), f"docker.io=http://127.0.0.1:{registry.port}")
        case("own CLI: bad manifests", faults.bad_manifests, everyone[-1], data_dir)
        case("images load from an archive", faults.images_load_from_an_archive, everynode, data_dir, archives, k)
        case("bad starts", faults.bad_starts, everynode, data_dir, port, folder)
        case("down leaves nothing", everything_is_gone, everynode, data_dir)
    finally:
        subprocess.run([everynode, "down", "--data-dir", data_dir], capture_output=True)
        registry.stop()
        if report.failed:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
