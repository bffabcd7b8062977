#!/usr/bin/env python3
"""Kills and cuts without end, by a seed, on three machines with twenty pods that nobody asks to stop and a DaemonSet that is
updated all the while. No daemon may notice, and at the end the API must say what is.

usage: faultrun.py [--faults 200] [--seconds 600] [--seed N]      EVERYNODE_BINARY=FILE takes another build"""
import argparse, heapq, os, random, shutil, signal, tempfile, time

import host
from fleet import Fleet, container_of, containers
from harness import Failed, Report, equal, holds, until

MACHINES = Fleet.MACHINES
# Six daemons a machine of the shapes that a restart could hurt, and two pods that no controller would make again.
PODS = 20
DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  updateStrategy: {{rollingUpdate: {{maxUnavailable: 3}}}}
  template:
    metadata: {{labels: {{app: {name}, kept: "{kept}"}}}}
    spec:
      terminationGracePeriodSeconds: 1
      {pod}
      containers:
      - name: c
        image: fluent/fluentd:v1.16
        env: [{{name: VERSION, value: "{version}"}}]
        {container}
---"""
SHAPES = {
    "plain": ("", ""),
    "host": ("hostNetwork: true", ""),
    "live": ("", "livenessProbe: {exec: {command: [cat, /start]}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3}"),
    "web": ("", 'command: [sh, -c, "mkdir /www; echo up > /www/index.html; httpd -f -p 80 -h /www"]\n'
            "        livenessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3}\n"
            "        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}"),
    "files": ("volumes: [{name: conf, configMap: {name: conf}}, {name: own, emptyDir: {}}]",
              "volumeMounts: [{name: conf, mountPath: /conf}, {name: own, mountPath: /own}]"),
    "begun": ("initContainers: [{name: i, image: \"fluent/fluentd:v1.16\", command: [\"true\"]}]", "resources: {limits: {memory: 64Mi}}"),
}
LONE = """
apiVersion: v1
kind: Pod
metadata: {{name: lone-{n}, labels: {{app: lone, kept: "yes"}}}}
spec:
  nodeName: m-{n}
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, image: "fluent/fluentd:v1.16"}}]
---"""
CONF = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {mode: tail}\n---"


def daemon(name, version="0", kept="yes"):
    pod, container = SHAPES.get(name, ("", ""))
    return DAEMON.format(name=name, version=version, kept=kept, pod=pod, container=container)


def plan(seed, faults, seconds):
    """[(when, kind, where, how long)]: no process and no line is hit again before it is back."""
    chance, made, free = random.Random(seed), [], {}
    for n in range(faults):
        at = seconds * (n + chance.random()) / faults
        kind = chance.choice(["kill"] * 4 + ["server"] * 2 + ["upgrade"] * 2 + ["cut"] * 3 + ["freeze", "update"])
        where = "server" if kind in ("server", "update") else chance.choice(MACHINES)
        # Mostly short, now and then long enough that the node counts as lost.
        lasts = min(chance.choice([0.0, 0.5, 2.0, 4.0, 25.0 if kind == "cut" else 6.0]), seconds / 10)
        if kind != "update":
            place = (kind == "cut", where)
            at = max(at, free.get(place, 0.0))
            free[place] = at + lasts + 0.1
        made.append((at, kind, where, lasts))
    return sorted(made)


class Run:
    def __init__(self, f, k):
        self.f, self.k, self.version, self.upgrades, self.begun = f, k, 0, 0, []
        self.acknowledged = 0

    def do(self, kind, where):
        f = self.f
        self.begun.append(f"{kind} {where}")
        if kind in ("kill", "server"):
            f.kill(where)
        elif kind == "upgrade":
            # As a package does it: the new file takes the old one's name while that runs.
            self.upgrades += 1
            path = os.path.join(f.folder, f"everynode-{where}")
            shutil.copy2(f.everynode["server"], path + ".new")
            os.rename(path + ".new", path)
            f.everynode[where] = path
            f.kill(where, signal.SIGTERM)
        elif kind == "cut":
            f.cut(where)
        elif kind == "freeze":
            f.running[where].send_signal(signal.SIGSTOP)
        elif kind == "update":
            self.version += 1
            if self.k("apply", "-f", "-", stdin=daemon("moves", self.version, "no"), check=False).returncode == 0:
                self.acknowledged = self.version

    def undo(self, kind, where):
        f = self.f
        if kind in ("kill", "server", "upgrade"):
            f.start(where)
        elif kind == "cut":
            f.heal(where)
        elif kind == "freeze":
            f.running[where].send_signal(signal.SIGCONT)


def same(before):
    """The daemons that no longer are what they were."""
    def holds_on(pid, ticks):
        try:
            return host.start_ticks(pid) == ticks
        except OSError:
            return False
    return [pod for pod, (pid, ticks) in before.items() if not holds_on(pid, ticks)]


def play_plan(run_, steps, before):
    todo, began, order = [(at, n, "do", step) for n, (at, *step) in enumerate(steps)], time.time(), len(steps)
    hit = set()
    heapq.heapify(todo)
    while todo:
        at, _, what, (kind, where, lasts) = heapq.heappop(todo)
        while (rest := began + at - time.time()) > 0:
            time.sleep(min(rest, 1.0))
            changed = same(before)
            holds(f"daemons were stopped after {run_.begun[-6:]}", not changed, changed)
        place = (kind == "cut", where)
        if what == "do" and place in hit:  # we are late: what was hit is not back yet
            heapq.heappush(todo, (time.time() - began + 0.2, order := order + 1, "do", (kind, where, lasts)))
        elif what == "do":
            run_.do(kind, where)
            if kind != "update":
                order += 1
                heapq.heappush(todo, (max(at + lasts, time.time() - began), order, "undo", (kind, where, lasts)))
                hit.add(place)
        else:
            run_.undo(kind, where)
            hit.discard(place)


def kept(k):
    return k.json("get", "pods", "-l", "kept=yes")["items"]


def ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def truth(f, k, before, uids, version):
    """What the API says at the end, and what runs."""
    until("all machines are ready", lambda: all(f.ready(k, m) == "True" for m in MACHINES))
    until("no node is tainted", lambda: not any(n["spec"].get("taints") for n in k.json("get", "nodes")["items"]))
    pods = until("all pods are ready", lambda: [p for p in kept(k) if ready(p)] if all(ready(p) for p in kept(k)) else None)
    equal("the pods", {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods}, uids)
    equal("their processes", containers(pods), before)
    equal("restarts", [p["metadata"]["name"] for p in pods for s in p["status"]["containerStatuses"] if s["restartCount"]], [])
    def counts():
        for ds in k.json("get", "daemonsets")["items"]:
            s = ds["status"]
            got = (s["observedGeneration"], s["desiredNumberScheduled"], s["numberReady"], s["numberAvailable"], s["updatedNumberScheduled"])
            equal(f"status of {ds['metadata']['name']}", got, (ds["metadata"]["generation"], 3, 3, 3, 3))
        return True
    until("the status of all daemon sets is true", counts)
    moved = [p for p in k.json("get", "pods", "-l", "app=moves")["items"]]
    equal("the one that is updated", {p["spec"]["containers"][0]["env"][0]["value"] for p in moved}, {str(version)})
    # Nothing runs that the API does not know of, and nothing twice.
    known = {p["metadata"]["uid"] for p in pods + moved}
    def strays():
        found = {}
        for pid in host.processes():
            try:
                group = host.cgroups_of(pid)
            except OSError:
                continue
            if any(f.group(m) in group for m in MACHINES) and container_of(pid):
                uid = group.split("/pod", 1)[1].split("/", 1)[0].split("\n", 1)[0]
                found.setdefault(uid, []).append(pid)
        equal("pods with processes", set(found), known)
        equal("pods with several", {u: p for u, p in found.items() if len(p) > 1}, {})
        return True
    until("only what the API knows of runs, once", strays)
    for pod in [p["metadata"]["name"] for p in pods]:
        until(f"a command in {pod}", lambda: k.out("exec", pod, "--", "echo", "here") == "here\n")


def body(f, faults, seconds, seed):
    k = f.begin()
    k.out("apply", "-f", "-", stdin=CONF + "".join(map(daemon, SHAPES)) + LONE.format(n=1) + LONE.format(n=2) + daemon("moves", 0, "no"))
    until("twenty pods are ready", lambda: len(kept(k)) == PODS and all(ready(p) for p in kept(k)))
    pods = kept(k)
    before, uids = containers(pods), {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods}
    holds("each has a process", all(before.values()), before)
    run_, began = Run(f, k), time.time()
    try:
        play_plan(run_, plan(seed, faults, seconds), before)
        # The last word that was acknowledged is what must be; one that was not may be there too.
        version = until("the server answers", lambda: k.json("get", "ds", "moves")["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
        holds("an acknowledged write is lost", int(version) >= run_.acknowledged, version, run_.acknowledged)
        healed = time.time()
        truth(f, k, before, uids, version)
    except Exception as e:
        raise Failed(f"seed {seed}, after {len(run_.begun)} faults ({', '.join(run_.begun[-8:])}): {e}")
    kinds = {kind: sum(b.startswith(kind + " ") for b in run_.begun) for kind in ("kill", "server", "upgrade", "cut", "freeze", "update")}
    print(f"     seed {seed}: {len(run_.begun)} faults in {healed - began:.0f} s ({kinds}); {PODS} pods as before; "
          f"the API true {time.time() - healed:.1f} s after the last", flush=True)


def play(report, everynode, folder, archives, faults=15, seconds=25, seed=None):
    seed = seed if seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = os.path.join(folder, "faultrun")
    os.makedirs(folder)
    f = Fleet(everynode, folder, archives)
    try:
        if not report.case("fault run", body, f, faults, seconds, seed):
            for name in ("server", *MACHINES):
                print(f"--- {name}: " + f.log(name)[-2500:], flush=True)
    finally:
        f.close()


def main():
    import images
    from run import binary
    words = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default in (("--faults", 200), ("--seconds", 600), ("--seed", None)):
        words.add_argument(name, type=int, default=default)
    told = words.parse_args()
    folder, report = tempfile.mkdtemp(prefix="everynode-e2e-"), Report()
    made = images.make(folder)
    play(report, binary(), folder, [made["fluent/fluentd:v1.16"]], told.faults, told.seconds, told.seed)
    if report.failed:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
