"""A machine whose containers are containerd's: it joins, runs a daemon, and neither the agent's death nor containerd's is noticed by
it. containerd has all it needs in a folder of its own; the machine's own is not touched."""
import glob, json, os, signal, subprocess

import host, images
from chapter import ready_on
from harness import Client, equal, holds, run, until
from shared_store import Parts, free_port

NODE = "contained-1"
PAUSE = "example.test/pause:1"
CONFIG = """version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{dir}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{dir}/cni"
"""
DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: contained}
spec:
  selector: {matchLabels: {app: contained}}
  template:
    metadata: {labels: {app: contained}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: fluent/fluentd:v1.16
        imagePullPolicy: Never
        livenessProbe: {exec: {command: [cat, /start]}, periodSeconds: 1}
"""


def first(*paths):
    return next((p for p in paths if os.path.exists(p)), None)


class Containerd:
    """containerd with its runc and a network, below a folder."""

    def __init__(self, tools, folder):
        self.dir, self.process = os.path.join(folder, "containerd"), None
        at = os.path.join(tools, "containerd/usr")
        self.binary = first(f"{at}/bin/containerd", "/usr/bin/containerd")
        self.runc = first(f"{at}/sbin/runc", "/usr/sbin/runc")
        self.socket = f"{self.dir}/c.sock"

    def missing(self):
        return "containerd, runc or /usr/lib/cni/ptp is not there: tests/install fetches them" \
            if not (self.binary and self.runc and os.path.exists("/usr/lib/cni/ptp")) else None

    def prepare(self):
        os.makedirs(f"{self.dir}/cni")
        with open(f"{self.dir}/config.toml", "w") as f:
            f.write(CONFIG.format(dir=self.dir, pause=PAUSE, runc=self.runc))
        subnet = f"10.{200 + os.getpid() // 250 % 50}.{os.getpid() % 250}.0/24"
        with open(f"{self.dir}/cni/10-test.conflist", "w") as f:
            json.dump({"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp", "ipam": {
                "type": "host-local", "dataDir": f"{self.dir}/ipam", "ranges": [[{"subnet": subnet}]]}}]}, f)

    def start(self):
        log = open(f"{self.dir}/log", "a")
        path = ":".join([os.path.dirname(self.binary), os.path.dirname(self.runc), "/usr/sbin:/usr/bin:/sbin:/bin"])
        self.process = subprocess.Popen([self.binary, "--config", f"{self.dir}/config.toml"], stdout=log, stderr=log,
                                        env=dict(os.environ, PATH=path), start_new_session=True)
        until("containerd answers", lambda: self.ctr("version").returncode == 0)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ctr(self, *words):
        return run([os.path.join(os.path.dirname(self.binary), "ctr"), "-a", self.socket, "-n", "k8s.io", *words], check=False)

    def close(self):
        if self.process:
            for task in self.ctr("tasks", "ls", "-q").stdout.split():
                self.ctr("tasks", "kill", "-s", "SIGKILL", task)
            until("its containers end", lambda: not [l for l in self.ctr("tasks", "ls").stdout.splitlines() if "RUNNING" in l], seconds=20)
            for kind in ("tasks", "containers"):
                for one in self.ctr(kind, "ls", "-q").stdout.split():
                    self.ctr(kind, "rm", one)
            self.process.terminate()
            self.process.wait(20)
        for path in sorted(host.mounts(self.dir), reverse=True):
            run(["umount", "-l", path], check=False)


def processes(k):
    """All processes of the daemon's containers, and when they began."""
    pods = ready_on(k, "app=contained", [NODE])
    uid = pods[0]["metadata"]["uid"]
    lines = host.processes()
    began = [(pid, host.start_ticks(pid)) for pid in host.in_pod(uid) if "/start" in lines.get(pid, "")]
    return began, [s["restartCount"] for s in pods[0]["status"]["containerStatuses"]], pods[0]["metadata"]["name"]


def play(report, everynode, tools, folder, archive):
    name = "a machine joins: containerd"
    folder = os.path.join(folder, "on-containerd")
    os.makedirs(folder)
    c = Containerd(tools, folder)
    if why := c.missing():
        return report.skip(name, why)
    report.case(name, body, c, everynode, tools, folder, archive)


def body(c, everynode, tools, folder, archive):
    p = Parts(everynode, tools, folder)
    p.node = NODE
    port = free_port()
    try:
        c.prepare()
        c.start()
        pause = os.path.join(folder, "pause.tar")
        images.archive(pause, PAUSE, "#!/bin/sh\nexec sleep 1000000\n")
        for path in (pause, archive):
            holds("the image is imported", c.ctr("images", "import", path).returncode == 0)
        p.start("server", [everynode, "server", "--data-dir", p.data("server"), "--listen", f"0.0.0.0:{port}"])
        k = Client("own CLI", [everynode], os.path.join(p.data("server"), "admin.kubeconfig"))
        until("the server is ready", lambda: os.path.exists(k.kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
        token = run([everynode, "token", "create", "--data-dir", p.data("server")]).stdout.strip()
        agent = [everynode, "agent", "--data-dir", p.data("agent"), "--node-name", NODE, "--server", f"https://127.0.0.1:{port}",
                 "--container-runtime-endpoint", f"unix://{c.socket}"]
        p.start("agent", agent + ["--token", token])
        ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.nodeInfo.containerRuntimeVersion}"
        until("the node is ready, on containerd", lambda: k.out("get", "node", NODE, "-o", ready).startswith("True containerd://"))
        k.out("apply", "-f", "-", stdin=DAEMON)
        before = processes(k)
        holds("it has a process", before[0], before)
        pod = before[2]
        def answers():
            holds("logs", "tick" in k.out("logs", pod, "--tail=1"))
            equal("a command", k.out("exec", pod, "--", "cat", "/etc/hostname").strip(), pod)
            return True
        until("logs and a command", answers)
        status = k.json("get", "pod", pod)["status"]["containerStatuses"][0]
        holds("its container is containerd's", status["containerID"].startswith("containerd://") and
              status["containerID"].split("//")[1] in c.ctr("containers", "ls", "-q").stdout, status)

        p.kill("agent")
        equal("the daemon, without an agent", processes(k), before)
        p.start("agent", agent)
        until("logs and a command by the next agent", answers)
        equal("the daemon, with the next agent", processes(k), before)

        c.kill()
        equal("the daemon, without containerd", processes(k), before)
        c.start()
        until("logs and a command by the next containerd", answers)
        equal("the daemon, with the next containerd", processes(k), before)

        k.out("delete", "daemonset", "contained")
        until("its containers are gone", lambda: not c.ctr("containers", "ls", "-q").stdout.split())
        equal("processes", [pid for pid, _ in before[0] if os.path.exists(f"/proc/{pid}")], [])
        equal("links to its logs", glob.glob(f"/var/log/containers/{pod}_*"), [])
    except Exception:
        for name in ("server", "agent"):
            print(f"--- {name}: " + (p.log(name)[-2500:] if os.path.exists(os.path.join(folder, name + ".log")) else ""), flush=True)
        with open(f"{c.dir}/log") as f:
            print("--- containerd: " + f.read()[-1500:], flush=True)
        raise
    finally:
        p.close()
        c.close()
