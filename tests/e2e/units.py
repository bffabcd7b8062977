"""`everynode install` and `uninstall` under a systemd of their own: process 1 of its own namespaces, with units, /run and
/usr/local/bin that nobody else sees."""
import os, shutil, signal, subprocess

import host
from chapter import ready_on
from harness import Client, Failed, equal, holds, run, until
from shared_store import free_port

NODE = "unit-1"
SYSTEMD = "/lib/systemd/systemd"
# Only targets that pull nothing in: no unit of the machine is started a second time.
BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for d in /lib/systemd/system /etc/systemd/system /usr/local/bin; do mount -t tmpfs tmpfs $d; done
for t in sysinit basic shutdown multi-user network-online tiny; do
  printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' $t > /lib/systemd/system/$t.target
done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mount -t cgroup2 cgroup2 /sys/fs/cgroup; fi
export container=lxc
exec {SYSTEMD} --system --unit=tiny.target --show-status=no --log-target=console
"""


class Init:
    def __init__(self, folder):
        self.log = open(os.path.join(folder, "systemd.log"), "w")
        spaces = ["--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--uts", "--ipc", "--cgroup"]
        self.process = subprocess.Popen(["unshare", *spaces, "sh", "-c", BOOT], stdout=self.log, stderr=self.log, start_new_session=True)
        self.pid = None

    def __call__(self, *words, **options):
        return run(["nsenter", "-t", self.pid, "-a", *words], **options)

    def comes_up(self):
        def fact():
            self.pid = self.pid or run(["pgrep", "-P", str(self.process.pid)]).stdout.split()[0]
            return self("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")
        try:
            return until("systemd", fact, seconds=15)
        except Failed:
            return False

    def close(self):
        if self.pid:
            os.kill(int(self.pid), signal.SIGKILL)
        self.process.wait(20)


def play(report, everynode, folder, archive):
    name = "a machine joins: systemd"
    folder = os.path.join(folder, "units")
    os.makedirs(folder)
    if not os.path.exists(SYSTEMD) or not shutil.which("nsenter"):
        return report.skip(name, f"{SYSTEMD} and nsenter are not both there")
    init = Init(folder)
    try:
        if not init.comes_up():
            return report.skip(name, "systemd does not come up in namespaces of its own here")
        report.case(name, body, init, everynode, folder, archive)
    finally:
        init.close()


def fingerprint(pods):
    """The first process of each pod and when it started; in `up` nodes have a network of their own, here they have none."""
    return [(host.in_pod(p["metadata"]["uid"])[0], host.start_ticks(host.in_pod(p["metadata"]["uid"])[0]),
             p["status"]["containerStatuses"][0]["restartCount"]) for p in pods]


def body(init, everynode, folder, archive):
    port, server, agent = free_port(), os.path.join(folder, "server"), os.path.join(folder, "agent")
    init(everynode, "install", "server", "--listen", f"0.0.0.0:{port}", "--data-dir", server)
    kubeconfig = os.path.join(server, "admin.kubeconfig")
    k = Client("own CLI", [everynode], kubeconfig)
    until("the server is ready", lambda: os.path.exists(kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
    token = run([everynode, "token", "create", "--data-dir", server]).stdout.strip()
    run([everynode, "image", "load", archive, "--data-dir", agent])
    flags = ["agent", "--server", f"https://127.0.0.1:{port}", "--data-dir", agent, "--node-name", NODE]
    bad = init(everynode, "install", *flags, "--token", "zzzzzz" + token[6:], check=False)
    holds("a token that is not good is refused at once", bad.returncode == 1 and "does not know the token" in bad.stderr, bad.stderr)
    init(everynode, "install", *flags, "--token", token)
    unit = init("cat", "/etc/systemd/system/everynode-agent.service").stdout
    holds("no token in the unit", token[:6] not in unit and "ExecStart=/usr/local/bin/everynode agent" in unit, unit)

    k.out("apply", "-f", "-", stdin=MANIFEST)
    before = fingerprint(ready_on(k, "app=unit", [NODE]))
    same = lambda when: equal(f"the daemon {when}", fingerprint(ready_on(k, "app=unit", [NODE])), before)
    main = lambda: init("systemctl", "show", "-p", "MainPID", "--value", "everynode-agent").stdout.strip()
    init("systemctl", "stop", "everynode-agent")
    same("when its unit is stopped")
    init("systemctl", "start", "everynode-agent")
    init("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "everynode-agent")
    until("the agent is started again", lambda: int(main()) > 0)
    # Another version, other flags: no token is needed.
    init(everynode, "install", *flags, "--node-labels", "again=yes")
    until("the new flags", lambda: k.json("get", "node", NODE)["metadata"]["labels"].get("again") == "yes")
    same("after a kill and another installation")

    said = init(everynode, "uninstall").stdout
    holds("it says what it removed", all(f"removed {w}" in said for w in (server, agent, "/usr/local/bin/everynode")), said)
    equal("units", init("sh", "-c", "ls /etc/systemd/system | grep everynode || true").stdout, "")
    equal("data", [d for d in (server, agent) if os.path.exists(d)], [])
    equal("what runs", init("sh", "-c", "ps -eo args | grep -e [e]verynode.shim -e [/]start || true").stdout, "")
    equal("run directory", init("sh", "-c", "ls -d /run/everynode 2>/dev/null || true").stdout, "")


MANIFEST = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: unit}
spec:
  selector: {matchLabels: {app: unit}}
  template:
    metadata: {labels: {app: unit}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: "fluent/fluentd:v1.16"}
"""
