"""What must not hurt: processes killed at any moment, bad input, a second server on the same data."""
import json, os, signal, socket, subprocess, time

import host
from chapter import FLUENTD, NODES, ready_on, seen_on_the_machine, gone_from_the_machine, apply_text
from harness import Failed, equal, holds, run, until

PORTS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: shared-port}
spec:
  selector: {matchLabels: {app: shared-port}}
  template:
    metadata: {labels: {app: shared-port}}
    spec:
      hostNetwork: true
      containers:
      - {name: web, image: "nginx:1.27", readinessProbe: {httpGet: {path: /index.html, port: 80}, periodSeconds: 1}}
"""
CRASHES = """
apiVersion: v1
kind: Pod
metadata: {name: crashes, labels: {app: crashes}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "nginx:1.27", command: [sh, -c, "echo attempt; exit 3"]}
"""
VOLUMES = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: conf}, data: {mode: tail, mask: "0755"}}
- {apiVersion: v1, kind: Secret, metadata: {name: sec}, stringData: {token: s3cr3t}}
- apiVersion: v1
  kind: Pod
  metadata: {name: volumes, labels: {app: volumes}}
  spec:
    nodeName: node-2
    terminationGracePeriodSeconds: 1
    containers:
    - name: c
      image: nginx:1.27
      command: [sh, -c, "cat /conf/mode /sec/token; echo; echo $NODE $TOKEN $(MODE)-x; touch /empty/a && ls /empty; sleep 3600"]
      env:
      - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      - {name: TOKEN, valueFrom: {secretKeyRef: {name: sec, key: token}}}
      - {name: MODE, valueFrom: {configMapKeyRef: {name: conf, key: mode}}}
      livenessProbe: {exec: {command: [cat, /conf/mode]}, periodSeconds: 1}
      readinessProbe: {exec: {command: [cat, /empty/a]}, periodSeconds: 1}
      volumeMounts: [{name: conf, mountPath: /conf}, {name: sec, mountPath: /sec}, {name: empty, mountPath: /empty}, {name: both, mountPath: /both}]
    volumes:
    - {name: conf, configMap: {name: conf}}
    - {name: sec, secret: {secretName: sec}}
    - {name: empty, emptyDir: {}}
    - {name: both, projected: {sources: [{configMap: {name: conf}}, {secret: {name: sec}}]}}
"""
WAITS = """
apiVersion: v1
kind: Pod
metadata: {name: waits, labels: {app: waits}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "nginx:1.27", command: [sleep, "3600"], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, secret: {secretName: late}}]
"""


def fingerprint(pods):
    """First process and its start time, by pod: the same again means that nothing was restarted."""
    found = {}
    for pod in pods:
        pid = seen_on_the_machine(pod)
        found[pod["metadata"]["name"]] = (pid, host.start_ticks(pid), pod["status"]["containerStatuses"][0]["restartCount"])
    return found


def named(part):
    return [pid for pid, line in host.processes().items() if part(line)]


def agents(data_dir):
    return named(lambda l: " agent " in l and data_dir in l)


def servers(data_dir):
    return named(lambda l: " server " in l and data_dir in l)


def killed_agents_and_server_harm_no_daemon(k, data_dir):
    k("apply", "-f", FLUENTD)
    before = fingerprint(ready_on(k, "app=fluentd", NODES))
    for victims in (agents, servers, lambda d: agents(d) + servers(d)):
        pids = victims(data_dir)
        holds("nothing to kill", pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pod, (pid, ticks, _) in before.items():
            equal(f"{pod} runs on", host.start_ticks(pid), ticks)
        until("they are back", lambda: len(agents(data_dir)) == 3 and len(servers(data_dir)) == 1
              and not set(pids) & set(agents(data_dir) + servers(data_dir)))
        equal("after the restart", until("same pods", lambda: fingerprint(ready_on(k, "app=fluentd", NODES))), before)
    def logs():
        p = k("logs", sorted(before)[0], "--tail=1", check=False)
        # Its tunnel may take a moment, but an agent that answers knows its pods.
        holds("logs after the restart", "tick" in p.stdout or "is not connected" in p.stderr, p.stdout + p.stderr)
        return p.returncode == 0
    first = logs()
    until("logs after the restart", lambda: first or logs())
    # Taken over for real: the new agents still stop what is deleted.
    uids = [p["metadata"]["uid"] for p in k.json("get", "pods", "-l", "app=fluentd")["items"]]
    k("delete", "-f", FLUENTD)
    gone_from_the_machine(uids)


def acknowledged_writes_survive_kill(k, data_dir):
    """Writes while the server is killed again and again: whatever was acknowledged is there afterwards."""
    acked = []
    for round_ in range(3):
        for n in range(8):
            name = f"kept-{round_}-{n}"
            if k("create", "-f", "-", check=False, stdin=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})).returncode == 0:
                acked.append(name)
            if n == 5:
                for pid in servers(data_dir):
                    os.kill(pid, signal.SIGKILL)
        until("the server is back", lambda: k("get", "--raw", "/readyz", check=False).returncode == 0 or k("get", "ns", check=False).returncode == 0)
    holds("nothing was acknowledged", len(acked) >= 12, len(acked))
    there = {o["metadata"]["name"] for o in k.json("get", "configmaps")["items"]}
    equal("acknowledged writes that are lost", [n for n in acked if n not in there], [])
    k("delete", "configmap", *acked)


def host_network_daemons_share_a_port(k, data_dir):
    apply_text(k, PORTS)
    pods = ready_on(k, "app=shared-port", NODES)
    equal("three addresses", len({p["status"]["hostIP"] for p in pods}), 3)
    for pod in pods:
        equal("pod address is the node's", pod["status"]["podIP"], pod["status"]["hostIP"])
        seen_on_the_machine(pod, network_of_its_own=False)
    k("delete", "ds", "shared-port")
    gone_from_the_machine([p["metadata"]["uid"] for p in pods])


def crash_loop_backs_off(k, data_dir):
    apply_text(k, CRASHES)
    def fact():
        status = k.json("get", "pod", "crashes")["status"]["containerStatuses"][0]
        return status if status["restartCount"] >= 2 and status["state"].get("waiting") else None
    status = until("it restarts twice, then waits", fact)
    equal("state", status["state"]["waiting"]["reason"], "CrashLoopBackOff")
    equal("last state", status["lastState"]["terminated"]["exitCode"], 3)
    equal("log of the attempt before", k.out("logs", "crashes", "--previous"), "attempt\n")
    row = k.out("get", "pod", "crashes").splitlines()[1]
    holds("row", "CrashLoopBackOff" in row, row)
    k("delete", "pod", "crashes")


def volumes_env_and_probes(k, data_dir):
    apply_text(k, VOLUMES)
    pod = ready_on(k, "app=volumes", ["node-2"])[0]
    equal("what the container saw", k.out("logs", "volumes").splitlines(), ["tails3cr3t", "node-2 s3cr3t tail-x", "a"])
    changes_come_by_watch(k)
    k("delete", "pod", "volumes")
    k("delete", "configmap", "conf")
    k("delete", "secret", "sec")
    gone_from_the_machine([pod["metadata"]["uid"]])


def changes_come_by_watch(k):
    """Three changes within less time than lies between two looks of a node that asks by itself: those would bring one."""
    started = time.time()
    for value in ("one", "two", "three"):
        k("patch", "configmap", "conf", "-p", json.dumps({"data": {"mode": value}}))
        k("patch", "secret", "sec", "-p", json.dumps({"stringData": {"token": value}}))
        for files in ("/conf/mode /sec/token", "/both/mode /both/token"):
            until(f"{value} in {files}", lambda: k.out("exec", "volumes", "--", "cat", *files.split()) == value * 2, seconds=15)
    print(f"     three changes of a ConfigMap and a Secret, seen in the container: {time.time() - started:.1f} s", flush=True)
    holds("three changes in less than a minute", time.time() - started < 50, time.time() - started)


def what_a_pod_waits_for_comes_by_watch(k, data_dir):
    apply_text(k, WAITS)
    def tries():
        events = k.json("get", "events", "--field-selector", "involvedObject.name=waits")["items"]
        return sum(e.get("count", 1) for e in events if e["reason"] == "FailedMount" and '"late" not found' in e["message"])
    # After 1, 2, 4, 8 and 15 s it is tried again: right after the fifth try nobody would look for long.
    until("five tries", lambda: tries() >= 5)
    started = time.time()
    k("create", "secret", "generic", "late", "--from-literal=a=b")
    pod = ready_on(k, "app=waits", ["node-2"])[0]
    holds("before anybody looked again", time.time() - started < 10, time.time() - started)
    print(f"     a pod that waited for its Secret is ready after {time.time() - started:.1f} s", flush=True)
    k("delete", "pod", "waits")
    k("delete", "secret", "late")
    gone_from_the_machine([pod["metadata"]["uid"]])


def images_load_from_an_archive(binary, data_dir, archives, k):
    out = run([binary, "image", "load", archives["fluent/fluentd:v0.14.10"], "--data-dir", data_dir]).stdout
    holds("load names the image", "fluentd:v0.14.10" in out, out)
    holds("list", "fluentd" in run([binary, "image", "list", "--data-dir", data_dir]).stdout)
    holds("prune says what went", "images removed, " in run([binary, "image", "prune", "--data-dir", data_dir]).stdout)
    holds("what no registry gave stays", "fluentd:v0.14.10" in run([binary, "image", "ls", "--data-dir", data_dir]).stdout)
    p = run([binary, "image", "load", "/etc/hostname", "--data-dir", data_dir], check=False)
    holds("garbage is refused in one line", p.returncode != 0 and len(p.stderr.strip().splitlines()) == 1, p.stderr)


def bad_manifests(k, data_dir):
    with open(FLUENTD) as f:
        text = f.read()
    p = k("apply", "-f", "-", stdin=text.replace("        app: fluentd\n    spec", "        app: other\n    spec"), check=False)
    holds("selector that does not match", p.returncode == 1 and "`selector` does not match template `labels`" in p.stderr, p.stderr)
    p = k("apply", "-f", "-", stdin=text.replace("minReadySeconds: 1", "minReadySecond: 1"), check=False)
    holds("unknown field", p.returncode == 1 and "minReadySecond" in p.stderr, p.stderr)
    p = k("apply", "-f", "-", stdin=text.replace("minReadySeconds: 1", "minReadySeconds: soon"), check=False)
    holds("wrong type", p.returncode == 1 and "minReadySeconds" in p.stderr, p.stderr)
    p = k("apply", "-f", "-", stdin="a: [", check=False)
    holds("no YAML", p.returncode == 1 and p.stderr.strip(), p.stderr)
    equal("nothing was made", [d["metadata"]["name"] for d in k.json("get", "ds")["items"]], [])


def one_line(what, p, *wants):
    lines = [l for l in p.stderr.strip().splitlines() if l.strip()]
    holds(f"{what}: exit code", p.returncode != 0, p.stdout, p.stderr)
    holds(f"{what}: one line", len(lines) == 1, p.stderr)
    for want in wants:
        holds(f"{what}: says {want!r}", want in lines[0], lines[0])


def bad_starts(binary, data_dir, port, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
    one_line("second server on the same data", run([binary, "server", "--data-dir", data_dir, "--listen", f"127.0.0.1:{other}"], check=False), data_dir)
    one_line("up on loopback", run([binary, "up", "--data-dir", os.path.join(folder, "loopback"), "--listen", f"127.0.0.1:{other}"], check=False), "0.0.0.0")
    one_line("second up", run([binary, "up", "--data-dir", data_dir, "--listen", f"0.0.0.0:{other}"], check=False), data_dir)
    fresh = os.path.join(folder, "fresh")
    one_line("port in use", run([binary, "server", "--data-dir", fresh, "--listen", f"127.0.0.1:{port}"], check=False), str(port))
    one_line("agent without a kubeconfig", run([binary, "agent", "--kubeconfig", "/nonexistent", "--data-dir", fresh], check=False), "/nonexistent")
    one_line("up in the background on a port in use", run([binary, "up", "--data-dir", fresh, "--listen", f"0.0.0.0:{port}", "--detach"], check=False), str(port))
    holds("a start that failed leaves nothing", not os.path.exists(os.path.join(fresh, "up.json")))
    newer = os.path.join(folder, "newer")
    os.makedirs(os.path.join(newer, "store"))
    with open(os.path.join(newer, "store", "FORMAT"), "w") as f:
        f.write("99\n")
    one_line("data of a newer version", run([binary, "server", "--data-dir", newer, "--listen", f"127.0.0.1:{other}"], check=False), "newer")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    one_line("no root", run(nobody + [binary, "up", "--data-dir", os.path.join(folder, "nobody")], check=False), "root")
    holds("nothing half-done is left", not os.path.exists(os.path.join(folder, "nobody")))
