"""Host ports, and networks that plugins make: on nodes of their own, so that nothing here meets the other cases."""
import json, os, shutil, subprocess, tempfile

from chapter import apply_text
from harness import Client, Failed, equal, holds, run, until

PORTS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ports}
spec:
  selector: {matchLabels: {app: ports}}
  template:
    metadata: {labels: {app: ports}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: nginx:1.27
        ports: [{containerPort: 80, hostPort: 8480}]
"""
HOST_NETWORK = """
apiVersion: v1
kind: Pod
metadata: {name: installer}
spec:
  nodeName: node-1
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: nginx:1.27
    command: [sh, -c, "trap 'exit 0' TERM; sleep 3600 & wait $!"]
    volumeMounts: [{name: conf, mountPath: /conf}, {name: bin, mountPath: /cni-bin}]
  volumes:
  - {name: conf, hostPath: {path: CONF}}
  - {name: bin, hostPath: {path: BIN}}
"""
# A network as a daemon brings it: the plugin is a file that it copies to the node.
PLUGIN = """#!/bin/sh
log=$(dirname "$0")/calls
echo "$CNI_COMMAND $CNI_ARGS" >> "$log"
conf=$(cat)
case $CNI_COMMAND in
ADD)
  inside="busybox nsenter --net=$CNI_NETNS busybox ip"
  { $inside link add eth0 type bridge && $inside addr add 10.99.0.7/24 dev eth0 && $inside link set eth0 up; } >&2 || exit 1
  echo '{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"version":"4","address":"10.99.0.7/24","interface":0}]}';;
esac
"""
CONFIG = '{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"test-net"}]}'
POD = """
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "nginx:1.27", command: [sh, -c, "ip addr show eth0; sleep 3600"]}
"""


def node_ips(k):
    return [a["address"] for n in k.json("get", "nodes")["items"] for a in n["status"]["addresses"] if a["type"] == "InternalIP"]


def page(ip, port):
    return run(["curl", "-sS", "--max-time", "5", f"http://{ip}:{port}/index.html"], check=False).stdout


def host_ports(k):
    apply_text(k, PORTS)
    nodes = node_ips(k)
    for ip in nodes:
        until(f"{ip}:8480 leads to the pod", lambda: page(ip, 8480) == "nginx 1.27\n")
    # The agent's restart changes nothing, and the end of the pods closes the ports.
    k("rollout", "restart", "daemonset/ports")
    k("rollout", "status", "daemonset/ports", "--timeout=90s")
    for ip in nodes:
        until(f"{ip}:8480 leads to the new pod", lambda: page(ip, 8480) == "nginx 1.27\n")
    k("delete", "daemonset", "ports")
    for ip in nodes:
        until(f"{ip}:8480 is closed", lambda: page(ip, 8480) == "")


def metrics(k):
    """What dashboards ask for, through the server's node proxy."""
    apply_text(k, PORTS)
    k("rollout", "status", "daemonset/ports", "--timeout=90s")
    def raw(path):
        return k.out("get", "--raw", f"/api/v1/nodes/node-1/proxy/{path}")
    def shows(path, *parts):
        until(f"{path} shows {parts}", lambda: any(all(p in line for p in parts) for line in raw(path).splitlines()))
    shows("metrics/cadvisor", "container_memory_working_set_bytes{", 'container="web"', 'namespace="default"', 'pod="ports-')
    shows("metrics/cadvisor", "container_network_receive_bytes_total{", 'interface="eth0"', 'pod="ports-')
    shows("metrics/cadvisor", "container_fs_usage_bytes{", 'container="web"')
    shows("metrics/resource", "container_cpu_usage_seconds_total{", 'container="web"')
    shows("metrics", 'kubelet_node_name{node="node-1"} 1')
    shows("metrics", "kubelet_running_pods")
    summary = json.loads(raw("stats/summary"))
    equal("node", summary["node"]["nodeName"], "node-1")
    pod = [p for p in summary["pods"] if p["podRef"]["name"].startswith("ports-")][0]
    holds("memory is measured", pod["containers"][0]["memory"]["workingSetBytes"] > 0, pod)
    holds("bytes of the network are counted", pod["network"]["interfaces"][0]["name"] == "eth0", pod)
    k("delete", "daemonset", "ports")


def plugins_that_a_daemon_installs(everynode, folder, port, mirror):
    """A node that waits for its network, and gets it while it runs."""
    own = tempfile.mkdtemp(prefix="cni-", dir=folder)
    data, conf, plugins = (os.path.join(own, d) for d in ("data", "net.d", "bin"))
    os.makedirs(conf), os.makedirs(plugins)
    up = [everynode, "up", "--nodes", "1", "--data-dir", data, "--listen", f"0.0.0.0:{port}", "--pod-network", "cni",
          "--cni-conf-dir", conf, "--cni-bin-dir", plugins, "--registry-mirror", mirror]
    log = open(os.path.join(own, "up.log"), "w")
    process = subprocess.Popen(up, stdout=log, stderr=log)
    try:
        k = Client("own CLI", [everynode], os.path.join(data, "admin.kubeconfig"))
        until("the server answers", lambda: os.path.exists(k.kubeconfig) and k("get", "nodes").returncode == 0)
        def ready():
            node = k.json("get", "node", "node-1")
            return [c for c in node["status"]["conditions"] if c["type"] == "Ready"][0]
        until("the node says what it waits for", lambda: "cni plugin not initialized" in ready()["message"])
        equal("the node is not ready", (ready()["status"], ready()["reason"]), ("False", "KubeletNotReady"))
        apply_text(k, POD)
        apply_text(k, HOST_NETWORK.replace("CONF", conf).replace("BIN", plugins))
        phase = lambda name: k.json("get", "pod", name)["status"]["phase"]
        until("a pod on the node's network runs", lambda: phase("installer") == "Running")
        until("the other one says what it waits for", lambda: "NetworkNotReady" in k.out("get", "events"))
        equal("and waits", phase("waits"), "Pending")
        k("exec", "-i", "installer", "--", "sh", "-c", "cat > /cni-bin/test-net", stdin=PLUGIN)
        os.chmod(os.path.join(plugins, "test-net"), 0o755)
        k("exec", "-i", "installer", "--", "sh", "-c", "cat > /conf/.new && busybox mv /conf/.new /conf/10-test.conflist",
          stdin=CONFIG)
        until("the pod runs by itself", lambda: phase("waits") == "Running")
        equal("with the plugin's address", k.json("get", "pod", "waits")["status"]["podIP"], "10.99.0.7")
        until("the node is ready", lambda: ready()["status"] == "True")
        until("it sees its link", lambda: "10.99.0.7/24" in k.out("logs", "waits"))
        k("delete", "pod", "waits")
        with open(os.path.join(plugins, "calls")) as f:
            calls = f.read().splitlines()
        equal("calls", [c.split()[0] for c in calls], ["ADD", "DEL"])
        holds("the pod is named", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=waits" in calls[0], calls[0])
    except Failed as e:
        with open(os.path.join(own, "up.log")) as f:
            raise Failed(f"{e}\n{f.read()[-3000:]}")
    finally:
        process.terminate()
        process.wait()
        log.close()
        run([everynode, "down", "--data-dir", data], check=False)
        shutil.rmtree(own, ignore_errors=True)
