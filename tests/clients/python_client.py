#!/usr/bin/env python3
"""Kubernetes' Python client against a server process over TLS: watches, its informer, its dynamic client, conflicts,
server-side apply; and with a pod that runs, exec and logs. Runs in the environment that tests/install makes.

usage: python_client.py BINARY                   starts servers of its own; no root needed
       python_client.py --pod NAME KUBECONFIG    a pod whose container `web` has a shell and has logged a line"""
import logging, os, shutil, socket, subprocess, sys, tempfile, threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import Failed, Report, equal, holds, until
from kubernetes import client, config, dynamic, stream, watch
from kubernetes.client.rest import ApiException
from kubernetes.informer import ADDED, DELETED, ERROR, MODIFIED, SharedInformer


class Server:
    """A server as a process, which can be killed and started again in its place."""

    def __init__(self, binary):
        self.dir = tempfile.mkdtemp(prefix="everynode-clients-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.argv = [binary, "server", "--no-controllers", "--data-dir", self.dir, "--listen", f"127.0.0.1:{port}"]
        self.kubeconfig = os.path.join(self.dir, "admin.kubeconfig")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("a kubeconfig", lambda: os.path.exists(self.kubeconfig))
        until("the server is ready", self.ready)

    def ready(self):
        try:
            return self.core().read_namespace("default").metadata.uid
        except Exception as e:  # the connection is refused in one of many ways
            raise Failed(str(e))

    def api(self):
        return config.new_client_from_config(self.kubeconfig)

    def core(self):
        return client.CoreV1Api(self.api())

    def kill_and_restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"suite": "python"}), data=data)


def refused(code, reason, action):
    try:
        action()
    except ApiException as e:
        status = client.ApiClient().deserialize(e.body, "object", "application/json") if e.body else {}
        equal("refusal", (e.status, status.get("reason")), (code, reason))
        return status.get("message", "")
    raise Failed(f"not refused: {reason}")


def watches_begin_at_a_revision(binary):
    server = Server(binary)
    try:
        core = server.core()
        core.create_namespaced_config_map("default", config_map("a", n="1"))
        listed = core.list_namespaced_config_map("default", label_selector="suite=python")
        seen, done = [], threading.Event()

        def follow():
            w = watch.Watch()
            for event in w.stream(server.core().list_namespaced_config_map, "default", label_selector="suite=python",
                                  resource_version=listed.metadata.resource_version, timeout_seconds=60):
                seen.append((event["type"], event["object"].metadata.name, event["object"].metadata.resource_version))
                if event["type"] == "DELETED":
                    w.stop()
            done.set()

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        made = core.create_namespaced_config_map("default", config_map("b", n="1"))
        core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="unlabelled")))
        changed = core.patch_namespaced_config_map("b", "default", {"data": {"n": "2"}})
        core.delete_namespaced_config_map("b", "default")
        holds("the watch ends", done.wait(90), seen)
        equal("events", [e[:2] for e in seen], [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")])
        equal("revisions", [e[2] for e in seen[:2]], [made.metadata.resource_version, changed.metadata.resource_version])
        holds("in order", int(seen[1][2]) < int(seen[2][2]), seen)
        future = str(int(changed.metadata.resource_version) + 1_000_000)
        refused(504, "Timeout", lambda: core.list_namespaced_config_map("default", resource_version=future))
    finally:
        server.stop()


def an_informer_gets_through_a_killed_server(binary):
    server = Server(binary)
    try:
        core = server.core()
        for name in "abc":
            core.create_namespaced_config_map("default", config_map(name, n="1"))
        seen = []
        informer = SharedInformer(server.core().list_namespaced_config_map, namespace="default", label_selector="suite=python")
        for kind in (ADDED, MODIFIED, DELETED):
            informer.add_event_handler(kind, lambda o, kind=kind: seen.append((kind, o.metadata.name)))
        lost = threading.Event()
        informer.add_event_handler(ERROR, lambda _: lost.set())
        informer.start()
        keys = lambda: sorted(informer.cache.list_keys())
        until("it has listed", lambda: keys() == ["default/a", "default/b", "default/c"])
        core.patch_namespaced_config_map("a", "default", {"data": {"n": "2"}})
        until("it has seen a change", lambda: ("MODIFIED", "a") in seen)
        server.kill_and_restart()
        core = server.core()
        core.create_namespaced_config_map("default", config_map("d", n="1"))
        core.delete_namespaced_config_map("b", "default")
        until("it has caught up", lambda: keys() == ["default/a", "default/c", "default/d"])
        holds("it has lost its watch", lost.is_set())
        equal("each change once and in order", seen[3:], [("MODIFIED", "a"), ("ADDED", "d"), ("DELETED", "b")])
        informer.stop()
    finally:
        server.stop()


def stale_updates_conflict_and_are_retried(binary):
    server = Server(binary)
    try:
        stale = server.core().create_namespaced_config_map("default", config_map("counter", n="0"))

        def count_up():
            core = server.core()
            for _ in range(5):
                while True:
                    found = core.read_namespaced_config_map("counter", "default")
                    found.data["n"] = str(int(found.data["n"]) + 1)
                    try:
                        core.replace_namespaced_config_map("counter", "default", found)
                        break
                    except ApiException as e:
                        if e.status != 409:
                            raise

        counting = [threading.Thread(target=count_up) for _ in range(4)]
        for t in counting:
            t.start()
        for t in counting:
            t.join()
        equal("no count is lost", server.core().read_namespaced_config_map("counter", "default").data["n"], "20")
        message = refused(409, "Conflict", lambda: server.core().replace_namespaced_config_map("counter", "default", stale))
        equal("message", message, 'Operation cannot be fulfilled on configmaps "counter": the object has been modified; please apply '
                                  'your changes to the latest version and try again')
        missing = refused(404, "NotFound", lambda: server.core().read_namespaced_config_map("none", "default"))
        equal("message", missing, 'configmaps "none" not found')
        refused(409, "AlreadyExists", lambda: server.core().create_namespaced_config_map("default", config_map("counter")))
        refused(422, "Invalid", lambda: server.core().create_namespaced_config_map("default", config_map("No_Name")))
    finally:
        server.stop()


def applied(data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": "default"}, "data": data}


def the_dynamic_client_discovers_and_applies(binary):
    server = Server(binary)
    try:
        found = dynamic.DynamicClient(server.api())
        sets = found.resources.get(api_version="apps/v1", kind="DaemonSet")
        equal("discovered", (sets.name, sets.namespaced, "patch" in sets.verbs), ("daemonsets", True, True))
        pod = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
                "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": pod}}
        made = sets.create(body=body, namespace="default")
        equal("defaults", made.spec.updateStrategy.rollingUpdate.maxUnavailable, 1)
        for media, patch, image in (
                ("application/strategic-merge-patch+json", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}}, "i:2"),
                ("application/merge-patch+json", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:3"}]}}}}, "i:3"),
                ("application/json-patch+json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "i:4"}], "i:4")):
            patched = sets.patch(body=patch, name="d", namespace="default", content_type=media)
            equal(media, patched.spec.template.spec.containers[0].image, image)
        events = list(sets.watch(namespace="default", timeout=1))
        equal("a watch without a revision begins with what is there", [(e["type"], e["object"].metadata.name) for e in events], [("ADDED", "d")])
        sets.delete(name="d", namespace="default")

        maps = found.resources.get(api_version="v1", kind="ConfigMap")
        apply = lambda data, by, **more: maps.server_side_apply(body=applied(data), name="shared", namespace="default", field_manager=by, **more)
        first = apply({"a": "1", "b": "1"}, "one")
        again = apply({"a": "1", "b": "1"}, "one")
        equal("twice is once", again.metadata.resourceVersion, first.metadata.resourceVersion)
        message = refused(409, "Conflict", lambda: apply({"a": "2"}, "two"))
        equal("message", message, 'Apply failed with 1 conflict: conflict with "one": .data.a')
        equal("taken", apply({"a": "2"}, "two", force_conflicts=True).data.to_dict(), {"a": "2", "b": "1"})
        equal("what its last owner leaves out goes", apply({}, "one").data.to_dict(), {"a": "2"})
    finally:
        server.stop()


def commands_in_a_pod(kubeconfig, pod):
    core = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    run = lambda *command, **more: stream.stream(core.connect_get_namespaced_pod_exec, pod, "default", container="web", command=list(command),
                                                 stdout=True, stderr=True, tty=False, **more)
    equal("output", run("sh", "-c", "echo out", stdin=False), "out\n")
    session = run("sh", "-c", "read line; echo got $line; echo err >&2; exit 7", stdin=True, _preload_content=False)
    session.write_stdin("a line\n")
    session.run_forever(timeout=60)
    equal("a session", (session.read_stdout(), session.read_stderr(), session.returncode), ("got a line\n", "err\n", 7))
    try:
        stream.stream(core.connect_get_namespaced_pod_exec, "none", "default", command=["true"], stdout=True)
    except ApiException as e:
        holds("a pod that is not there", "404" in str(e) or "not found" in str(e), e)
    else:
        raise Failed("a command ran in no pod")


def logs_of_a_pod(kubeconfig, pod):
    core = client.CoreV1Api(config.new_client_from_config(kubeconfig))
    text = core.read_namespaced_pod_log(pod, "default", container="web")
    w = watch.Watch()
    for line in w.stream(core.read_namespaced_pod_log, pod, "default", container="web"):
        equal("the first line that is followed", line, text.splitlines()[0])
        w.stop()
    equal("one line", len(core.read_namespaced_pod_log(pod, "default", container="web", tail_lines=1).splitlines()), 1)


def main():
    logging.disable(logging.CRITICAL)  # the informer logs each lost connection with a trace
    report, args = Report(), sys.argv[1:]
    if args[0] == "--pod":
        cases, given = (commands_in_a_pod, logs_of_a_pod), (args[2], args[1])
    else:
        cases = (watches_begin_at_a_revision, an_informer_gets_through_a_killed_server, stale_updates_conflict_and_are_retried,
                 the_dynamic_client_discovers_and_applies)
        given = (os.path.abspath(args[0]),)
    for body in cases:
        report.case(f"python: {body.__name__.replace('_', ' ')}", body, *given)
    report.close()


if __name__ == "__main__":
    main()
