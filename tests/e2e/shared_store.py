"""Two servers on one etcd and a node with real containers: what is applied through one is seen through the other, and when
the first is killed the rollout goes on by the second."""
import hashlib, os, shutil, signal, socket, subprocess, time

from chapter import ready_on
from harness import Client, equal, holds, run, until

NODE = "shared-1"
BRIDGE = "everynode0"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def program(tools, name):
    unpacked = os.path.join(tools, "etcd/usr/bin", name)
    found = unpacked if os.path.exists(unpacked) else shutil.which(name)
    holds(f"{name} is not there: run tests/install", found)
    return found


class Parts:
    """Everything that runs here, and its end."""

    def __init__(self, everynode, tools, folder):
        self.everynode, self.tools, self.folder, self.running, self.node = everynode, tools, folder, {}, NODE
        self.etcd_port, self.ports = free_port(), {}
        self.bridge = not os.path.exists(f"/sys/class/net/{BRIDGE}")  # ours to remove

    def start(self, name, argv):
        log = open(os.path.join(self.folder, name + ".log"), "a")
        self.running[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def log(self, name):
        with open(os.path.join(self.folder, name + ".log")) as f:
            return f.read()

    def data(self, name):
        return os.path.join(self.folder, name)

    def etcd(self):
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        self.start("etcd", [program(self.tools, "etcd"), "--name", "e2e", "--data-dir", self.data("etcd"), "--listen-client-urls", client,
                            "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                            "--initial-cluster", f"e2e={peer}"])

    def server(self, name):
        self.ports.setdefault(name, free_port())
        self.start(name, [self.everynode, "server", "--data-dir", self.data(name), "--listen", f"0.0.0.0:{self.ports[name]}",
                          "--store", f"etcd://127.0.0.1:{self.etcd_port}"])
        kubeconfig = os.path.join(self.data(name), "admin.kubeconfig")
        client = Client(name, [self.everynode], kubeconfig)
        until(f"{name} is ready", lambda: os.path.exists(kubeconfig) and client.out("get", "--raw", "/readyz") == "ok")
        return client

    def kill(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self):
        for process in reversed(list(self.running.values())):
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        # What a lone agent leaves for its next start: `down` knows only what `up` made.
        instance = hashlib.sha256(self.data("agent").encode()).hexdigest()[:8]
        subprocess.run([self.everynode, "down", "--data-dir", self.data("agent")], capture_output=True)
        subprocess.run(["umount", "-R", f"/run/everynode/{instance}/{self.node}"], capture_output=True)
        shutil.rmtree(f"/run/everynode/{instance}", ignore_errors=True)
        if self.bridge:
            subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def play(report, everynode, tools, folder, archive):
    report.case("two servers on one etcd", body, everynode, tools, folder, archive)


def body(everynode, tools, folder, archive):
    folder = os.path.join(folder, "shared-store")
    os.makedirs(folder)
    p = Parts(everynode, tools, folder)
    try:
        p.etcd()
        until("etcd answers", lambda: socket.create_connection(("127.0.0.1", p.etcd_port), 1))
        first = p.server("first")
        os.makedirs(os.path.join(p.data("second"), "pki"), mode=0o700)
        for name in ("ca.crt", "ca.key", "sa.key"):
            shutil.copy2(os.path.join(p.data("first"), "pki", name), os.path.join(p.data("second"), "pki", name))
        second = p.server("second")
        run([everynode, "image", "load", archive, "--data-dir", p.data("agent")])
        p.start("agent", [everynode, "agent", "--kubeconfig", second.kubeconfig, "--data-dir", p.data("agent"), "--node-name", NODE,
                          "--pod-cidr", "10.43.7.0/24"])
        until("the node is ready, seen by the first", lambda: "True" in first.out(
            "get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"))

        # Applied through one, seen and running through the other.
        first.out("apply", "-f", "-", stdin=manifest("one"))
        ready_on(second, "app=shared", [NODE])
        equal("the same object", first.json("get", "daemonset", "shared")["metadata"], second.json("get", "daemonset", "shared")["metadata"])
        acting = [name for name in ("first", "second") if "this process runs the controllers" in p.log(name)]
        equal("who runs the controllers", acting, ["first"])

        # The server that acts is killed in mid-rollout; the other one finishes it.
        first.out("apply", "-f", "-", stdin=manifest("two"))
        p.kill("first")
        second.out("rollout", "status", "daemonset/shared", "--timeout=80s")
        pods = ready_on(second, "app=shared", [NODE])
        equal("the new version runs", [c["env"][0]["value"] for c in pods[0]["spec"]["containers"]], ["two"])
        lease = second.json("get", "lease", "everynode-controllers", "-n", "kube-system")["spec"]
        equal("changes of the holder", lease["leaseTransitions"], 1)

        # etcd killed and back: nothing is lost, and the servers go on.
        p.kill("etcd")
        p.etcd()
        until("a write after etcd is back", lambda: second("label", "node", NODE, "after=restart", "--overwrite").returncode == 0)
        first = p.server("first")
        equal("the label, by the first one again", first.json("get", "node", NODE)["metadata"]["labels"]["after"], "restart")
        second.out("delete", "daemonset", "shared")
        until("no pods are left", lambda: not first.json("get", "pods", "-l", "app=shared")["items"])
    except Exception:
        for name in ("first", "second", "agent"):
            if os.path.exists(os.path.join(folder, name + ".log")):
                print(f"--- {name}: " + p.log(name)[-1500:], flush=True)
        raise
    finally:
        p.close()


def manifest(version):
    return f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: shared}}
spec:
  selector: {{matchLabels: {{app: shared}}}}
  template:
    metadata: {{labels: {{app: shared}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: c, image: "nginx:1.27", env: [{{name: VERSION, value: "{version}"}}]}}
"""
