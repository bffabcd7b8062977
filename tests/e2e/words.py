"""kubectl's other words, in one story of a DaemonSet and a ConfigMap: patches, server-side apply, edit, set, replace, rollouts,
wait, diff, and questions. Each client says those that it has: 1.20 is older than some, our own CLI lacks a few."""
import json, os, re, tempfile

from chapter import NODES, apply_text, gone_from_the_machine, pods, ready_on
from harness import equal, holds, run, until

DAEMON = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: words, labels: {app: words}}
spec:
  selector: {matchLabels: {app: words}}
  updateStrategy: {rollingUpdate: {maxUnavailable: 100%}}
  template:
    metadata: {labels: {app: words}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "nginx:1.27"}]
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {a: "%s"}
"""


def own(k):
    return k.name == "own CLI"


def since(k, minor):
    """Whether the client is kubectl 1.`minor` or newer."""
    found = re.search(r"kubectl 1\.(\d+)", k.name)
    return bool(found) and int(found.group(1)) >= minor


def editing(k, script):
    env = dict(os.environ, KUBECONFIG=k.kubeconfig, HOME=os.path.dirname(k.kubeconfig) + "-home", EDITOR=script, KUBE_EDITOR=script)
    p = run(k.argv + ["edit", "daemonset", "words"], env=env)
    return p.stdout or p.stderr


def container(k):
    return k.json("get", "ds", "words")["spec"]["template"]["spec"]["containers"][0]


def patches_of_every_type(k):
    apply_text(k, CONFIG % 1)
    for kind, patch, want in (("json", '[{"op": "replace", "path": "/data/a", "value": "2"}]', {"a": "2"}), ("merge", '{"data": {"b": "3"}}', {"a": "2", "b": "3"}),
                              ("strategic", '{"data": {"b": null}}', {"a": "2"})):
        equal(kind, k.out("patch", "configmap", "words", "--type", kind, "-p", patch), "configmap/words patched\n")
        equal(f"data after {kind}", k.json("get", "configmap", "words")["data"], want)
    equal("nothing to change", k.out("patch", "configmap", "words", "--type", "merge", "-p", '{"data": {"a": "2"}}'), "configmap/words patched (no change)\n")
    p = k("patch", "configmap", "words", "--type", "json", "-p", '[{"op": "test", "path": "/data/a", "value": "9"}]', check=False)
    holds("a test that fails", p.returncode == 1 and p.stderr, p.stderr)
    k("delete", "configmap", "words")


def server_side_apply_and_its_conflicts(k):
    apply = lambda value, manager, *more, **o: k("apply", "--server-side", "--field-manager", manager, "-f", "-", *more, stdin=CONFIG % value, **o)
    equal("first", apply(1, "one").stdout, "configmap/words serverside-applied\n")
    revision = lambda: k.json("get", "configmap", "words")["metadata"]["resourceVersion"]
    before = revision()
    apply(1, "one")
    equal("twice is once", revision(), before)
    p = apply(2, "two", check=False)
    equal("exit code of a conflict", p.returncode, 1)
    holds("it names the field and its owner", 'conflict with "one": .data.a' in p.stderr and "--force-conflicts" in p.stderr, p.stderr)
    equal("forced", apply(2, "two", "--force-conflicts").stdout, "configmap/words serverside-applied\n")
    equal("data", k.json("get", "configmap", "words")["data"], {"a": "2"})
    k("delete", "configmap", "words")


def set_and_edit_and_diff(k):
    equal("apply", apply_text(k, DAEMON), "daemonset.apps/words created\n")
    equal("no difference", k("diff", "-f", "-", stdin=DAEMON).returncode, 0)
    equal("image", k.out("set", "image", "ds/words", "web=nginx:1.10.0"), "daemonset.apps/words image updated\n")
    equal("env", k.out("set", "env", "ds/words", "A=1", "B=2"), "daemonset.apps/words env updated\n")
    k("set", "env", "ds/words", "B-")
    holds("env is listed", "A=1" in k.out("set", "env", "ds/words", "--list"))
    equal("resources", k.out("set", "resources", "ds/words", "--requests=memory=1Mi"), "daemonset.apps/words resource requirements updated\n")
    found = container(k)
    equal("the container", (found["image"], found["env"], found["resources"]), ("nginx:1.10.0", [{"name": "A", "value": "1"}], {"requests": {"memory": "1Mi"}}))
    p = k("diff", "-f", "-", stdin=DAEMON, check=False)
    equal("exit code of a difference", p.returncode, 1)
    holds("both sides are shown", re.search(r"(?m)^-.*image: nginx:1.10.0$", p.stdout) and re.search(r"(?m)^\+.*image: nginx:1.27$", p.stdout), p.stdout)
    equal("diff changes nothing", container(k)["image"], "nginx:1.10.0")
    if not own(k):
        equal("edit", editing(k, "sed -i s/nginx:1.10.0/nginx:1.27/"), "daemonset.apps/words edited\n")
        equal("edited", container(k)["image"], "nginx:1.27")
        holds("an edit without a change", "Edit cancelled, no changes made." in editing(k, "true"))
    equal("apply keeps what set added", apply_text(k, DAEMON).split()[0], "daemonset.apps/words")
    equal("env stays, as it is not in the file's history", container(k)["env"], [{"name": "A", "value": "1"}])


def rollouts(k):
    status = lambda: k.out("rollout", "status", "ds/words")
    history = lambda: [int(l.split()[0]) for l in k.out("rollout", "history", "ds/words").splitlines() if l[:1].isdigit()]
    holds("rolled out", 'daemon set "words" successfully rolled out' in status())
    ready_on(k, "app=words", NODES)
    before = history()
    uids = {p["metadata"]["uid"] for p in pods(k, "app=words")}
    equal("restart", k.out("rollout", "restart", "ds/words"), "daemonset.apps/words restarted\n")
    status()
    after = ready_on(k, "app=words", NODES)
    holds("a restart makes new pods", not uids & {p["metadata"]["uid"] for p in after})
    equal("and a revision", history(), before + [before[-1] + 1])
    shown = k.out("rollout", "history", "ds/words", f"--revision={before[-1]}")
    holds("a revision is shown", f"#{before[-1]}" in shown and "nginx:1.27" in shown, shown)
    equal("undo", k.out("rollout", "undo", "ds/words", f"--to-revision={before[-1]}"), "daemonset.apps/words rolled back\n")
    status()
    equal("what is undone is the newest", history(), before[:-1] + [before[-1] + 1, before[-1] + 2])
    if not own(k):
        p = k("rollout", "pause", "ds/words", check=False)
        holds("a DaemonSet can't be paused", p.returncode == 1 and "pausing is not supported" in p.stderr, p.stderr)


def replace_and_wait(k):
    uid = lambda: k.json("get", "ds", "words")["metadata"]["uid"]
    before = uid()
    equal("replace", k.out("replace", "-f", "-", stdin=DAEMON), "daemonset.apps/words replaced\n")
    equal("it is the same", uid(), before)
    holds("env is gone", "env" not in container(k))
    if not own(k):
        holds("replace by force", k.out("replace", "--force", "-f", "-", stdin=DAEMON).endswith("daemonset.apps/words replaced\n"))
        holds("it is another", uid() != before)
    # Without env it is another template: the pods of before are on their way out.
    k("rollout", "status", "ds/words")
    name = ready_on(k, "app=words", NODES)[0]["metadata"]["name"]
    equal("wait for a condition", k.out("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s"), f"pod/{name} condition met\n")
    if own(k) or since(k, 24):
        equal("wait for a field", k.out("wait", "--for=jsonpath={.status.numberReady}=3", "ds/words", "--timeout=60s"), "daemonset.apps/words condition met\n")
    p = k("wait", "--for=condition=Never", f"pod/{name}", "--timeout=1s", check=False)
    holds("a wait that is in vain ends", p.returncode == 1 and "timed out waiting for the condition" in p.stderr, p.stderr)
    uids = [p["metadata"]["uid"] for p in pods(k, "app=words")]
    k("delete", "ds", "words", "--wait=false")
    p = k("wait", "--for=delete", "pods", "-l", "app=words", "--timeout=90s", check=False)
    # Old ones call it a failure that the last pod is gone before they look.
    holds("wait for the end", p.returncode == 0 or "no matching resources found" in p.stderr, p.stderr)
    equal("none is left", pods(k, "app=words"), [])
    gone_from_the_machine(uids)


def questions(k):
    equal("may create", k.out("auth", "can-i", "create", "pods"), "yes\n")
    p = k("auth", "can-i", "create", "pods", "--as=nobody", check=False)
    equal("may not", (p.returncode, p.stdout), (1, "no\n"))
    holds("resources", re.search(r"(?m)^daemonsets +ds ", k.out("api-resources")))
    holds("versions", "apps/v1\n" in k.out("api-versions"))
    if own(k) or since(k, 23):
        holds("events", "TYPE" in k.out("events", "-A").splitlines()[0])
    if own(k):
        return
    holds("all that one may", re.search(r"(?m)^\*\.\* +\[\] +\[\] +\[\*\]$", k.out("auth", "can-i", "--list")))
    equal("a raw path", json.loads(k.out("get", "--raw", "/api/v1/namespaces/default"))["metadata"]["name"], "default")
    equal("a raw path that is not resources", k.out("get", "--raw", "/readyz"), "ok")
    holds("explain", "maxUnavailable" in k.out("explain", "daemonset.spec.updateStrategy.rollingUpdate"))
    k("create", "serviceaccount", "words")
    if since(k, 24):
        token = k.out("create", "token", "words").strip()
        with tempfile.TemporaryDirectory() as folder:
            who = k.out("auth", "whoami", "--token", token, "--kubeconfig", without_user(k, folder), "-o", "jsonpath={.status.userInfo.username}")
        equal("who has the token", who, "system:serviceaccount:default:words")
    k("delete", "serviceaccount", "words")


def without_user(k, folder):
    """A kubeconfig in `folder` with the cluster alone: a client certificate would go before a token."""
    path = os.path.join(folder, "bare")
    with open(path, "w") as f:
        f.write(k.out("config", "view", "--raw", "--minify"))
    bare = lambda *words: run(k.argv + ["config", "--kubeconfig", path, *words])
    bare("set-credentials", "nobody")
    bare("set-context", "--current", "--user=nobody")
    return path


def play(report, k):
    for step in (patches_of_every_type, server_side_apply_and_its_conflicts, set_and_edit_and_diff, rollouts, replace_and_wait, questions):
        if not report.case(f"{k.name}: {step.__name__.replace('_', ' ')}", step, k):
            k("delete", "ds,configmaps", "words", "--ignore-not-found", check=False)
