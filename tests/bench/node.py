#!/usr/bin/env python3
"""What a node costs: memory and processor of the agent and its shims with no pods and with thirty, and how long a pod takes from its
binding until it is Ready, beside the same pod by containerd and runc, and the same container by containerd alone, in turns.

usage: node.py [--pods 30] [--rest 60] [--starts 20] [--settle 30]      EVERYNODE_BINARY=FILE (a release build)
Needs root; containerd, runc and CNI plugins as tests/install unpacks them (without, its column is empty)."""
import argparse, base64, hashlib, http.client, json, os, re, shutil, ssl, statistics, sys, tempfile, time, urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import host, images
from harness import Client, holds, run, until
from on_containerd import PAUSE, Containerd
from run import TOOLS, binary
from shared_store import Parts, free_port

EMBEDDED, CONTAINED = "bench-embedded", "bench-containerd"
IMAGE = "docker.io/library/sleeper:1"
TICKS = os.sysconf("SC_CLK_TCK")


def pod(name, node):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0,
                     "containers": [{"name": "c", "image": "sleeper:1", "imagePullPolicy": "Never"}]}}


class Api:
    """Requests without a client program, so that only the server and the node are timed."""

    def __init__(self, kubeconfig, folder):
        found = access(kubeconfig)
        for name, key in (("ca", "certificate-authority-data"), ("cert", "client-certificate-data"), ("key", "client-key-data")):
            data = found[key]
            with open(os.path.join(folder, name + ".pem"), "wb") as f:
                f.write(base64.b64decode(data))
        self.context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        self.context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        self.where = urllib.parse.urlparse(found["server"])
        self.plain = self.connect()

    def connect(self):
        return http.client.HTTPSConnection(self.where.hostname, self.where.port, context=self.context, timeout=60)

    def __call__(self, method, path, body=None):
        self.plain.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = self.plain.getresponse()
        data = json.loads(answer.read())
        holds(f"{method} {path}", answer.status < 300, data)
        return data

    def start_ms(self, name, node):
        """Milliseconds from the request that binds a pod until a watcher sees that it is Ready."""
        watch = self.connect()
        watch.request("GET", "/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3D" + name)
        events = watch.getresponse()
        began = time.perf_counter()
        self("POST", "/api/v1/namespaces/default/pods", pod(name, node))
        while True:
            line = events.readline()
            holds("the watch ended", line)
            status = json.loads(line)["object"].get("status", {})
            if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])):
                break
        took = (time.perf_counter() - began) * 1000
        watch.close()
        return took

    def delete(self, name):
        self("DELETE", "/api/v1/namespaces/default/pods/" + name, {"gracePeriodSeconds": 0})
        def gone():
            self.plain.request("GET", "/api/v1/namespaces/default/pods/" + name)
            answer = self.plain.getresponse()
            answer.read()
            return answer.status == 404
        until(f"{name} is gone", gone, every=0.02)


def access(kubeconfig):
    """The kubeconfig as our server writes it: JSON or the simplest of YAML, a key and a value a line."""
    with open(kubeconfig) as f:
        return dict(re.findall(r'"?(server|[a-z-]+-data)"?: *"?([^\s",]+)', f.read()))


def memory_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        found = dict(l.split(":", 1) for l in f)
    return int(found["VmRSS"].split()[0]) / 1024, (int(found["RssAnon"].split()[0]) + int(found["RssShmem"].split()[0])) / 1024


def at_rest(pid, seconds):
    """Waits, and says what was resident meanwhile (the median and the most) and of the process's own at the end."""
    seen = []
    for _ in range(seconds):
        time.sleep(1)
        seen.append(memory_mib(pid))
    resident = [s[0] for s in seen]
    return f"{statistics.median(resident):.1f} (at most {max(resident):.1f}), {seen[-1][1]:.1f}"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def ratio(a, b):
    return f"{statistics.median(x / y for x, y in zip(a, b)):.2f}" if a and b else "-"


def spread(values):
    return f"{statistics.median(values):.0f} (p90 {sorted(values)[int(len(values) * 0.9) - 1]:.0f})" if values else "-"


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default in (("--pods", 30), ("--rest", 60), ("--starts", 20), ("--settle", 30)):
        words.add_argument(name, type=int, default=default)
    told, everynode = words.parse_args(), binary()
    folder = tempfile.mkdtemp(prefix="everynode-bench-")
    archive, pause = os.path.join(folder, "sleeper.tar"), os.path.join(folder, "pause.tar")
    images.archive(archive, IMAGE, "#!/bin/sh\nexec sleep 1000000\n")
    images.archive(pause, PAUSE, "#!/bin/sh\nexec sleep 1000000\n")
    c, p = Containerd(TOOLS, folder), Parts(everynode, TOOLS, folder)
    p.node = EMBEDDED
    beside = c.missing() is None
    rows = []
    try:
        port = free_port()
        p.start("server", [everynode, "server", "--data-dir", p.data("server"), "--listen", f"0.0.0.0:{port}"])
        k = Client("own CLI", [everynode], os.path.join(p.data("server"), "admin.kubeconfig"))
        until("the server is ready", lambda: os.path.exists(k.kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
        token = run([everynode, "token", "create", "--data-dir", p.data("server")]).stdout.strip()
        run([everynode, "image", "load", archive, "--data-dir", p.data("agent")])
        join = ["--server", f"https://127.0.0.1:{port}", "--token", token]
        p.start("agent", [everynode, "agent", "--data-dir", p.data("agent"), "--node-name", EMBEDDED, *join])
        if beside:
            c.prepare()
            c.start()
            for path in (archive, pause):
                c.ctr("images", "import", path)
            p.start("other", [everynode, "agent", "--data-dir", p.data("other"), "--node-name", CONTAINED, *join,
                              "--container-runtime-endpoint", f"unix://{c.socket}"])
        nodes = [EMBEDDED] + ([CONTAINED] if beside else [])
        ready = lambda n: k.out("get", "node", n, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}") == "True"
        until("the nodes are ready", lambda: all(map(ready, nodes)))
        api, agent = Api(k.kubeconfig, folder), p.running["agent"].pid

        starts = {n: [] for n in nodes}
        alone = []
        for n in range(told.starts + 1):
            for node in nodes:
                took = api.start_ms(f"start-{n}", node)
                api.delete(f"start-{n}")
                if n:  # the first one of each warms caches
                    starts[node].append(took)
            if beside:
                began = time.perf_counter()
                made = c.ctr("run", "-d", IMAGE, f"alone-{n}")
                took = (time.perf_counter() - began) * 1000
                holds("ctr run", made.returncode == 0, made.stderr)
                c.ctr("tasks", "kill", "-s", "SIGKILL", f"alone-{n}")
                until("it ends", lambda: "RUNNING" not in c.ctr("tasks", "ls").stdout)
                c.ctr("tasks", "rm", f"alone-{n}")
                c.ctr("containers", "rm", f"alone-{n}")
                if n:
                    alone.append(took)
        rows.append(("pod, bound to Ready, image present, ms", spread(starts[EMBEDDED]), spread(starts.get(CONTAINED, [])),
                     ratio(starts[EMBEDDED], starts.get(CONTAINED))))
        rows.append(("the same container by `ctr run` alone, ms", "", spread(alone), ratio(starts[EMBEDDED], alone)))

        time.sleep(told.settle)
        began = cpu_seconds(agent)
        rows.append(("agent without pods: resident, of its own, MiB", at_rest(agent, told.rest), "", ""))
        rows.append(("agent without pods: processor, % of a core", f"{(cpu_seconds(agent) - began) / told.rest * 100:.2f}", "", ""))

        api.plain = api.connect()  # the one before was idle for too long
        for n in range(told.pods):
            for node in nodes:
                api("POST", "/api/v1/namespaces/default/pods", pod(f"rest-{n}-{node}", node))
        def all_ready():
            items = api("GET", "/api/v1/namespaces/default/pods")["items"]
            return len(items) == told.pods * len(nodes) and all(
                any(x["type"] == "Ready" and x["status"] == "True" for x in i["status"].get("conditions", [])) for i in items)
        until("all pods are ready", all_ready, every=1)
        time.sleep(told.settle)
        own = [pid for pid in children_named(everynode, p.data("agent")) if pid != agent]
        theirs = [pid for pid, line in host.processes().items() if line.split(" ")[0].endswith("containerd-shim-runc-v2") and c.socket in line]
        groups = {"agent": [agent], "shims": own, "containerd": [c.process.pid] if beside else [], "its shims": theirs}
        before = {name: sum(map(cpu_seconds, pids)) for name, pids in groups.items()}
        other_before = cpu_seconds(p.running["other"].pid) if beside else 0
        full = at_rest(agent, told.rest)
        used = {name: (sum(map(cpu_seconds, pids)) - before[name]) / told.rest * 100 for name, pids in groups.items()}
        mean = lambda pids, which: statistics.mean(memory_mib(pid)[which] for pid in pids) if pids else float("nan")
        with_pods = f"with {told.pods} pods"
        daemon = memory_mib(c.process.pid) if beside else (float("nan"),) * 2
        rows.append((f"agent {with_pods}: resident, of its own, MiB", full, f"containerd itself: {daemon[0]:.1f}, {daemon[1]:.1f}", ""))
        rows.append((f"a shim: resident, of its own, MiB ({len(own)} and {len(theirs)})", f"{mean(own, 0):.1f}, {mean(own, 1):.1f}",
                     f"{mean(theirs, 0):.1f}, {mean(theirs, 1):.1f}", f"{mean(own, 1) / mean(theirs, 1):.2f}" if theirs else "-"))
        rows.append((f"{with_pods} at rest: processor of agent, of all shims, % of a core", f"{used['agent']:.2f}, {used['shims']:.2f}",
                     f"{used['containerd']:.2f}, {used['its shims']:.2f}" if beside else "-", ""))
        if beside:
            rows.append((f"{with_pods} on containerd: processor of our agent, % of a core", "", f"{(cpu_seconds(p.running['other'].pid) - other_before) / told.rest * 100:.2f}", ""))
        print("| what | everynode | containerd and runc | ratio |\n|---|---|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
    finally:
        try:
            k("delete", "pods", "--all", "--grace-period=0", "--force", check=False)
            until("no pods", lambda: not k.json("get", "pods")["items"], seconds=60)
        except Exception as e:
            print(f"not cleared: {e}", file=sys.stderr)
        p.close()
        c.close()
        shutil.rmtree(folder, ignore_errors=True)


def children_named(everynode, data_dir):
    """The agent and its shims: processes of this binary that work below the node's run directory."""
    instance = hashlib.sha256(data_dir.encode()).hexdigest()[:8]
    found = []
    for pid, line in host.processes().items():
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if exe.startswith(os.path.realpath(everynode)) and instance in line:
            found.append(pid)
    return found


if __name__ == "__main__":
    main()
