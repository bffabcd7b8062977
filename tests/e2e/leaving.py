"""A machine that goes and comes: a boot while the API server is away, and a shutdown."""
import hashlib, os, shutil, signal, socket, subprocess

import host
from harness import Client, equal, holds, run, until

NODE = "lone-1"
DAEMON = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: conf}, data: {mode: tail}}
- {apiVersion: v1, kind: Secret, metadata: {name: sec}, stringData: {token: s3cr3t}}
- apiVersion: apps/v1
  kind: DaemonSet
  metadata: {name: lone}
  spec:
    selector: {matchLabels: {app: lone}}
    template:
      metadata: {labels: {app: lone}}
      spec:
        hostNetwork: true
        terminationGracePeriodSeconds: 1
        containers:
        - name: c
          image: nginx:1.27
          imagePullPolicy: Never
          command: [sh, -c, "cat /sec/token > /tmp/seen; exec sleep 3600"]
          env: [{name: MODE, valueFrom: {configMapKeyRef: {name: conf, key: mode}}}]
          readinessProbe: {exec: {command: [cat, /tmp/seen]}, periodSeconds: 1}
          volumeMounts: [{name: sec, mountPath: /sec}]
        volumes: [{name: sec, secret: {secretName: sec}}]
"""


class Lone:
    """A server and one agent on this machine, with directories of their own."""

    def __init__(self, everynode, folder):
        self.everynode, self.folder, self.running = everynode, folder, {}
        self.data = {name: os.path.join(folder, name) for name in ("server", "agent")}
        self.kubeconfig = os.path.join(self.data["server"], "admin.kubeconfig")
        self.agent_kubeconfig = self.kubeconfig
        self.k = Client("lone", [everynode], self.kubeconfig)
        instance = hashlib.sha256(self.data["agent"].encode()).hexdigest()[:8]
        self.run_dir, self.group = f"/run/everynode/{instance}", f"everynode-{instance}"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        # What the agent is told when it asks systemd.
        os.makedirs(os.path.join(folder, "bin"))
        self.systemd = os.path.join(folder, "systemd")
        with open(os.path.join(folder, "bin", "systemctl"), "w") as f:
            f.write(f"#!/bin/sh\ncat {self.systemd}\n")
        os.chmod(f.name, 0o755)
        self.machine_is("running")

    def machine_is(self, state):
        with open(self.systemd, "w") as f:
            f.write(state + "\n")

    def start(self, name, *flags):
        words = {
            "server": ["--listen", f"0.0.0.0:{self.port}"],
            "agent": ["--kubeconfig", self.agent_kubeconfig, "--node-name", NODE, "--pod-cidr", "10.43.9.0/24"],
        }[name]
        log = open(os.path.join(self.folder, name + ".log"), "a")
        argv = [self.everynode, name, "--data-dir", self.data[name], *words, *flags]
        env = dict(os.environ, PATH=os.path.join(self.folder, "bin") + ":" + os.environ["PATH"])
        self.running[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, env=env)
        if name == "server":
            until("the server is ready", lambda: os.path.exists(self.kubeconfig) and self.k.out("get", "--raw", "/readyz") == "ok")

    def stop(self, name, how=signal.SIGTERM):
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(20)

    def log(self, name):
        with open(os.path.join(self.folder, name + ".log")) as f:
            return f.read()

    def containers(self, word):
        """First processes of containers whose command line holds the word."""
        return [pid for pid, line in host.processes().items() if word in line and self.group in host.cgroups_of(pid)]

    def lose_everything_that_a_boot_loses(self):
        for pid in host.processes():
            try:
                if self.group in host.cgroups_of(pid):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        for path in reversed(host.mounts(self.run_dir) + host.mounts(self.data["agent"])):
            run(["umount", "-l", path], check=False)
        shutil.rmtree(self.run_dir)

    def close(self):
        for name in list(self.running):
            self.stop(name, signal.SIGKILL)
        if os.path.exists(self.run_dir):
            self.lose_everything_that_a_boot_loses()
        for path in sorted(host.cgroup_dirs(self.group + "/**"), reverse=True) + host.cgroup_dirs(self.group):
            run(["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], check=False)


def ready(k, name="app=lone"):
    pods = k.json("get", "pods", "-l", name)["items"]
    states = [s for p in pods for s in p["status"].get("containerStatuses", [])]
    return pods if states and all(s["ready"] for s in states) else None


def environment(pid):
    with open(f"/proc/{pid}/environ") as f:
        return f.read().split("\0")


def boot_without_the_server_and_shutdown(everynode, folder, archive):
    folder = os.path.join(folder, "lone")
    os.makedirs(folder)
    p = Lone(everynode, folder)
    try:
        p.start("server")
        run([everynode, "image", "load", archive, "--data-dir", p.data["agent"]])
        p.start("agent")
        p.k("apply", "-f", "-", stdin=DAEMON)
        before = until("the daemon is ready", lambda: ready(p.k))
        first = until("its process", lambda: p.containers("sleep 3600"))
        uid = before[0]["metadata"]["uid"]
        # SIGTERM to the agent is no shutdown of the machine.
        p.stop("agent")
        equal("the daemon runs on", p.containers("sleep 3600"), first)
        p.stop("server")
        p.lose_everything_that_a_boot_loses()
        equal("nothing runs", p.containers("sleep 3600"), [])

        p.start("agent")
        again = until("the daemon is back, without the server", lambda: p.containers("sleep 3600"))
        holds("its environment", "MODE=tail" in environment(again[0]), environment(again[0]))
        with open(f"/proc/{again[0]}/root/sec/token") as f:
            equal("its secret", f.read(), "s3cr3t")
        equal("it is the same pod", host.in_pod(uid)[:1], again[:1])

        p.start("server")
        pods = until("the server knows", lambda: [x for x in ready(p.k) or [] if x["status"]["containerStatuses"][0]["restartCount"] == 1])
        equal("the pod", [x["metadata"]["uid"] for x in pods], [uid])
        equal("no second one, no restart", p.containers("sleep 3600"), again)

        # The same signal, but systemd stops the machine: the daemon ends, its pod stays and begins again.
        p.machine_is("stopping")
        p.stop("agent")
        equal("the daemon ends with the machine", p.containers("sleep 3600"), [])
        says = p.k.out("get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}")
        holds("the node says so", "node is shutting down" in says, says)
        p.machine_is("running")
        p.start("agent")
        pods = until("it begins again", lambda: [x for x in ready(p.k) or [] if x["status"]["containerStatuses"][0]["restartCount"] == 2])
        equal("the same pod", [x["metadata"]["uid"] for x in pods], [uid])
        p.k("delete", "daemonset", "lone")
        until("it ends", lambda: not p.containers("sleep 3600"))
    except Exception:
        for name in p.data:
            print(f"--- {name}: " + p.log(name)[-1500:], flush=True)
        raise
    finally:
        p.close()
