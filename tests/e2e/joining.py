"""A machine joins with an address and a token, its certificate is renewed while its daemon runs on, and it goes on with the
second address when the first is gone."""
import base64, datetime, glob, hashlib, hmac, os, re, shutil, socket, subprocess, threading

import host
from chapter import ready_on
from faults import fingerprint, named
from harness import Client, equal, holds, run, until
from shared_store import BRIDGE, Parts, free_port

NODE = "joined-1"
TTL = "15s"  # renewed after 10 to 14 seconds: short for a test, long enough for a busy machine


class Forward:
    """A second address of a server: what comes to its port goes to the server's."""

    def __init__(self, to):
        self.to, self.open = to, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            self.open += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass

    def close(self):
        if self.listener.fileno() < 0:
            return
        # A listener in accept() stays one until it is shut down.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.open:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def ready_status(k):
    return k.out("get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}")


def certificate(p):
    with open(os.path.join(p.data("agent"), "nodes", NODE, "pki", "node.pem")) as f:
        return f.read()


def refused(p, words, *flags):
    """An agent that must not get in ends with one line."""
    made = subprocess.run([p.everynode, "agent", "--data-dir", p.data("nobody"), *flags], capture_output=True, text=True, timeout=60)
    lines = [l for l in made.stderr.splitlines() if l.startswith("error: ")]
    holds(f"an agent with {flags}", made.returncode == 1 and len(lines) == 1 and words in lines[0], made.stderr)


def nothing_is_left(p, pod):
    """`uninstall` takes away a daemon that runs, its logs, the bridge, and all of the data directory."""
    data, uid = p.data("agent"), pod["metadata"]["uid"]
    instance = hashlib.sha256(data.encode()).hexdigest()[:8]
    remove = [p.everynode, "uninstall", "--data-dir", data]
    still = run(remove, check=False)
    holds("an agent that runs is not undermined", still.returncode == 1 and "still runs" in still.stderr, still.stderr)
    p.kill("agent")
    said = run(remove).stdout
    holds("it says what it removed", f"removed {data}" in said and f"node {NODE}" in said, said)
    equal("data", os.path.exists(data), False)
    equal("processes", named(lambda l: data in l and "run.py" not in l) + host.in_pod(uid), [])
    equal("mounts", host.mounts(data) + host.mounts(f"/run/everynode/{instance}"), [])
    equal("cgroups", host.cgroup_dirs(f"everynode-{instance}"), [])
    equal("run directory", os.path.exists(f"/run/everynode/{instance}"), False)
    equal("logs", glob.glob(f"/var/log/pods/*{uid}") + [l for l in glob.glob("/var/log/containers/joined-*") if not os.path.exists(l)], [])
    equal("bridge", p.bridge and os.path.exists(f"/sys/class/net/{BRIDGE}"), False)
    equal("twice is harmless", run(remove).stdout.splitlines()[-1], "Nothing of everynode is left.")


def signed_by(k, token):
    """Whether what is told to everyone is signed by a token, as kubeadm looks at it."""
    told = k.json("get", "configmap", "cluster-info", "-n", "kube-public")["data"]
    identifier, secret = token.split(".")[:2]
    signature = told.get(f"jws-kubeconfig-{identifier}")
    if signature is None:
        return False
    plain = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    header = plain(b'{"alg":"HS256","kid":"%s"}' % identifier.encode())
    tag = hmac.new(secret.encode(), header + b"." + plain(told["kubeconfig"].encode()), hashlib.sha256).digest()
    equal("the signature", signature, (header + b".." + plain(tag)).decode())
    return True


def units(everynode, folder):
    """A unit as `install` writes it, in a root of its own: systemd need not run here."""
    root = os.path.join(folder, "root")
    run([everynode, "install", "--root", root, "server", "--listen", "0.0.0.0:6443"])
    unit = os.path.join(root, "etc/systemd/system/everynode-server.service")
    with open(unit) as f:
        text = f.read()
    for want in ("ExecStart=/usr/local/bin/everynode server --listen 0.0.0.0:6443\n", "KillMode=process\n", "Delegate=yes\n", "Restart=always\n"):
        holds(f"{want!r} in the unit", want in text, text)
    equal("it is enabled", os.readlink(os.path.join(root, "etc/systemd/system/multi-user.target.wants/everynode-server.service")),
          "/etc/systemd/system/everynode-server.service")
    equal("the binary runs", run([os.path.join(root, "usr/local/bin/everynode"), "--version"]).returncode, 0)
    if shutil.which("systemd-analyze"):
        # The binary is not at its place here, which is all that may be wrong.
        said = run(["systemd-analyze", "verify", unit], check=False).stderr
        wrong = [l for l in said.splitlines() if "everynode-server" in l and "is not executable" not in l and "Failed to create" not in l]
        equal("what systemd says of the unit", wrong, [])
    shown = run([everynode, "install", "--dry-run", "agent", "--server", "https://a:1", "--token", "abcdef.0123456789abcdef.sha256:" + "0" * 64])
    holds("no token in a unit", "abcdef" not in shown.stdout and "agent --server https://a:1\n" in shown.stdout, shown.stdout)
    bad = run([everynode, "install", "server", "--node-name", "x"], check=False)
    holds("flags are looked at first", bad.returncode == 1 and "--node-name" in bad.stderr, bad.stderr)
    if not os.path.isdir("/run/systemd/system"):
        bad = run([everynode, "install", "server"], check=False)
        holds("no systemd here", "systemd does not run here" in bad.stderr and len(bad.stderr.splitlines()) == 1, bad.stderr)


def play(report, everynode, tools, folder, archive):
    report.case("a machine joins", body, everynode, tools, folder, archive)
    report.case("a machine joins: units", units, everynode, folder)


def body(everynode, tools, folder, archive):
    folder = os.path.join(folder, "joining")
    os.makedirs(folder)
    p = Parts(everynode, tools, folder)
    p.node = NODE
    port = free_port()
    forward = Forward(port)
    first, second = f"https://127.0.0.1:{forward.port}", f"https://127.0.0.1:{port}"
    try:
        p.start("server", [everynode, "server", "--data-dir", p.data("server"), "--listen", f"0.0.0.0:{port}", "--node-certificate-ttl", TTL])
        kubeconfig = os.path.join(p.data("server"), "admin.kubeconfig")
        k = Client("own CLI", [everynode], kubeconfig)
        until("the server is ready", lambda: os.path.exists(kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
        made = run([everynode, "token", "create", "--data-dir", p.data("server"), "--description", "rack 7"])
        token = made.stdout.strip()
        holds("the line to run", f":{port} --token {token}" in made.stderr, made.stderr)
        identifier = token.split(".")[0]
        holds("the list has it", [l for l in run([everynode, "token", "list", "--data-dir", p.data("server")]).stdout.splitlines()
                                  if l.startswith(identifier) and "rack 7" in l and token not in l])

        until("what is told to everyone is signed", lambda: signed_by(k, token))

        at = ("--server", second, "--node-name", "nobody")
        refused(p, "is not of the cluster that made this token", *at, "--token", token[:-6] + "000000")
        refused(p, "does not know the token", *at, "--token", "zzzzzz" + token[6:])
        refused(p, "can't be reached", "--server", f"https://127.0.0.1:{free_port()}", "--node-name", "nobody", "--token", token)
        refused(p, "give --server and --token", *at)

        run([everynode, "image", "load", archive, "--data-dir", p.data("agent")])
        agent = [everynode, "agent", "--data-dir", p.data("agent"), "--node-name", NODE, "--pod-cidr", "10.43.8.0/24", "--server", f"{first},{second}"]
        p.start("agent", agent + ["--token", token])
        until("the node is there", lambda: k.json("get", "node", NODE))
        equal("who the node is", k.json("get", "csr")["items"][0]["spec"]["username"], f"system:bootstrap:{identifier}")
        mode = os.stat(os.path.join(p.data("agent"), "nodes", NODE, "pki", "node.pem")).st_mode & 0o777
        equal("the key is private", oct(mode), "0o600")
        begun = certificate(p)
        k.out("apply", "-f", "-", stdin=MANIFEST)
        before = fingerprint(ready_on(k, "app=joined", [NODE]))
        refused(p, "another machine has the name", "--server", second, "--node-name", NODE, "--token", token)

        # The first address goes in the middle of everything; the token is worth nothing any more.
        run([everynode, "token", "delete", identifier, "--data-dir", p.data("server")])
        until("its signature goes", lambda: not signed_by(k, token))
        forward.close()
        until("the agent goes on with the other address", lambda: f"going on with {second}" in p.log("agent"))
        until("a certificate by the old one", lambda: "certificate is renewed" in p.log("agent") and certificate(p) != begun)
        until("logs come by the tunnel again", lambda: "nginx" in k.out("logs", "ds/joined"))

        # A start without a token.
        p.kill("agent")
        p.start("agent", agent)
        until("the tunnel of the new agent", lambda: p.log("agent").count("the agent starts") == 2 and "nginx" in k.out("logs", "ds/joined"))
        equal("the daemon", fingerprint(ready_on(k, "app=joined", [NODE])), before)

        # Away until the certificate has ended: the agent says what to do, and a new token lets it in.
        p.kill("agent")
        ends = max(datetime.datetime.fromisoformat(e.rstrip("Z")) for e in re.findall(r"ends ([0-9T:-]+Z)", p.log("agent")))
        until("the certificate ends", lambda: datetime.datetime.utcnow() > ends)
        refused_as_itself = subprocess.run(agent, capture_output=True, text=True, timeout=60)
        holds("an agent whose certificate has ended", "make a new token" in refused_as_itself.stderr, refused_as_itself.stderr)
        token = run([everynode, "token", "create", "--data-dir", p.data("server")]).stdout.strip()
        # What the controller says of a node that is silent for 40 seconds.
        k.out("patch", "node", NODE, "--subresource=status", "-p", '{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}')
        p.start("agent", agent + ["--token", token])
        until("the node is back", lambda: ready_status(k) == "True")
        pods = ready_on(k, "app=joined", [NODE])
        equal("the daemon after all that", fingerprint(pods), before)

        nothing_is_left(p, pods[0])
    except Exception:
        for name in ("server", "agent"):
            if os.path.exists(os.path.join(folder, name + ".log")):
                print(f"--- {name}: " + p.log(name)[-2500:], flush=True)
        raise
    finally:
        forward.close()
        p.close()


MANIFEST = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: joined}
spec:
  selector: {matchLabels: {app: joined}}
  template:
    metadata: {labels: {app: joined}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: "nginx:1.27"}
"""
