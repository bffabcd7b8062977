"""The DaemonSet chapter as a user plays it: the same words to any client, on real containers, and a look at the machine."""
import glob, os, re, threading, time

import host
from harness import ROOT, Failed, equal, holds, until

NODES = ["node-1", "node-2", "node-3"]
FLUENTD = os.path.join(ROOT, "examples", "fluentd.yaml")
NGINX = os.path.join(ROOT, "examples", "nginx-fast-storage.yaml")


def pods(k, selector):
    return [p for p in k.json("get", "pods", "-l", selector)["items"] if "deletionTimestamp" not in p["metadata"]]


def ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def ready_on(k, selector, nodes):
    """The pods, once exactly one is Ready on each of these nodes and none is anywhere else."""
    def fact():
        found = k.json("get", "pods", "-l", selector)["items"]
        on = sorted(p["spec"].get("nodeName", "") for p in found)
        return found if on == sorted(nodes) and all(ready(p) for p in found) else None
    return until(f"one ready pod of {selector} on each of {nodes}", fact)


def seen_on_the_machine(pod, network_of_its_own=True):
    """A process in the right namespaces, a cgroup, a log file in CRI format, a link to it. Returns its first process."""
    meta, status = pod["metadata"], pod["status"]["containerStatuses"][0]
    found = host.in_pod(meta["uid"])
    holds(f"{meta['name']} has no process", found)
    pid = found[0]
    # With the node's network a pod has the node's host name too, as in Kubernetes.
    for kind in ("pid", "mnt", "ipc") + (("uts",) if network_of_its_own else ()):
        holds(f"{meta['name']}: process {pid} is in the machine's own {kind} namespace", host.namespace(pid, kind) != host.namespace("self", kind))
    holds(f"{meta['name']}: process {pid} is in the machine's own network", host.namespace(pid, "net") != host.namespace("self", "net"))
    if network_of_its_own:
        equal(f"{meta['name']}: has an address", bool(pod["status"].get("podIP")), True)
    log = f"/var/log/pods/{meta['namespace']}_{meta['name']}_{meta['uid']}/{status['name']}/{status['restartCount']}.log"
    with open(log) as f:
        line = f.readline()
    holds(f"{log}: not in CRI format", re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) (stdout|stderr) [FP] ", line), repr(line))
    links = [l for l in glob.glob(f"/var/log/containers/{meta['name']}_*") if os.path.realpath(l) == os.path.realpath(log)]
    holds(f"no link to {log} in /var/log/containers", links)
    return pid


def gone_from_the_machine(uids):
    def fact():
        left = [(uid, host.in_pod(uid), host.cgroup_dirs(f"everynode-*/*/pod{uid}"), host.mounts(uid), glob.glob(f"/var/log/pods/*_{uid}"))
                for uid in uids]
        left = [l for l in left if any(l[1:])]
        if left:
            raise Failed(f"still there: {left}")
        return True
    until("nothing of the pods is left on the machine", fact)


def apply_text(k, text):
    return k.out("apply", "-f", "-", stdin=text)


class Availability(threading.Thread):
    """Watches how many pods of a DaemonSet are available while it rolls out."""

    def __init__(self, k, name):
        super().__init__(daemon=True)
        self.k, self.name, self.least, self.done = k, name, 10**9, threading.Event()

    def run(self):
        while not self.done.is_set():
            try:
                found = [p for p in self.k.json("get", "pods", "-l", f"app={self.name}")["items"]
                         if ready(p) and "deletionTimestamp" not in p["metadata"]]
                self.least = min(self.least, len(found))
            except Failed:
                pass
            time.sleep(0.1)


def apply_and_look(k):
    equal("apply", k.out("apply", "-f", FLUENTD), "daemonset.apps/fluentd created\n")
    equal("apply again", k.out("apply", "-f", FLUENTD), "daemonset.apps/fluentd unchanged\n")
    found = ready_on(k, "app=fluentd", NODES)
    pids = [seen_on_the_machine(p) for p in found]
    equal("each node has a network of its own", len({host.namespace(p, "net") for p in pids}), 3)
    until("all available", lambda: k.json("get", "ds", "fluentd")["status"].get("numberAvailable") == 3)
    text = k.out("describe", "daemonset", "fluentd")
    for want in ("Desired Number of Nodes Scheduled: 3", "Number of Nodes Scheduled with Available Pods: 3", "3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
                 "SuccessfulCreate", "daemonset-controller", "fluent/fluentd:v1.16"):
        holds(f"describe does not say {want!r}", want in text, text)
    lines = k.out("get", "pods", "-l", "app=fluentd", "-o", "wide").splitlines()
    equal("columns", lines[0].split(), "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES".split())
    equal("rows", sorted(l.split()[6] for l in lines[1:]), NODES)
    row = k.out("get", "daemonsets").splitlines()[1].split()
    equal("daemonset row", row[:6], ["fluentd", "3", "3", "3", "3", "3"])


def choose_nodes_by_label(k):
    equal("label", k.out("label", "nodes", "node-1", "ssd=true"), "node/node-1 labeled\n")
    rows = k.out("get", "nodes", "--selector", "ssd=true").splitlines()
    equal("nodes with ssd=true", [r.split()[:2] for r in rows[1:]], [["node-1", "Ready"]])
    equal("apply", k.out("apply", "-f", NGINX), "daemonset.apps/nginx-fast-storage created\n")
    first = ready_on(k, "app=nginx", ["node-1"])
    k("label", "nodes", "node-2", "ssd=true")
    ready_on(k, "app=nginx", ["node-1", "node-2"])
    k("label", "nodes", "node-1", "ssd-")
    ready_on(k, "app=nginx", ["node-2"])
    gone_from_the_machine([first[0]["metadata"]["uid"]])
    equal("delete", k.out("delete", "-f", NGINX).split()[:2], ["daemonset.apps", '"nginx-fast-storage"'])
    until("no nginx", lambda: not k.json("get", "pods", "-l", "app=nginx")["items"])
    k("label", "nodes", "node-2", "ssd-")


def roll_out(k):
    before = {p["spec"]["nodeName"]: p["metadata"]["uid"] for p in pods(k, "app=fluentd")}
    watcher = Availability(k, "fluentd")
    watcher.start()
    with open(FLUENTD) as f:
        text = f.read().replace("v1.16", "v1.17")
    equal("apply a new image", apply_text(k, text), "daemonset.apps/fluentd configured\n")
    status = k.out("rollout", "status", "daemonsets", "fluentd")
    watcher.done.set()
    watcher.join()
    holds("rollout status does not say that it is done", 'daemon set "fluentd" successfully rolled out' in status, status)
    after = ready_on(k, "app=fluentd", NODES)
    equal("images", {p["spec"]["containers"][0]["image"] for p in after}, {"fluent/fluentd:v1.17"})
    holds("every node has a new pod", all(before[p["spec"]["nodeName"]] != p["metadata"]["uid"] for p in after))
    holds("never more than one pod missing (maxUnavailable: 1)", watcher.least >= 2, watcher.least)
    revisions = [l.split()[0] for l in k.out("rollout", "history", "daemonset", "fluentd").splitlines()[2:] if l.strip()]
    equal("history", revisions, ["1", "2"])
    k("rollout", "undo", "daemonset/fluentd")
    k("rollout", "status", "ds/fluentd")
    equal("undone", {p["spec"]["containers"][0]["image"] for p in ready_on(k, "app=fluentd", NODES)}, {"fluent/fluentd:v1.16"})


def read_logs(k):
    for pod in ready_on(k, "app=fluentd", NODES):
        name = pod["metadata"]["name"]
        text = until(f"log of {name}", lambda: "tick 2" in k.out("logs", name) and k.out("logs", name))
        equal("first line", text.splitlines()[0], f"fluentd v1.16 started on {name}")
        equal("last line alone", len(k.out("logs", name, "--tail=1").splitlines()), 1)


def delete(k):
    uids = [p["metadata"]["uid"] for p in pods(k, "app=fluentd")]
    equal("three pods", len(uids), 3)
    equal("delete", k.out("delete", "-f", FLUENTD).split()[:2], ["daemonset.apps", '"fluentd"'])
    until("no pods", lambda: not k.json("get", "pods", "-l", "app=fluentd")["items"])
    gone_from_the_machine(uids)
    p = k("get", "daemonset", "fluentd", check=False)
    equal("get what is deleted", (p.returncode, p.stderr), (1, 'Error from server (NotFound): daemonsets.apps "fluentd" not found\n'))


def play(report, k):
    for step in (apply_and_look, choose_nodes_by_label, roll_out, read_logs, delete):
        if not report.case(f"{k.name}: {step.__name__.replace('_', ' ')}", step, k):
            for what in (["describe", "pods"], ["get", "events"], ["get", "nodes", "-o", "wide"]):
                print(k(*what, check=False).stdout[-4000:])
            k("delete", "daemonsets", "--all", check=False)
            return
