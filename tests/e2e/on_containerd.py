"""A machine whose containers are containerd's: it joins, runs daemons and pods as any other does, and neither the agent's death nor
containerd's is noticed by them. containerd has all it needs in a folder of its own; the machine's own is not touched. At the end the machine
leaves, and containerd has no more of it."""
import glob, hashlib, json, os, signal, subprocess, time

import faults, host, images, shapes, streams
from chapter import apply_text, gone_from_the_machine, ready_on
from harness import Client, equal, holds, run, until
from shared_store import Parts, free_port

NODE = "node-1"  # as the cases call it that are played elsewhere too
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
USUAL = "/run/containerd/containerd.sock"
DAEMON = """
apiVersion: v1
kind: ConfigMap
metadata: {name: contained}
data: {mode: tail}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: contained}
spec:
  selector: {matchLabels: {app: contained}}
  template:
    metadata: {labels: {app: contained}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - name: c
        image: fluent/fluentd:v1.16
        imagePullPolicy: Never
        command:
        - sh
        - -c
        - trap 'sleep 1; echo stopped > /out/$(hostname); exit 0' TERM; echo begun with $(cat /conf/mode); while true; do sleep 1 & wait $!; done
        livenessProbe: {exec: {command: [cat, /conf/mode]}, periodSeconds: 1}
        volumeMounts: [{name: conf, mountPath: /conf}, {name: out, mountPath: /out}]
      volumes: [{name: conf, configMap: {name: contained}}, {name: out, hostPath: {path: OUT, type: DirectoryOrCreate}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: of-the-host}
spec:
  selector: {matchLabels: {app: of-the-host}}
  template:
    metadata: {labels: {app: of-the-host}}
    spec:
      hostNetwork: true
      hostPID: true
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "fluent/fluentd:v1.16", command: [sleep, "4020"]}]
"""
POLICY = """
---
apiVersion: everynode.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: contained}
spec: {targets: {names: [contained]}, prePull: {}}
"""
DEBUG = {"spec": {"ephemeralContainers": [{
    "name": "look", "image": "nginx:1.27", "targetContainerName": "c",
    "command": ["sh", "-c", "cat /proc/[0-9]*/cmdline | busybox tr '\\0' ' '; cat /start; exit 4"]}]}}


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


class World:
    """containerd, a server, and the agent of one machine."""

    def __init__(self, everynode, tools, folder):
        self.p, self.c, self.everynode, self.folder = Parts(everynode, tools, folder), Containerd(tools, folder), everynode, folder
        self.p.node, self.port, self.out, self.usual = NODE, free_port(), os.path.join(folder, "out"), False
        self.k = Client("own CLI", [everynode], os.path.join(self.p.data("server"), "admin.kubeconfig"))

    def agent(self, endpoint, *more):
        self.p.start("agent", [self.everynode, "agent", "--data-dir", self.p.data("agent"), "--node-name", NODE,
                               "--server", f"https://127.0.0.1:{self.port}", "--container-runtime-endpoint", endpoint, *more])

    def at_the_usual_place(self):
        """Where `auto` looks. A machine with a containerd of its own has one there, which is left alone."""
        if os.path.islink(USUAL) and not os.path.exists(USUAL):
            os.unlink(USUAL)
        if os.path.exists(USUAL):
            return f"unix://{self.c.socket}"
        os.makedirs(os.path.dirname(USUAL), exist_ok=True)
        os.symlink(self.c.socket, USUAL)
        self.usual = True
        return "auto"

    def joins(self, archives):
        c, p, k = self.c, self.p, self.k
        c.prepare()
        c.start()
        pause = os.path.join(self.folder, "pause.tar")
        images.archive(pause, PAUSE, "#!/bin/sh\nexec sleep 1000000\n")
        for path in [pause, *archives]:
            holds("the image is imported", c.ctr("images", "import", path).returncode == 0)
        p.start("server", [self.everynode, "server", "--data-dir", p.data("server"), "--listen", f"0.0.0.0:{self.port}"])
        until("the server is ready", lambda: os.path.exists(k.kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
        token = run([self.everynode, "token", "create", "--data-dir", p.data("server")]).stdout.strip()
        self.agent(f"unix://{self.folder}/mistyped.sock", "--token", token)
        until("it waits for a runtime", lambda: "waiting for it" in p.log("agent"))
        p.kill("agent")
        self.agent(f"unix://{c.socket}", "--token", token)
        ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.nodeInfo.containerRuntimeVersion}"
        until("the node is ready, on containerd", lambda: k.out("get", "node", NODE, "-o", ready).startswith("True containerd://"))

    def words(self):
        for name in ("server", "agent"):
            print(f"--- {name}: " + (self.p.log(name)[-2500:] if os.path.exists(os.path.join(self.folder, name + ".log")) else ""), flush=True)
        with open(f"{self.c.dir}/log") as f:
            print("--- containerd: " + f.read()[-1500:], flush=True)

    def close(self):
        self.p.close()
        self.c.close()
        if self.usual:
            os.unlink(USUAL)


def processes(k):
    """The daemons' programs and when they began, what was restarted, and the pods."""
    found = {}
    for app, program in (("contained", "begun with"), ("of-the-host", "sleep 4020")):
        pod, lines = ready_on(k, f"app={app}", [NODE])[0], host.processes()
        began = [(pid, host.start_ticks(pid)) for pid in host.in_pod(pod["metadata"]["uid"]) if program in lines.get(pid, "")]
        equal(f"{app}: its program", len(began), 1)
        found[app] = (began, [s["restartCount"] for s in pod["status"]["containerStatuses"]], pod["metadata"]["name"])
    return found


def play(report, everynode, tools, folder, archives, held):
    name = "a machine joins: containerd"
    folder = os.path.join(folder, "on-containerd")
    os.makedirs(folder)
    w = World(everynode, tools, folder)
    if why := w.c.missing():
        return report.skip(name, why)
    before = report.failed
    try:
        if not report.case(name, w.joins, archives):
            return
        report.case("containerd: daemons from start to end", daemons, w)
        report.case("containerd: the old daemon runs until the image is there", the_image_comes_first, w, held)
        named = Client("own CLI, containerd", w.k.argv, w.k.kubeconfig)
        streams.play(report, named, folder)
        report.case("containerd: crash loop backs off", faults.crash_loop_backs_off, w.k, w.p.data("agent"))
        shapes.play(report, w.k, folder, w.p.data("agent"), on="containerd: ", skipped=not_here())
        report.case("containerd: the machine leaves", leaves, w)
    finally:
        if report.failed > before:
            w.words()
        w.close()
        held.stop()


def not_here():
    """Shapes that containerd refuses on such a machine, where the runtime in the binary does without what the machine lacks."""
    found = {}
    if not (shapes.shared("/") and shapes.shared("/sys")):
        found["node-exporter"] = "this machine tells nobody of its mounts: / and /sys are not shared"
    if (shapes.SYS_ADMIN | shapes.SYS_RESOURCE | shapes.SYS_PTRACE | shapes.NET_ADMIN) & ~shapes.everything():
        found["runtime-security"] = "not all capabilities that it asks for are there to give"
    return found


def daemons(w):
    k, c, p = w.k, w.c, w.p
    apply_text(k, DAEMON.replace("OUT", w.out))
    before = processes(k)
    pod, of_the_host = before["contained"][2], before["of-the-host"][2]

    def answers():
        equal("logs", k.out("logs", pod, "--tail=1"), "begun with tail\n")
        equal("a command", k.out("exec", pod, "--", "cat", "/etc/hostname").strip(), pod)
        return True
    until("logs and a command", answers)
    status = k.json("get", "pod", pod)["status"]["containerStatuses"][0]
    holds("its container is containerd's", status["containerID"].startswith("containerd://") and
          status["containerID"].split("//")[1] in c.ctr("containers", "ls", "-q").stdout, status)
    pid = before["of-the-host"][0][0][0]
    equal("the node's network and processes", [host.namespace(pid, n) == host.namespace("self", n) for n in ("net", "pid", "mnt")], [True, True, False])
    address = k.json("get", "pod", of_the_host)["status"]
    equal("the node's address", address["podIP"], address["hostIP"])
    k.out("patch", "configmap", "contained", "-p", '{"data":{"mode":"head"}}')
    until("the volume has the new value", lambda: k.out("exec", pod, "--", "cat", "/conf/mode") == "head")

    k.out("patch", "pod", pod, "--subresource=ephemeralcontainers", "-p", json.dumps(DEBUG))
    def looked():
        state = k.json("get", "pod", pod)["status"]["ephemeralContainerStatuses"][0]["state"]
        return state.get("terminated", {}).get("exitCode") == 4
    until("the debug container ends", looked)
    text = k.out("logs", pod, "-c", "look")
    holds("it saw its target's processes, and its own image", "begun with" in text and "nginx 1.27 listens" in text and "fluentd" not in text, text)
    equal("the daemons, looked at", processes(k), before)

    p.kill("agent")
    equal("the daemons, without an agent", processes(k), before)
    w.agent(w.at_the_usual_place())
    until("logs and a command by the next agent", answers)
    equal("the daemons, with the next agent, which found containerd by itself", processes(k), before)

    c.kill()
    equal("the daemons, without containerd", processes(k), before)
    c.start()
    until("logs and a command by the next containerd", answers)
    equal("the daemons, with the next containerd", processes(k), before)

    if w.usual:
        # As after a boot: the agent is first.
        p.kill("agent")
        c.kill()
        os.unlink(c.socket)
        waits = p.log("agent").count("waiting for it")
        w.agent("auto")
        until("the agent waits for the runtime that its pods are on", lambda: p.log("agent").count("waiting for it") > waits)
        c.start()
        until("logs and a command by both", answers)
        equal("the daemons, with agent and containerd begun anew", processes(k), before)

    # An update: the old one ends in its own time, the new one begins by the new image.
    uid = k.json("get", "pod", pod)["metadata"]["uid"]
    k.out("set", "image", "daemonset/contained", "c=fluent/fluentd:v1.17")
    holds("rolled out", "successfully rolled out" in k.out("rollout", "status", "daemonset/contained"))
    with open(os.path.join(w.out, pod)) as f:
        equal("what the old one wrote when it was told to stop", f.read(), "stopped\n")
    gone_from_the_machine([uid])
    new = ready_on(k, "app=contained", [NODE])[0]
    holds("the new image", new["status"]["containerStatuses"][0]["image"].endswith("fluent/fluentd:v1.17"), new["status"])
    equal("the new value from the start", k.out("logs", new["metadata"]["name"]), "begun with head\n")
    equal("the other daemon", processes(k)["of-the-host"], before["of-the-host"])

    began = time.time()
    k.out("delete", "daemonset", "contained", "of-the-host")
    until("its containers are gone", lambda: not c.ctr("containers", "ls", "-q").stdout.split())
    holds("in its own time, not in that which it might have taken", time.time() - began < 25, time.time() - began)
    holds("told to stop first", os.path.exists(os.path.join(w.out, new["metadata"]["name"])))
    gone_from_the_machine([new["metadata"]["uid"]])
    until("no links to its logs", lambda: not glob.glob("/var/log/containers/contained-*") + glob.glob("/var/log/containers/of-the-host-*"))


def the_image_comes_first(w, held):
    """A policy that asks for it: containerd pulls the new image while the old daemon runs."""
    k, image = w.k, f"127.0.0.1:{held.port}/slow/nginx:1"
    apply_text(k, DAEMON.replace("OUT", w.out) + POLICY)
    before = processes(k)
    until("the revision is known to be good", lambda: phase(k) == "Complete")
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}
    k.out("patch", "ds", "contained", "-p", json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}}))
    pulled = lambda: [(c["reason"], c["message"]) for p in k.json("get", "pods", "-l", "app=contained")["items"]
                      for c in p["status"]["conditions"] if c["type"] == "everynode.dev/PrePulled"]
    until("the node pulls", lambda: pulled() == [("Pulling", image)])
    time.sleep(3)
    equal("the daemon runs on", processes(k), before)
    held.let.set()
    until("rolled out", lambda: phase(k) == "Complete" and ready_on(k, "app=contained", [NODE])[0]["spec"]["containers"][0]["image"] == image)
    k.out("delete", "rolloutpolicy", "contained")
    k.out("delete", "daemonset", "contained", "of-the-host")
    until("its containers are gone", lambda: not w.c.ctr("containers", "ls", "-q").stdout.split())


def phase(k):
    """Where the rollout is, by the policy's status."""
    sets = k.json("get", "rolloutpolicy", "contained").get("status", {}).get("daemonSets", [])
    current = k.json("get", "daemonset", "contained")
    return sets[0]["phase"] if sets and current["status"].get("observedGeneration") == current["metadata"]["generation"] else None


def dangling():
    """Links to logs that are gone."""
    return {l for l in glob.glob("/var/log/containers/*") if not os.path.exists(l)}


def leaves(w):
    """Daemons that run are not made twice by another runtime, and end with `uninstall`; what is not ours stays."""
    k, c, p, data = w.k, w.c, w.p, w.p.data("agent")
    apply_text(k, DAEMON.replace("OUT", w.out))
    uids = [ready_on(k, f"app={app}", [NODE])[0]["metadata"]["uid"] for app in ("contained", "of-the-host")]
    others = dangling()
    holds("another's container", c.ctr("run", "-d", PAUSE, "not-ours").returncode == 0)
    p.kill("agent")
    other = [w.everynode, "agent", "--data-dir", data, "--node-name", NODE, "--server", f"https://127.0.0.1:{w.port}"]
    said = run([*other, "--container-runtime-endpoint", "embedded"], check=False)
    holds("another runtime is refused", said.returncode == 1 and "2 pods of this node run on the runtime behind" in said.stderr, said.stderr)
    remove = [w.everynode, "uninstall", "--data-dir", data]
    c.kill()
    said = run(remove, check=False)
    holds("without containerd nothing is said to be gone", said.returncode == 1 and "does not answer" in said.stderr
          and "start it and run this again" in said.stderr and all(map(host.in_pod, uids)), said.stderr)
    c.start()
    said = run(remove).stdout
    holds("it says what it removed", f"removed {data}" in said and f"node {NODE}" in said, said)
    gone_from_the_machine(uids)
    equal("containers of containerd", c.ctr("containers", "ls", "-q").stdout.split(), ["not-ours"])
    instance = hashlib.sha256(data.encode()).hexdigest()[:8]
    equal("cgroups", host.cgroup_dirs(f"everynode-{instance}"), [])
    equal("links to logs", dangling() - others, set())
    equal("data", os.path.exists(data), False)
    equal("twice is harmless", run(remove).stdout.splitlines()[-1], "Nothing of everynode is left.")
