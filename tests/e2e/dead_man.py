"""A daemon whose update cuts its node off: the node goes back by itself, and the rollout stops. The line between agent and
server runs through this process; a file cuts it, which the bad version makes and the good one removes."""
import os, socket, threading, time

from harness import equal, holds, run, until
from leaving import NODE, Lone, ready

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: lone}
spec:
  selector: {matchLabels: {app: lone}}
  template:
    metadata: {labels: {app: lone}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: nginx:1.27
        imagePullPolicy: Never
        command: [sh, -c, "%s; exec sleep %s"]
        volumeMounts: [{name: line, mountPath: /line}]
      volumes: [{name: line, hostPath: {path: %s}}]
"""
POLICY = """
apiVersion: everynode.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: lone}
spec: {targets: {names: [lone]}, deadMan: {afterSeconds: %d}}
"""


class Line:
    """Hands bytes on between a port and the server, as long as there is no file that cuts it."""

    def __init__(self, port, cut):
        self.port, self.cut = port, cut
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                if self.listener.fileno() < 0:
                    return
                continue
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(65536):
                while os.path.exists(self.cut):
                    time.sleep(0.1)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def close(self):
        self.listener.close()


def failed(memory):
    """True where the switch has failed the rollout; else what it is is told."""
    holds("another state", (memory.get("phase"), memory.get("cause")) == ("Failed", "DeadManSwitch"), memory)
    return True


def a_daemon_that_cuts_its_node_off(everynode, folder, archive):
    folder = os.path.join(folder, "dead-man")
    line_dir = os.path.join(folder, "line")
    os.makedirs(line_dir)
    cut = os.path.join(line_dir, "cut")
    p = Lone(everynode, folder)
    line = Line(p.port, cut)
    good = DAEMON % ("rm -f /line/cut", 4001, line_dir)
    # It is ready first: the rollout has updated all it had to, and must not take the revision for a good one yet.
    bad = DAEMON % ("sleep 2; touch /line/cut", 4002, line_dir)
    memory = lambda: p.k.json("get", "rolloutpolicy", "lone")["status"]["daemonSets"][0]
    try:
        p.start("server")
        with open(p.kubeconfig) as f:
            text = f.read()
        p.agent_kubeconfig = os.path.join(folder, "agent.kubeconfig")
        with open(p.agent_kubeconfig, "w") as f:
            f.write(text.replace(f":{p.port}", f":{line.own_port}"))
        holds("the agent goes by the line", str(line.own_port) in open(p.agent_kubeconfig).read(), text)
        run([everynode, "image", "load", archive, "--data-dir", p.data["agent"]])
        p.start("agent")
        refused = p.k("apply", "-f", "-", stdin=POLICY % 29, check=False)
        holds("too short a time is refused", refused.returncode == 1 and "afterSeconds" in refused.stderr, refused.stderr)
        p.k("apply", "-f", "-", stdin=good)
        first = until("the daemon is ready", lambda: ready(p.k))[0]
        p.k("apply", "-f", "-", stdin=POLICY % 30)
        until("its revision is a good one", lambda: memory().get("lastGoodRevision"))
        p.k("apply", "-f", "-", stdin=bad)
        until("the update cuts the node off", lambda: os.path.exists(cut))
        until("the node goes back by itself", lambda: p.containers("sleep 4001") and not p.containers("sleep 4002"))
        equal("the line is whole", os.path.exists(cut), False)
        until("the rollout has failed", lambda: failed(memory()))
        # Which node it was stays told when it is well again and counts no more.
        equal("of this node", memory()["message"], f"1 of 1 nodes failed, 0 may: {NODE} (DeadManSwitch)")
        pods = until("the last good revision is back", lambda: [x for x in ready(p.k) or [] if "sleep 4001" in str(x["spec"])])
        equal("one pod", len(pods), 1)
        holds("which is another than the first", pods[0]["metadata"]["uid"] != first["metadata"]["uid"])
        until("nobody stands in any more", lambda: len(p.containers("sleep 4001")) == 1)
        events = p.k.out("get", "events")
        holds("it is told", "DeadManSwitch" in events and "RolloutFailed" in events, events)
    except Exception:
        # What tells most comes last: of a long output often only the end is kept.
        for kinds, shape in (("rolloutpolicies,daemonsets,pods", "yaml"), ("events", "wide")):
            print(p.k("get", kinds, "-o", shape, check=False).stdout, flush=True)
        for name in p.data:
            print(f"--- {name}: " + p.log(name)[-2500:], flush=True)
        raise
    finally:
        p.close()
        line.close()
