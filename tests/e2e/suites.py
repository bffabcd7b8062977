"""The suites of other clients: Kubernetes' Python client and kube-rs, by themselves and with a pod that runs."""
import os

from chapter import apply_text, gone_from_the_machine, ready_on
from harness import ROOT, Failed, run, until

POD = """
apiVersion: v1
kind: Pod
metadata: {name: clients, labels: {app: clients}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: "nginx:1.27", command: [sh, -c, "echo begun; sleep 3600"]}]
"""


def python(tools, *words):
    env = {v: os.environ[v] for v in os.environ if v != "PYTHONPATH"}
    p = run([os.path.join(tools, "python", "bin", "python"), os.path.join(ROOT, "tests", "clients", "python_client.py"), *words], check=False, env=env, timeout=600)
    if p.returncode != 0:
        raise Failed(p.stdout + p.stderr)


def kube_rs(kubeconfig):
    """The tests are built already, by the step of tests/run before; here those run that need a pod."""
    env = dict(os.environ, EVERYNODE_TEST_KUBECONFIG=kubeconfig, EVERYNODE_TEST_POD="clients")
    run(["cargo", "nextest", "run", "--workspace", "--locked", "--run-ignored", "only", "-E", "binary(clients) & test(/^pods::/)"], env=env, timeout=1800)


def play(report, k, everynode, tools):
    report.case("python: its suite", python, tools, everynode)
    def begin():
        apply_text(k, POD)
        ready_on(k, "app=clients", ["node-1"])
        until("it has logged", lambda: "begun" in k.out("logs", "clients"))
    if not report.case("a pod for the suites", begin):
        return
    report.case("python: exec and logs", python, tools, "--pod", "clients", k.kubeconfig)
    report.case("kube-rs: exec and logs", kube_rs, k.kubeconfig)
    def end():
        uids = [p["metadata"]["uid"] for p in k.json("get", "pods", "-l", "app=clients")["items"]]
        k("delete", "pod", "clients")
        gone_from_the_machine(uids)
    report.case("the pod for the suites goes", end)
