"""Pods sized by node class: a label gives a node another pod, and nobody else's restarts."""
from harness import equal, holds, until

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: sized}
spec:
  selector: {matchLabels: {app: sized}}
  template:
    metadata: {labels: {app: sized}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: "nginx:1.27", command: [sh, -c, "sleep 3600"], env: [{name: SIZE, value: plain}]}
"""
POLICY = """
apiVersion: everynode.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: sized}
spec:
  targets: {names: [sized]}
  nodeClasses:
  - name: big
    nodeSelector: {matchLabels: {e2e-size: big}}
    patch: {containers: [{name: c, %s}]}
"""


def pods(k):
    """Name and UID of the pod that runs on each node."""
    found = k.json("get", "pods", "-l", "app=sized")["items"]
    ready = lambda p: any(c["type"] == "Ready" and c["status"] == "True" for c in p.get("status", {}).get("conditions", []))
    live = [p for p in found if ready(p) and "deletionTimestamp" not in p["metadata"]]
    return {p["spec"]["nodeName"]: (p["metadata"]["name"], p["metadata"]["uid"]) for p in live}


def size(k, node):
    return k.out("exec", pods(k)[node][0], "--", "sh", "-c", "echo $SIZE").strip()


def node_classes(k):
    try:
        k("apply", "-f", "-", stdin=POLICY % 'env: [{name: SIZE, value: big}]')
        k("apply", "-f", "-", stdin=DAEMON)
        before = until("a pod on each node", lambda: len(pods(k)) == 3 and pods(k))
        k("label", "node", "node-2", "e2e-size=big")
        until("node-2 is big", lambda: size(k, "node-2") == "big")
        k("apply", "-f", "-", stdin=POLICY % 'env: [{name: SIZE, value: bigger}]')
        until("node-2 is bigger", lambda: size(k, "node-2") == "bigger")
        equal("node-1 is as it was", size(k, "node-1"), "plain")
        equal("the pods of the others", {n: p for n, p in pods(k).items() if n != "node-2"}, {n: p for n, p in before.items() if n != "node-2"})
        equal("revisions", len(k.json("get", "controllerrevisions", "-l", "app=sized")["items"]), 1)
        refused = k("apply", "-f", "-", stdin=POLICY % "tty: true", check=False)
        holds("a patch of another field is refused", refused.returncode != 0 and "tty" in refused.stderr, refused.stderr)
    finally:
        k("label", "node", "node-2", "e2e-size-", check=False)
        k("delete", "daemonset/sized", "rolloutpolicies/sized", "--ignore-not-found", check=False)
