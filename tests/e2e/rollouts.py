"""Rollouts under a RolloutPolicy, on real containers: sick nodes, bad revisions, pause and freeze, canary, windows, images pulled ahead, live status.
The policies are those of examples/."""
import datetime, json, os, subprocess, time

from chapter import NODES, apply_text, pods, ready_on
from harness import ROOT, equal, holds, until

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: roll}
spec:
  selector: {matchLabels: {app: roll}}
  template:
    metadata: {labels: {app: roll}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: %s
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {exec: {command: [sh, -c, 'test ! -e "/sick/$NODE"']}, periodSeconds: 1}
        volumeMounts: [{name: sick, mountPath: /sick}]
      volumes: [{name: sick, hostPath: {path: %s, type: DirectoryOrCreate}}]
"""
OLD, NEW, BAD = "nginx:1.27", "nginx:1.10.0", "nginx:not-there"


def example(name):
    """A policy of examples/, for the DaemonSet of this story and with no time to lose."""
    with open(os.path.join(ROOT, "examples", name)) as f:
        return f.read().replace("tail-logs", "roll").replace("bakeSeconds: 600", "bakeSeconds: 1").replace("maxUnreadySeconds: 120", "maxUnreadySeconds: 4")


class Story:
    def __init__(self, own, folder):
        self.own, self.sick = own, os.path.join(folder, "sick")

    def set_image(self, image):
        apply_text(self.own, DAEMON % (image, self.sick))

    def images(self):
        return {p["spec"].get("nodeName"): p["spec"]["containers"][0]["image"] for p in pods(self.own, "app=roll")}

    def memory(self):
        policies = self.own.json("get", "rolloutpolicies")["items"]
        return policies[0]["status"]["daemonSets"][0]

    def until(self, phase, image=None):
        """The memory of the rollout of the newest spec, once it is in this phase."""
        def fact():
            meta = self.own.json("get", "ds", "roll")
            seen = meta["status"]["observedGeneration"] == meta["metadata"]["generation"]
            memory = self.memory()
            return memory if seen and memory["phase"] == phase else None
        return until(f"phase {phase}", fact)

    def condition(self, kind):
        found = [c for c in self.own.json("get", "ds", "roll")["status"].get("conditions", []) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else None

    def everywhere(self, image):
        until(f"{image} everywhere", lambda: self.images() == {node: image for node in NODES})


def sick_nodes_hold_nothing_up(s):
    os.makedirs(s.sick, exist_ok=True)
    s.set_image(OLD)
    ready_on(s.own, "app=roll", NODES)
    equal("a plain DaemonSet has no conditions", "conditions" in s.own.json("get", "ds", "roll")["status"], False)
    apply_text(s.own, example("rollout-policy.yaml"))
    s.until("Complete")
    until("conditions", lambda: s.condition("Progressing") == ("True", "Complete"))
    open(os.path.join(s.sick, "node-2"), "w").close()
    until("node-2 is sick", lambda: s.own.json("get", "ds", "roll")["status"].get("numberUnavailable") == 1)
    s.set_image(NEW)
    s.everywhere(NEW)
    equal("the sick node is excused", [n["node"] for n in s.until("Complete")["excusedNodes"]], ["node-2"])
    os.remove(os.path.join(s.sick, "node-2"))
    ready_on(s.own, "app=roll", NODES)


def a_bad_image_goes_back_by_itself(s):
    s.set_image(BAD)
    p = s.own("rollout", "status", "ds/roll", "-o", "json", "--timeout=80s", check=False)
    last = json.loads(p.stdout.splitlines()[-1])
    equal("how it ends", (p.returncode, last["outcome"]), (1, "Failed"))
    until("back", lambda: s.condition("Degraded") == ("True", "RolledBack"))
    s.everywhere(NEW)
    events = s.own.out("get", "events")
    holds("it is told", "RolloutFailed" in events and "RolloutRolledBack" in events, events)


def pause_and_freeze(s, hollow):
    equal("pause", s.own.out("rollout", "pause", "ds/roll"), "daemonset.apps/roll paused\n")
    p = s.own("rollout", "pause", "ds/roll", check=False)
    equal("twice", (p.returncode, p.stderr), (1, 'error: daemonsets.apps "roll" is already paused\n'))
    s.set_image(OLD)
    s.until("Paused")
    with hollow("--first", "7") as node:
        until("a new node gets the last good revision", lambda: s.images().get(node) == NEW)
        equal("freeze", s.own.out("rollout", "freeze", "ds/roll"), "daemonset.apps/roll frozen\n")
        s.until("Frozen")
        gone = [p["metadata"]["name"] for p in pods(s.own, "app=roll") if p["spec"]["nodeName"] == "node-1"]
        s.own("delete", "pod", *gone)
        p = s.own("rollout", "status", "ds/roll", "-o", "json", check=False)
        equal("status does not wait for what needs a person", json.loads(p.stdout.splitlines()[-1])["outcome"], "Waiting")
        equal("nothing is made while frozen", "node-1" in s.images(), False)
    s.own("rollout", "unfreeze", "ds/roll")
    until("the last good revision comes back", lambda: s.images() == {node: NEW for node in NODES})
    equal("resume", s.own.out("rollout", "resume", "ds/roll"), "daemonset.apps/roll resumed\n")
    p = s.own("rollout", "status", "ds/roll", "-o", "json", "--timeout=60s")
    equal("how it ends", json.loads(p.stdout.splitlines()[-1])["outcome"], "Complete")
    s.everywhere(OLD)


def canary_and_waves(s):
    s.own("delete", "rolloutpolicies", "--all")
    apply_text(s.own, example("rollout-policy-canary.yaml"))
    s.until("Complete")
    p = s.own("rollout", "promote", "ds/roll", check=False)
    equal("nothing to promote", (p.returncode, p.stderr), (1, 'error: daemonsets.apps "roll" has no wave to promote: its rollout is complete\n'))
    wanted = s.own.out("get", "ds", "roll", "-o", "yaml").replace(OLD, NEW)
    foreseen = s.own("plan", "-f", "-", stdin=wanted, check=False).stdout
    s.set_image(NEW)
    equal("the canary", s.until("WaitingForPromotion")["wave"], "canary")
    equal("one node", sorted(s.images().values()), [NEW, OLD, OLD])
    first = [node for node, image in s.images().items() if image == NEW]
    holds("the plan named it", f"1. canary: {first[0]}; " in foreseen and "; then you promote it\n    2. rest: " in foreseen, foreseen)
    text = s.own.out("why", "ds/roll")
    holds("why says what is waited for", "wave canary waits to be promoted" in text, text)
    equal("promote", s.own.out("rollout", "promote", "ds/roll"), "daemonset.apps/roll promoted\n")
    s.everywhere(NEW)
    s.until("Complete")


def windows(s):
    s.own("delete", "rolloutpolicies", "--all")
    with open(os.path.join(ROOT, "examples", "rollout-policy-window.yaml")) as f:
        text = f.read().replace("tail-logs", "roll")
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=6)
    closed = later.strftime("%H:%M")
    apply_text(s.own, text.replace('"22:00"', f'"{closed}"').replace("Europe/Berlin", "UTC").replace("days: [Mon, Tue, Wed, Thu]", "days: []"))
    s.until("Complete")
    s.set_image(OLD)
    holds("it waits", "window opens" in s.until("WaitingForWindow")["message"])
    equal("nothing is updated", set(s.images().values()), {NEW})
    never = '{"spec": {"windows": [{"schedule": "0 0 30 2 *", "durationSeconds": 60}]}}'
    name = s.own.json("get", "rolloutpolicies")["items"][0]["metadata"]["name"]
    p = s.own("patch", "rolloutpolicy", name, "--type=merge", "-p", never, check=False)
    holds("a window that never opens is refused", p.returncode == 1 and "never comes due" in p.stderr, p.stderr)
    s.own("patch", "rolloutpolicy", name, "--type=merge", "-p", never.replace("0 0 30 2 *", "* * * * *"))
    s.everywhere(OLD)


def without_policies(s):
    s.own("delete", "rolloutpolicies", "--all")
    until("conditions go with the policy", lambda: "conditions" not in s.own.json("get", "ds", "roll")["status"])
    s.set_image(NEW)
    p = s.own("rollout", "status", "ds/roll", "-o", "json", "--timeout=60s")
    equal("how it ends", json.loads(p.stdout.splitlines()[-1])["outcome"], "Complete")


def uids(s):
    return {p["spec"]["nodeName"]: p["metadata"]["uid"] for p in ready_on(s.own, "app=roll", NODES)}


def pulls(s):
    """What nodes say of the images that they are asked for: a reason and a message by node."""
    told = {}
    for pod in pods(s.own, "app=roll"):
        for c in pod["status"]["conditions"]:
            if c["type"] == "everynode.dev/PrePulled":
                told[pod["spec"]["nodeName"]] = (c["reason"], c["message"])
    return told


def the_old_daemon_runs_until_the_image_is_there(s, registry):
    apply_text(s.own, example("rollout-policy-pre-pull.yaml"))
    s.until("Complete")
    before, image = uids(s), f"127.0.0.1:{registry.port}/slow/nginx:1"
    s.set_image(image)
    until("two nodes pull", lambda: [t for t in pulls(s).values()] == [("Pulling", image)] * 2)
    time.sleep(5)
    equal("no daemon has ended", uids(s), before)
    text = s.own.out("why", "ds/roll")
    holds("why says what is waited for", "it stays until its node has pulled the new images" in text, text)
    registry.let.set()
    s.everywhere(image)
    s.until("Complete")


def an_image_that_is_not_there_takes_no_daemon_down(s, registry):
    before, good = uids(s), next(iter(s.images().values()))
    s.set_image(BAD)
    until("two nodes can't pull it", lambda: [t[0] for t in pulls(s).values()] == ["ErrImagePull"] * 2)
    time.sleep(5)
    equal("no daemon has ended", uids(s), before)
    text = s.own.out("why", "ds/roll")
    holds("why says what is wrong", "it stays until its node has pulled the new images: " in text and "not-there" in text, text)
    s.set_image(good)
    until("nobody pulls it any more", lambda: not pulls(s))
    equal("nothing was restarted for it", uids(s), before)
    s.until("Complete")
    s.own("delete", "rolloutpolicies", "--all")


def new_nodes_wait(s, hollow):
    apply_text(s.own, example("node-readiness.yaml"))
    name = s.own.json("get", "rolloutpolicies")["items"][0]["metadata"]["name"]
    wanted = lambda: [c["type"] for c in s.own.json("get", "rolloutpolicy", name)["status"]["conditions"]]
    until("the policy says since when", lambda: "NodesWait" in wanted())
    taints = lambda node: [t["key"] for t in s.own.json("get", "node", node)["spec"].get("taints", [])]
    with hollow("--first", "8", "--start-time", "6000") as node:
        until("a new node waits", lambda: "everynode.dev/daemons-not-ready" in taints(node))
        until("its daemon starts all the same", lambda: node in s.images())
        until("it is let go", lambda: "everynode.dev/daemons-not-ready" not in taints(node))
        holds("and that is noted", "everynode.dev/daemons-ready" in s.own.json("get", "node", node)["metadata"]["annotations"])
    holds("nodes that were there never wait", not any("everynode.dev/daemons-not-ready" in taints(node) for node in NODES))


class Hollow:
    """One more node, without containers, for as long as a block lasts."""

    def __init__(self, own, everynode, words):
        self.own, self.name = own, "hollow-" + words[words.index("--first") + 1]
        self.cmd = [everynode, "hollow", "--kubeconfig", own.kubeconfig, "--nodes", "1", *words]

    def __enter__(self):
        self.process = subprocess.Popen(self.cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(f"{self.name} joins", lambda: self.own("get", "node", self.name, check=False).returncode == 0)
        return self.name

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.own("delete", "node", self.name, check=False)
        self.own("delete", "pods", "-l", "app=roll", "--field-selector", f"spec.nodeName={self.name}", "--force", "--grace-period=0", check=False)


def play(report, own, everynode, folder, held):
    s = Story(own, folder)
    hollow = lambda *words: Hollow(own, everynode, list(words))
    try:
        for body, words in ((sick_nodes_hold_nothing_up, ()), (a_bad_image_goes_back_by_itself, ()), (pause_and_freeze, (hollow,)),
                            (canary_and_waves, ()), (windows, ()), (without_policies, ()), (the_old_daemon_runs_until_the_image_is_there, (held,)),
                            (an_image_that_is_not_there_takes_no_daemon_down, (held,)), (new_nodes_wait, (hollow,))):
            if not report.case(f"rollouts: {body.__name__.replace('_', ' ')}", body, s, *words):
                for what in (["get", "rolloutpolicies", "-o", "yaml"], ["get", "ds", "roll", "-o", "yaml"], ["get", "pods", "-o", "wide"]):
                    print(own(*what, check=False).stdout[-3000:])
                return
    finally:
        held.stop()
        own("delete", "rolloutpolicies,daemonsets", "--all", check=False)
        until("no pods", lambda: not own.json("get", "pods", "-l", "app=roll")["items"])
