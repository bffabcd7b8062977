"""Exec, attach, cp and port-forward, with every kubectl and our own CLI; and what a client that is killed leaves."""
import fcntl, os, pty, select, signal, socket, struct, subprocess, termios, time

from chapter import apply_text, gone_from_the_machine, ready_on
from harness import Failed, equal, holds, run, until

POD = """
apiVersion: v1
kind: Pod
metadata: {name: streams, labels: {app: streams}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: "nginx:1.27"}
  - {name: shell, image: "nginx:1.27", command: [sh], stdin: true, tty: true}
  - name: plain
    image: "nginx:1.27"
    command: [sh, -c, "sleep 3600"]
    securityContext: {runAsUser: 65534, runAsGroup: 65534}
"""


def env_of(k):
    return dict(os.environ, KUBECONFIG=k.kubeconfig, HOME=os.path.dirname(k.kubeconfig) + "-home")


class Terminal:
    """A client on a terminal of 100 x 30."""

    def __init__(self, k, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(k.argv[0], k.argv + list(words), env_of(k))
        self.seen = b""
        self.resize(30, 100)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self):
        if select.select([self.fd], [], [], 0.1)[0]:
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:  # the other side has closed it
                pass
        return self.seen

    def shows(self, text):
        until(f"the terminal shows {text!r}", lambda: text.encode() in self.read())

    def ended(self):
        def fact():
            self.read()
            return os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(until("the client ends", lambda: (lambda got: got if got[0] else None)(fact()))[1])


def commands_end_with_their_own_code(k):
    p = k("exec", "streams", "-c", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    equal("exit code", p.returncode, 7)
    equal("output", p.stdout, "out\n")
    equal("errors", p.stderr, "err\ncommand terminated with exit code 7\n")
    p = k("exec", "-i", "streams", "-c", "web", "--", "sh", "-c", "cat; echo end", stdin="one\ntwo\n")
    equal("input and its end", p.stdout, "one\ntwo\nend\n")
    p = k("exec", "streams", "-c", "plain", "--", "sh", "-c", "echo ok > /dev/stderr", check=False)
    equal("a user without rights opens its own output", (p.returncode, p.stderr), (0, "ok\n"))
    count = len(k.out("exec", "streams", "-c", "web", "--", "sh", "-c", "dd if=/dev/zero bs=1000 count=20000 2>/dev/null"))
    equal("all of a large output", count, 20_000_000)


def refusals(k):
    for words, want in ((["streams", "-c", "web", "--", "nope"], 'exec: "nope": executable file not found in $PATH'),
                        (["streams", "-c", "none", "--", "true"], "container none is not valid for pod streams"),
                        (["none", "--", "true"], 'pods "none" not found')):
        p = k("exec", *words, check=False)
        holds(f"exec {words}", p.returncode == 1 and want in p.stderr, p.returncode, p.stderr)


def terminals(k):
    t = Terminal(k, "exec", "-it", "streams", "-c", "web", "--", "sh")
    t.shows("# ")
    t.type("busybox stty size; echo $TERM\n")
    t.shows("30 100")
    t.shows("xterm")
    t.resize(40, 120)
    def resized():
        t.type("busybox stty size\n")
        time.sleep(0.2)
        return b"40 120" in t.read()
    until("the new size has arrived", resized)
    t.type("exit 5\n")
    equal("exit code", t.ended(), 5)
    # The container's own program, which goes on when the client is killed.
    for _ in range(2):
        t = Terminal(k, "attach", "-it", "streams", "-c", "shell")
        def answers():
            t.type("echo HE''RE\n")
            time.sleep(0.2)
            return b"HERE" in t.read()
        until("the container's shell answers", answers)
        os.kill(t.pid, signal.SIGKILL)
        t.ended()


def copies(k, folder):
    there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
    with open(there, "wb") as f:
        f.write(os.urandom(5_000_000))
    k("cp", there, "streams:/tmp/copy", "-c", "web")
    k("cp", "streams:/tmp/copy", back, "-c", "web")
    with open(there, "rb") as a, open(back, "rb") as b:
        holds("the copy of the copy is the same", a.read() == b.read())


    # A directory goes whole, and a destination that is a directory takes it by its name.
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "sub"), exist_ok=True)
    with open(os.path.join(tree, "sub", "file"), "w") as f:
        f.write("deep")
    k("cp", tree, "default/streams:/tmp", "-c", "web")
    equal("there", k.out("exec", "streams", "-c", "web", "--", "cat", "/tmp/tree/sub/file"), "deep")
    k("cp", "streams:/tmp/tree", tree + "-back", "-c", "web")
    with open(os.path.join(tree + "-back", "sub", "file")) as f:
        equal("and back", f.read(), "deep")


def logs_of_a_node(k):
    equal("its pod", k.out("logs", "-l", "app=streams", "-c", "web", "--node", "node-1").splitlines()[0], "nginx 1.27 listens")
    p = k("logs", "pod/streams", "-c", "web", "--node", "node-2", check=False)
    equal("another node has none", (p.returncode, p.stderr), (1, 'error: no pod of pod/streams is on node "node-2"\n'))


def page(port):
    return run(["curl", "-sS", "--max-time", "20", f"http://127.0.0.1:{port}/index.html"], check=False).stdout


def ports(k):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = subprocess.Popen(k.argv + ["port-forward", "pod/streams", f"{port}:80"], env=env_of(k), stdout=subprocess.PIPE, text=True)
    try:
        holds("it says where it listens", f"Forwarding from 127.0.0.1:{port} -> 80" in client.stdout.readline())
        for _ in range(3):
            equal("a page", page(port), "nginx 1.27\n")
        curls = [subprocess.Popen(["curl", "-sS", "--max-time", "20", f"http://127.0.0.1:{port}/index.html"], stdout=subprocess.PIPE, text=True)
                 for _ in range(10)]
        equal("pages at once", {c.communicate()[0] for c in curls}, {"nginx 1.27\n"})
    finally:
        client.terminate()
        client.wait()
        client.stdout.close()


def proxies(k):
    """Through the API server and the node's agent to the pod, and to the agent itself."""
    raw = lambda path, check=True: k("get", "--raw", path, check=check)
    for form in ("streams:80", "http:streams:80", "streams"):
        equal(form, raw(f"/api/v1/namespaces/default/pods/{form}/proxy/index.html").stdout, "nginx 1.27\n")
    equal("the agent", raw("/api/v1/nodes/node-1/proxy/healthz").stdout, "ok")
    refused = raw("/api/v1/namespaces/default/pods/streams:81/proxy/", check=False)
    equal("a port that nobody listens on", refused.returncode, 1)
    holds("says so", "refused" in refused.stderr, refused.stderr)


def a_killed_client_is_noticed(k):
    """As with a kubelet: what it ran sees its input end, and goes on if it likes."""
    k("exec", "streams", "-c", "web", "--", "rm", "-f", "/tmp/begun", "/tmp/ended")
    script = "touch /tmp/begun; cat; touch /tmp/ended; sleep 1000"
    client = subprocess.Popen(k.argv + ["exec", "-i", "streams", "-c", "web", "--", "sh", "-c", script], env=env_of(k),
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    there = lambda file: k("exec", "streams", "-c", "web", "--", "ls", file, check=False).returncode == 0
    until("it has begun", lambda: there("/tmp/begun"))
    client.kill()
    client.wait()
    client.stdin.close()
    until("its input has ended", lambda: there("/tmp/ended"))


def play(report, k, folder):
    """All of it with one client; the pod is made and removed."""
    def begin():
        apply_text(k, POD)
        ready_on(k, "app=streams", ["node-1"])
    if not report.case(f"{k.name}: a pod for streams", begin):
        return
    for body in (commands_end_with_their_own_code, refusals, terminals, ports, a_killed_client_is_noticed):
        report.case(f"{k.name}: {body.__name__.replace('_', ' ')}", body, k)
    report.case(f"{k.name}: proxies", proxies, k)
    report.case(f"{k.name}: copies", copies, k, folder)
    if k.name == "own CLI":
        report.case(f"{k.name}: logs of a node", logs_of_a_node, k)
    def end():
        uids = [p["metadata"]["uid"] for p in k.json("get", "pods", "-l", "app=streams")["items"]]
        k("delete", "pod", "streams")
        gone_from_the_machine(uids)
    report.case(f"{k.name}: the pod for streams goes", end)
