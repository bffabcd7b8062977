"""Our controllers beside an API server that has none: the DaemonSet controller alone with the rights that Kubernetes gives its
own, the rest in another process, and a shadow that agrees with both until somebody meddles."""
import json, os, shutil, signal, subprocess

from harness import Client, equal, holds, run, until

NODES = 5
RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: attached}
rules:
- {apiGroups: [apps], resources: [daemonsets], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [daemonsets/status, daemonsets/finalizers], verbs: [update]}
- {apiGroups: [apps], resources: [controllerrevisions], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [""], resources: [nodes], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [events], verbs: [create, patch, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: attached}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: attached}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: attached}]
"""
DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  updateStrategy: {rollingUpdate: {maxUnavailable: 2}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: "x:%d"}]}
"""


class Parts:
    """Everything that runs here, and its end."""

    def __init__(self, everynode, folder):
        self.everynode, self.folder, self.running = everynode, folder, {}

    def start(self, name, *words):
        out, log = (open(os.path.join(self.folder, f"{name}.{end}"), "w") for end in ("out", "log"))
        self.running[name] = subprocess.Popen([self.everynode, *words], stdout=out, stderr=log, start_new_session=True)

    def said(self, name, end="log"):
        with open(os.path.join(self.folder, f"{name}.{end}")) as f:
            return f.read()

    def stop(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        equal(f"{name} ends", process.wait(30), 0)

    def close(self):
        for process in self.running.values():
            process.kill()


def play(report, everynode, folder, port):
    report.case("controllers attach, and a shadow looks on", body, everynode, os.path.join(folder, "attach"), port)


def differences(p):
    return [json.loads(line) for line in p.said("shadow", "out").splitlines()]


def rolled_out(k, generation):
    status = k.json("get", "daemonset", "d")["status"]
    return (status.get("observedGeneration"), status.get("updatedNumberScheduled"), status.get("numberAvailable")) == (generation, NODES, NODES)


def body(everynode, folder, port):
    os.makedirs(folder)
    p = Parts(everynode, folder)
    try:
        steps(p, everynode, folder, port)
    finally:
        p.close()


def steps(p, everynode, folder, port):
    data, kubeconfig = os.path.join(folder, "data"), os.path.join(folder, "data", "admin.kubeconfig")
    p.start("server", "server", "--no-controllers", "--data-dir", data, "--listen", f"0.0.0.0:{port}")
    k = Client("attach", [everynode], kubeconfig)
    until("the server is ready", lambda: os.path.exists(kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
    k("apply", "-f", "-", stdin=RIGHTS)
    limited = os.path.join(folder, "attached.kubeconfig")
    with open(kubeconfig) as source, open(limited, "w") as copy:
        copy.write(source.read().replace("\n  user:\n", "\n  user:\n    as: attached\n"))
    unknown = run([everynode, "controller", "--kubeconfig", limited, "--controllers", "daemonset,job"], check=False)
    holds("an unknown name is answered by the known ones", unknown.returncode != 0 and "daemonset, rolloutpolicy" in unknown.stderr, unknown.stderr)

    p.start("hollow", "hollow", "--kubeconfig", kubeconfig, "--nodes", str(NODES))
    p.start("rest", "controller", "--kubeconfig", kubeconfig, "--controllers", "*,-daemonset", "--leader-elect=false")
    p.start("daemonset", "controller", "--kubeconfig", limited, "--controllers", "daemonset", "--leader-elect=false")
    p.start("shadow", "controller", "--kubeconfig", kubeconfig, "--shadow", "--patience", "3s", "-o", "json")
    until("nodes join", lambda: len(k.json("get", "nodes")["items"]) == NODES)
    k("apply", "-f", "-", stdin=DAEMON % 1)
    until("rolled out", lambda: rolled_out(k, 1))
    k("apply", "-f", "-", stdin=DAEMON % 2)
    until("rolled out again", lambda: rolled_out(k, 2))
    log = p.said("daemonset")
    line = "missing right: list rolloutpolicies.everynode.dev: grant it to attached; trying again until it is there"
    holds("a missing right is told of once", log.count(line) == 1, log)
    equal("the shadow agrees", differences(p), [])

    steady = lambda: [p["metadata"] for p in k.json("get", "pods", "-l", "app=d")["items"]]
    until("the old pods are gone", lambda: len(steady()) == NODES and not any("deletionTimestamp" in p for p in steady()))
    pod = steady()[0]["name"]
    k("delete", "pod", pod)
    found = until("the shadow tells of the pod", lambda: differences(p))
    equal("what it tells", [(d["difference"], d["daemonSet"], d.get("pod")) for d in found], [("Deleted", "d", pod)])
    p.stop("shadow")
    said = p.said("shadow")
    holds("it says how much it compared", f"made={2 * NODES + 1}" in said and f"ended={NODES}" in said and "differences=1" in said, said)
    for name in ("daemonset", "rest", "hollow", "server"):
        p.stop(name)
    shutil.rmtree(data)
