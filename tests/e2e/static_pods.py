"""Static pods: files on a node make pods, with and without a server."""
import os, signal

from harness import equal, holds, run, until
from leaving import NODE, Lone

POD = """
apiVersion: v1
kind: Pod
metadata: {name: keeper, labels: {app: keeper}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: nginx:1.27
    imagePullPolicy: Never
    command: [sh, -c, "exec sleep %s"]
"""


def put(directory, name, text):
    """As careful people do: the file is there as a whole or not at all."""
    beside = os.path.join(directory, "." + name)
    with open(beside, "w") as f:
        f.write(text)
    os.rename(beside, os.path.join(directory, name))


def files_make_pods(everynode, folder, archive):
    folder = os.path.join(folder, "static")
    directory = os.path.join(folder, "pods")
    os.makedirs(directory)
    p = Lone(everynode, folder)
    name = f"keeper-{NODE}"
    mirror = lambda: p.k.json("get", "pod", name)
    is_ready = lambda pod: all(s["ready"] for s in pod["status"]["containerStatuses"]) and pod
    try:
        p.start("server")
        p.stop("server")
        run([everynode, "image", "load", archive, "--data-dir", p.data["agent"]])
        put(directory, "keeper.yaml", POD % 3601)
        put(directory, "asks.yaml", (POD % 3609).replace("spec:\n", "spec:\n  serviceAccountName: robot\n").replace("keeper", "asks"))
        p.start("agent", "--pod-manifest-path", directory)
        first = until("it runs without a server", lambda: p.containers("sleep 3601"))
        equal("the other file makes nothing", p.containers("sleep 3609"), [])

        p.start("server")
        pod = until("the server shows it", lambda: is_ready(mirror()))
        equal("its origin", (pod["metadata"]["annotations"]["kubernetes.io/config.source"], pod["metadata"]["ownerReferences"][0]["kind"]), ("file", "Node"))
        events = lambda: p.k.out("get", "events")
        until("the bad file is told", lambda: "asks.yaml: a static pod can't refer to a service account" in events())
        p.k("delete", "pod", name, "--grace-period=0", "--force", check=False)
        until("it is shown again", lambda: mirror()["metadata"]["uid"] != pod["metadata"]["uid"] and is_ready(mirror()))
        equal("and runs on", p.containers("sleep 3601"), first)
        equal("logs", p.k("logs", name).stdout, "")

        p.stop("agent", signal.SIGKILL)
        p.start("agent", "--pod-manifest-path", directory)
        put(directory, "asks.yaml", (POD % 3609).replace("keeper", "asks"))
        until("the new agent is at work", lambda: p.containers("sleep 3609"))
        equal("nothing began anew", p.containers("sleep 3601"), first)

        put(directory, "keeper.yaml", POD % 3602)
        until("a changed file makes another pod", lambda: p.containers("sleep 3602") and not p.containers("sleep 3601"))
        until("which is shown", lambda: "sleep 3602" in str(is_ready(mirror())["spec"]))
        for file in ("keeper.yaml", "asks.yaml"):
            os.remove(os.path.join(directory, file))
        until("without files nothing runs", lambda: not p.containers("sleep 360"))
        until("and nothing is shown", lambda: not p.k.json("get", "pods")["items"])
    except Exception:
        for name in p.data:
            print(f"--- {name}: " + p.log(name)[-1500:], flush=True)
        raise
    finally:
        p.close()
