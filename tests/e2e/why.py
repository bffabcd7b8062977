"""`why` and `plan` on real containers: a stated reason for every node, and what a change would do before it is made."""
from chapter import apply_text, ready_on
from harness import equal, holds, until

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: asks}
spec:
  selector: {matchLabels: {app: asks}}
  template:
    metadata: {labels: {app: asks}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {disk: fast}
      containers: [{name: web, image: "nginx:%s"}]
"""
HUNGRY = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: hungry}
spec:
  selector: {matchLabels: {app: hungry}}
  template:
    metadata: {labels: {app: hungry}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "nginx:1.27", resources: {requests: {memory: 900Ti}}}]
"""
FAILING = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: failing}
spec:
  selector: {matchLabels: {app: failing}}
  template:
    metadata: {labels: {app: failing}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "nginx:1.27", command: [sh, -c, "exit 3"]}]
"""


def reasons(own):
    """Label, taint, missing resource, failing container: each by the word that decides, in words and as JSON."""
    try:
        own("label", "nodes", "node-1", "node-2", "disk=fast")
        own("taint", "nodes", "node-2", "dedicated=edge:NoSchedule")
        apply_text(own, DAEMON % "1.27")
        apply_text(own, HUNGRY)
        apply_text(own, FAILING)
        ready_on(own, "app=asks", ["node-1"])
        for node, wants in (("node-1", ["Runs", "available"]), ("node-2", ["Excluded", "dedicated=edge:NoSchedule"]), ("node-3", ["Excluded", "disk=fast", "no label disk"])):
            text = own.out("why", "ds/asks", f"node/{node}")
            holds(f"why {node} names {wants}", all(want in text for want in wants), text)
        text = own.out("why", "ds/asks")
        holds("all nodes are counted", "3 nodes: 1 run, 0 wait, 2 excluded" in text, text)
        until("the missing memory is named", lambda: "memory, and the node has" in own.out("why", "ds/hungry", "node/node-3"))
        until("the failing container is named", lambda: "exit code 3" in own.out("why", "ds/failing", "node/node-1"))
        report = own.json("why", "ds/failing")
        equal("nodes of the report", sorted(n["node"] for n in report["nodes"]), ["node-1", "node-2", "node-3"])
        holds("describe says it too", "disk=fast" in own.out("describe", "ds", "asks"))
    finally:
        own("delete", "daemonsets", "hungry", "failing", "--ignore-not-found", check=False)


def plans(own):
    """What an update would do, and that nothing is done. Begins with the DaemonSet of `reasons`."""
    before = own.json("get", "ds", "asks")["metadata"]
    p = own("plan", "-f", "-", stdin=DAEMON % "1.10.0", check=False)
    equal("exit code of a plan with changes", p.returncode, 1)
    for want in ("daemonset.apps/asks would be changed", 'spec.template.spec.containers[web].image: "nginx:1.27" -> "nginx:1.10.0"', "node-1", "maxUnavailable 1"):
        holds(f"the plan says {want!r}", want in p.stdout, p.stdout)
    equal("nothing is changed", own.json("get", "ds", "asks")["metadata"]["resourceVersion"], before["resourceVersion"])
    equal("a plan without changes", own("plan", "-f", "-", stdin=DAEMON % "1.27").returncode, 0)
    own("taint", "nodes", "node-2", "dedicated-")
    own("label", "nodes", "node-1", "node-2", "disk-")
    own("delete", "daemonset", "asks")
    until("no pods", lambda: not own.json("get", "pods", "-l", "app=asks")["items"])


def play(report, own):
    if report.case("why: reasons", reasons, own):
        report.case("plan: an update before it is made", plans, own)
    else:
        own("taint", "nodes", "node-2", "dedicated-", check=False)
        own("label", "nodes", "node-1", "node-2", "disk-", check=False)
        own("delete", "daemonsets", "--all", check=False)
