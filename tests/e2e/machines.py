"""Three machines and their server, each with a network of its own: what a cut, a long or lossy line and a router that translates
addresses do to nodes and daemons."""
import os

from chapter import ready_on
from fleet import Fleet, containers
from harness import equal, holds, run, until

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: far}
spec:
  selector: {matchLabels: {app: far}}
  updateStrategy: {rollingUpdate: {maxUnavailable: 3}}
  template:
    metadata: {labels: {app: far}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: "fluent/fluentd:v1.16", env: [{name: VERSION, value: one}]}
"""
MACHINES = Fleet.MACHINES


def by_node(pods):
    return {p["spec"]["nodeName"]: p["metadata"]["name"] for p in pods}


def answers(k, pod):
    """Logs and a command, by the tunnel of its node."""
    holds(f"logs of {pod}", "tick" in k.out("logs", pod, "--tail=1"))
    equal(f"a command in {pod}", k.out("exec", pod, "--", "echo", "here"), "here\n")
    return True


def join(f, seen):
    k = seen["k"] = f.begin()
    k.out("apply", "-f", "-", stdin=DAEMON)
    pods = ready_on(k, "app=far", MACHINES)
    seen["pods"], seen["before"] = by_node(pods), containers(pods)
    holds("each pod has a process", all(seen["before"].values()), seen["before"])
    addresses = {n["metadata"]["name"]: n["status"]["addresses"][0]["address"] for n in k.json("get", "nodes")["items"]}
    equal("addresses", addresses, {"m-1": "10.77.0.11", "m-2": "10.77.0.12", "m-3": "192.168.77.2"})
    for pod in seen["pods"].values():
        until(f"{pod} answers", lambda: answers(k, pod))
    # Nobody reaches the machine behind the router, and its daemon answers all the same.
    refused = run([*f.inside("server"), "ping", "-c1", "-W1", "192.168.77.2"], check=False)
    holds("a way to the machine behind the router", refused.returncode != 0, refused.stdout)


def runs_on(f, seen, when):
    pods = seen["k"].json("get", "pods", "-l", "app=far")["items"]
    equal(f"the daemons {when}", containers(pods), seen["before"])
    equal(f"restarts {when}", [s["restartCount"] for p in pods for s in p["status"]["containerStatuses"]], [0, 0, 0])


def cut(f, seen):
    """Two of three machines lose the server: one knows, its link is down; the other one's frames just go nowhere. Its agent dies
    meanwhile and starts again without a server."""
    k = seen["k"]
    for machine in ("m-1", "m-2"):
        f.cut(machine)
    f.kill("m-2")
    f.start("m-2")
    for machine in ("m-1", "m-2"):
        until(f"{machine} counts as lost", lambda: f.ready(k, machine) == "Unknown")
        until(f"{machine} is tainted", lambda: "node.kubernetes.io/unreachable" in k.out("get", "node", machine, "-o", "jsonpath={.spec.taints[*].key}"))
    equal("the third one", f.ready(k, "m-3"), "True")
    until("the status says who is there", lambda: k.json("get", "ds", "far")["status"]["numberReady"] == 1)
    runs_on(f, seen, "while they are cut off")
    # The agent that started meanwhile says once that nobody answers, and not yet that somebody does.
    said = f.log("m-2").rsplit("the agent starts", 1)[1]
    holds("what the agent says", "can't be renewed" in said and "answers again" not in said, said)
    for machine in ("m-1", "m-2"):
        f.heal(machine)
    for machine in ("m-1", "m-2"):
        until(f"{machine} is back", lambda: f.ready(k, machine) == "True")
        until(f"{machine} has no taint", lambda: not k.json("get", "node", machine)["spec"].get("taints"))
    for pod in seen["pods"].values():
        until(f"{pod} answers again", lambda: answers(k, pod))
    until("the status", lambda: k.json("get", "ds", "far")["status"]["numberAvailable"] == 3)
    runs_on(f, seen, "after the cut")


def far_away(f, seen):
    """A fifth of a second each way, and one frame in ten lost: an update and a command go through, and nobody counts as lost."""
    k = seen["k"]
    f.cable.delay, f.cable.loss = 0.2, 0.1
    k.out("apply", "-f", "-", stdin=DAEMON.replace("value: one", "value: two"))
    k.out("rollout", "status", "daemonset/far", "--timeout=80s")
    pods = by_node(ready_on(k, "app=far", MACHINES))
    until("a command over the long line", lambda: k.out("exec", pods["m-2"], "--", "sh", "-c", "echo $VERSION") == "two\n")
    equal("nobody was lost", [f.ready(k, m) for m in MACHINES], ["True"] * 3)
    f.cable.delay, f.cable.loss = 0.0, 0.0


def server_moves(f, seen):
    """The server dies and is back: three tunnels, one of them through the router, are opened anew, and a deletion reaches all."""
    k = seen["k"]
    pods = k.json("get", "pods", "-l", "app=far")["items"]
    before = containers(pods)
    f.kill("server")
    f.start("server")
    until("the server is back", lambda: k.out("get", "--raw", "/readyz") == "ok")
    for pod in by_node(pods).values():
        until(f"{pod} answers", lambda: answers(k, pod))
    equal("the daemons", containers(k.json("get", "pods", "-l", "app=far")["items"]), before)
    k.out("delete", "daemonset", "far")
    until("no pods", lambda: not k.json("get", "pods", "-l", "app=far")["items"])


def play(report, everynode, folder, archives):
    folder = os.path.join(folder, "machines")
    os.makedirs(folder)
    f, seen, good = Fleet(everynode, folder, archives), {}, True
    try:
        for body in (join, cut, far_away, server_moves):
            name = f"machines: {body.__name__.replace('_', ' ')}"
            if body is far_away and not f.cable:
                report.skip(name, "there is no /dev/net/tun to carry frames by")
                continue
            good = report.case(name, body, f, seen)
            if not good:
                break
    finally:
        if not good:
            for name in ("server", *MACHINES):
                print(f"--- {name}: " + f.log(name)[-2500:], flush=True)
        f.close()
