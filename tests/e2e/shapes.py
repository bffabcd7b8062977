"""Daemons as published projects write them (manifests/*.yaml), started on a node, and looked at from inside: their mounts, who they are,
what they may, what they know of themselves. What is expected is what Kubernetes makes of the same manifests."""
import base64, glob, json, os, re, socket, stat, subprocess, tempfile

import host
from chapter import apply_text, gone_from_the_machine, ready
from harness import ROOT, equal, holds, until

NODE = "node-1"
FOLDER = os.path.join(ROOT, "tests", "e2e", "manifests")
# CHOWN, DAC_OVERRIDE, FSETID, FOWNER, MKNOD, NET_RAW, SETGID, SETUID, SETFCAP, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, KILL, AUDIT_WRITE
USUAL = 0xA80425FB
NET_ADMIN, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, SYS_TIME = (1 << n for n in (12, 19, 21, 24, 25))


def start(k, name, folder):
    """The pod of a manifest, once it is ready."""
    with open(os.path.join(FOLDER, name + ".yaml")) as f:
        text = f.read().replace("FOLDER", folder)
    apply_text(k, text)
    of = re.search(r"kind: DaemonSet\nmetadata:[ \n]*(?:\{name: |name: )([a-z-]+)", text).group(1)
    space = "logging" if "namespace: logging" in text else "default"
    def fact():
        found = [p for p in k.json("get", "pods", "-n", space)["items"] if p["metadata"].get("generateName") == of + "-"]
        return found[0] if [p["spec"]["nodeName"] for p in found] == [NODE] and ready(found[0]) else None
    try:
        return until(f"the daemon of {name}.yaml is ready", fact)
    except Exception:
        print(k("describe", "pods", "-n", space, check=False).stdout[-3000:], flush=True)
        raise


class Inside:
    """One container of a pod, seen from inside."""

    def __init__(self, k, pod, container, number):
        self.k, self.pod, self.name = k, pod, container
        meta = pod["metadata"]
        self.at = [meta["name"], "-n", meta["namespace"], "-c", container]
        # Its first process, as the machine numbers it.
        lines = host.processes()
        self.pid = [p for p in host.in_pod(meta["uid"]) if lines.get(p, "").endswith(f"sleep {number}")][0]

    def __call__(self, script):
        return self.k.out("exec", *self.at, "--", "sh", "-c", script)

    def log(self):
        return self.k.out("logs", *self.at)

    def env(self):
        with open(f"/proc/{self.pid}/environ") as f:
            return dict(v.split("=", 1) for v in f.read().split("\0") if "=" in v)

    def status(self, *keys):
        with open(f"/proc/{self.pid}/status") as f:
            lines = dict(l.split(":", 1) for l in f)
        return [lines[k].split() for k in keys]

    def capabilities(self):
        return {kind: int(self.status(kind)[0][0], 16) for kind in ("CapEff", "CapBnd", "CapAmb")}

    def mounts(self):
        """{mount point: (options, propagation, type, options of the file system)} of what is on top."""
        with open(f"/proc/{self.pid}/mountinfo") as f:
            lines = [(own.split(), of_fs.split()) for own, of_fs in (l.split(" - ") for l in f)]
        # The order of lines says nothing: a mount may be older than the one it was put over.
        covered = {(own[1], own[4]) for own, _ in lines}
        return {own[4]: (own[5].split(","), sorted(w.split(":")[0] for w in own[6:]), of_fs[0], of_fs[2].split(","))
                for own, of_fs in lines if (own[0], own[4]) not in covered}

    def mount(self, path, readonly=False, propagation=()):
        own = self.mounts()
        holds(f"{self.name}: {path} is mounted", path in own, sorted(own))
        equal(f"{self.name}: {path} is read-only", "ro" in own[path][0], readonly)
        equal(f"{self.name}: propagation of {path}", own[path][1], sorted(propagation))

    def shares(self, kind, with_):
        return host.namespace(self.pid, kind) == host.namespace(with_, kind)

    def group(self, controller, *files):
        """The content of the first of these files (cgroup v2, then v1) in the container's control group."""
        for line in host.cgroups_of(self.pid).splitlines():
            _, names, path = line.split(":", 2)
            for root in ([f"/sys/fs/cgroup/{controller}"] if controller in names.split(",") else []) + ([] if names else ["/sys/fs/cgroup"]):
                for file in files:
                    if os.path.exists(root + path + "/" + file):
                        with open(root + path + "/" + file) as f:
                            return f.read().split()
        raise KeyError(f"no {files} of {controller}")

    def limits(self, cpu_milli, memory_bytes):
        quota = self.group("cpu", "cpu.max", "cpu.cfs_quota_us")[0]
        equal(f"{self.name}: quota", quota, str(cpu_milli * 100) if cpu_milli else quota if quota in ("max", "-1") else "none")
        memory = self.group("memory", "memory.max", "memory.limit_in_bytes")[0]
        equal(f"{self.name}: memory", memory, str(memory_bytes))

    def is_killed(self, score):
        """The score by which the kernel chooses whom to kill; none is lowered by who may not (CAP_SYS_RESOURCE)."""
        if score >= 0 or everything() & SYS_RESOURCE:
            with open(f"/proc/{self.pid}/oom_score_adj") as f:
                equal(f"{self.name}: oom_score_adj", int(f.read()), score)


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def everything():
    with open("/proc/self/status") as f:
        return int([l for l in f if l.startswith("CapBnd")][0].split()[1], 16)


def shared(path):
    """Whether the machine's mount there tells others of mounts below it: where systemd runs it does."""
    with open("/proc/self/mountinfo") as f:
        return any(" shared:" in l for l in f if l.split()[4] == path)


def agent(data_dir):
    """A process with the node's network: its agent."""
    return [p for p, l in host.processes().items() if " agent " in l and f"--node-name {NODE} " in l and data_dir in l][0]


def log_collector(k, folder, data_dir):
    pod = start(k, "log-collector", folder)
    c, status = Inside(k, pod, "collector", 4001), pod["status"]
    equal("what its command was expanded to", c.log(), f"{NODE} http://elastic@{status['hostIP']}:9200 $(NOT_KNOWN) $(NODE_NAME)\n")
    env = c.env()
    want = {"NODE_NAME": NODE, "POD_NAME": pod["metadata"]["name"], "POD_NAMESPACE": "logging", "POD_UID": pod["metadata"]["uid"],
            "POD_IP": status["podIP"], "HOST_IP": status["hostIP"], "ACCOUNT": "collector", "APP": "collector", "PORT": "2020",
            "MEMORY_MIB": "96", "CPUS": "1", "CPU_MILLI": "100", "OUTPUT_USER": "elastic", "OUTPUT_PASSWORD": "pa$$word",
            "HOSTNAME": pod["metadata"]["name"]}
    equal("environment", {n: env.get(n) for n in want}, want)
    holds("an optional reference to nothing sets nothing", "MAYBE" not in env, env)
    holds("the API server is named", env["KUBERNETES_SERVICE_HOST"] and env["KUBERNETES_SERVICE_PORT"].isdigit(), env)
    c.mount("/var/log", readonly=True)
    c.mount("/fluentd/pos")
    c.mount("/etc/collector/collector.conf", readonly=True)
    c.mount("/var/run/secrets/kubernetes.io/serviceaccount", readonly=True)
    holds("the node's logs", f"logging_{pod['metadata']['name']}" in c("ls /var/log/pods"))
    refused = k("exec", *c.at, "--", "touch", "/var/log/mine", check=False)
    holds("writing to them", "Read-only file system" in refused.stderr, refused.stdout, refused.stderr)
    c("echo 17 > /fluentd/pos/position")
    with open(f"{folder}/positions/logging-{NODE}/position") as f:
        equal("its position, on the node", f.read(), "17\n")
    equal("its configuration", c("cat /etc/collector/collector.conf"), "[INPUT]\n    Path /var/log/containers/*.log\n")
    token = claims(c("cat /var/run/secrets/kubernetes.io/serviceaccount/token"))
    equal("whose token", token["sub"], "system:serviceaccount:logging:collector")
    equal("bound to", token["kubernetes.io"]["pod"]["uid"], pod["metadata"]["uid"])
    equal("namespace of the token", c("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"), "logging")
    equal("capabilities", c.capabilities(), {"CapEff": USUAL, "CapBnd": USUAL, "CapAmb": 0})
    c.limits(500, 96 << 20)
    c.is_killed(-997)
    holds("seccomp, user, privileges", c.status("Uid", "NoNewPrivs")[1] == ["0"] and c.status("Uid")[0] == ["0"] * 4, c.status("Uid", "NoNewPrivs"))
    for path in ("/proc/kcore", "/proc/keys"):
        holds(f"{path} is masked", path in c.mounts() or not os.path.exists(path), sorted(c.mounts()))
    for path in ("/proc/sys", "/proc/sysrq-trigger"):
        holds(f"{path} is read-only", not os.path.exists(path) or "ro" in c.mounts()[path][0])
    holds("/sys is read-only", "ro" in c.mounts()["/sys"][0])


def node_exporter(k, folder, data_dir):
    pod = start(k, "node-exporter", folder)
    c, proxy = Inside(k, pod, "exporter", 4002), Inside(k, pod, "proxy", 4003)
    here = agent(data_dir)
    for x in (c, proxy):
        holds(f"{x.name}: the node's network and processes", x.shares("net", here) and x.shares("pid", "self"))
        holds(f"{x.name}: mounts and IPC of its own", not x.shares("mnt", "self") and not x.shares("ipc", "self"))
        equal(f"{x.name}: no new privileges", x.status("NoNewPrivs"), [["1"]])
        holds(f"{x.name}: root is read-only", "ro" in x.mounts()["/"][0])
        holds(f"{x.name}: no token", not [m for m in x.mounts() if "serviceaccount" in m])
    equal("user and groups", c.status("Uid", "Gid"), [["65534"] * 4, ["65534"] * 4])
    equal("user and groups of the proxy", proxy.status("Uid", "Gid"), [["65532"] * 4, ["65532"] * 4])
    # Who is not root has what was added only in its bounding set.
    equal("capabilities", c.capabilities(), {"CapEff": 0, "CapBnd": SYS_TIME, "CapAmb": 0})
    equal("capabilities of the proxy", proxy.capabilities(), {"CapEff": 0, "CapBnd": 0, "CapAmb": 0})
    for inside, outside in (("/host/sys", "/sys"), ("/host/root", "/")):
        c.mount(inside, readonly=True, propagation=["master"] if shared(outside) else [])
    with open(f"/proc/{here}/comm") as f:
        equal("the node's processes", c(f"cat /host/root/proc/{here}/comm /proc/{here}/comm"), f.read() * 2)
    refused = k("exec", *c.at, "--", "touch", "/x", check=False)
    holds("writing to its root", "Read-only file system" in refused.stderr, refused.stderr)
    equal("its address is the node's", (proxy.env()["IP"], pod["status"]["podIP"]), (pod["status"]["hostIP"],) * 2)
    # A mount that the node makes later is seen.
    os.makedirs(f"{folder}/later", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "later", f"{folder}/later"], check=True)
    try:
        with open(f"{folder}/later/seen", "w"):
            pass
        equal("a later mount of the node", c(f"ls /host/root{folder}/later"), "seen\n")
    finally:
        subprocess.run(["umount", f"{folder}/later"], check=True)
    c.limits(250, 180 << 20)


def network_plugin(k, folder, data_dir):
    pod = start(k, "network-plugin", folder)
    c = Inside(k, pod, "agent", 4004)
    env = c.env()
    want = {"PLUGIN_cluster-name": "default", "PLUGIN_tunnel-protocol": "vxlan", "PLUGIN_bpf-map-dynamic-size-ratio": "0.0025", "PLUGIN_enable.dots": "yes",
            "K8S_NODE_NAME": NODE}
    equal("environment of a ConfigMap", {n: env.get(n) for n in want}, want)
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) * 1024
    equal("a limit that is not set is the node's", env["GOMEMLIMIT"], str(memory))
    with open(f"{folder}/cni-bin/plugin", "rb") as f:
        equal("what the init container installed", f.read(4), b"\x7fELF")
    holds("it may be run", os.stat(f"{folder}/cni-bin/plugin").st_mode & stat.S_IXOTH)
    holds("what an init container mounted is on the node", f"{folder}/shared/fs" in host.mounts(folder))
    holds("and in the container", c("ls /mnt/shared/fs") == "mounted\n")
    c.mount("/mnt/shared", propagation=["master"])
    c.mount("/lib/modules", readonly=True)
    c.mount("/tmp/plugin/config-map", readonly=True)
    c.mount("/run/xtables.lock")
    holds("a lock file", stat.S_ISREG(os.stat(f"{folder}/xtables.lock").st_mode))
    equal("privileged", c.capabilities(), {"CapEff": everything(), "CapBnd": everything(), "CapAmb": 0})
    holds("/sys and /proc/sys can be written", "rw" in c.mounts()["/sys"][0] and "/proc/sys" not in c.mounts())
    holds("the machine's devices", c("ls /dev/kmsg /dev/loop-control 2>/dev/null; ls /dev | busybox wc -l"))
    equal("devices", c("test -c /dev/kmsg && echo there"), "there\n" if os.path.exists("/dev/kmsg") else "")
    holds("the node's network", c.shares("net", agent(data_dir)) and not c.shares("pid", "self"))
    holds("hook after the start", os.path.exists(f"{folder}/run/post-started"))
    with open("/etc/resolv.conf") as f:
        equal("no cluster DNS: the node's resolver", c("cat /etc/resolv.conf"), f.read())
    k("delete", "daemonset", "plugin")
    until("hook before the stop", lambda: os.path.exists(f"{folder}/run/pre-stopped") and not os.path.exists(f"{folder}/run/post-started"))
    holds("a mount of a daemon that went stays", f"{folder}/shared/fs" in host.mounts(folder))
    subprocess.run(["umount", f"{folder}/shared/fs"], check=True)


def storage_driver(k, folder, data_dir):
    os.makedirs(f"{folder}/shared-dir")
    pod = start(k, "storage-driver", folder)
    registrar, driver, reader = Inside(k, pod, "registrar", 4005), Inside(k, pod, "driver", 4006), Inside(k, pod, "reader", 4007)
    equal("arguments are expanded", registrar.log(), "--csi-address=/csi/csi.sock\n")
    driver.mount("/pods", propagation=["shared"])
    reader.mount("/pods", propagation=["master"])
    reader.mount("/private")
    holds("what the driver mounted is on the node", f"{folder}/pods/vol" in host.mounts(folder))
    until("and with who reads, later ones too", lambda: "/pods/vol" in reader.mounts())
    holds("not where nobody asked for it, later", reader("ls -d /private/vol") == "/private/vol\n")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f"{folder}/plugins/csi.sock")
    equal("a socket of the node", [x("test -S /csi/csi.sock && echo yes") for x in (registrar, driver)], ["yes\n"] * 2)
    holds("the machine's /dev", driver.mounts()["/dev"][2] == "devtmpfs" or driver("test -c /dev/kmsg && echo yes") == "yes\n", driver.mounts()["/dev"])
    equal("capabilities beside it", reader.capabilities()["CapEff"], USUAL)
    k("delete", "daemonset", "driver")
    gone_from_the_machine([pod["metadata"]["uid"]])
    subprocess.run(["umount", f"{folder}/pods/vol"], check=True)


def runtime_security(k, folder, data_dir):
    pod = start(k, "runtime-security", folder)
    c, plain = Inside(k, pod, "watcher", 4008), Inside(k, pod, "plain", 4009)
    want = (SYS_ADMIN | SYS_RESOURCE | SYS_PTRACE | NET_ADMIN) & everything()
    equal("capabilities", c.capabilities(), {"CapEff": want, "CapBnd": want, "CapAmb": 0})
    holds("the node's processes and IPC", c.shares("pid", "self") and c.shares("ipc", "self") and not c.shares("net", "self"))
    c.mount("/host/proc", readonly=True)
    c.mount("/etc/machine-id", readonly=True)
    c.mount("/sys/kernel/debug")
    equal("process 1 of the machine", c("cat /host/proc/1/comm"), open("/proc/1/comm").read())
    equal("the other container", (plain.capabilities()["CapEff"], plain.shares("pid", "self")), (USUAL, True))
    c.is_killed(1000)


def kernel_tuner(k, folder, data_dir):
    pod = start(k, "kernel-tuner", folder)
    c, side = Inside(k, pod, "tuner", 4011), Inside(k, pod, "sidecar", 4010)
    equal("user and group", c.status("Uid", "Gid"), [["1000"] * 4, ["3000"] * 4])
    equal("groups", sorted(c.status("Groups")[0], key=int), ["2000", "3000", "4000", "5000"])
    for name, value in (("net/ipv4/ip_unprivileged_port_start", "80"), ("kernel/shm_rmid_forced", "1"), ("net/ipv4/ping_group_range", "0 3000"),
                        ("net/ipv4/conf/all/log_martians", "1")):
        equal(name, " ".join(c(f"cat /proc/sys/{name}").split()), value)
    equal("name", c("hostname"), "tuner\n")
    lines = [l.split() for l in c("cat /etc/hosts").splitlines()]
    holds("hosts", [pod["status"]["podIP"], "tuner.tuners.default.svc.cluster.local", "tuner"] in lines and ["192.0.2.7", "registry.local", "cache.local"] in lines, lines)
    equal("resolver", sorted(c("cat /etc/resolv.conf").splitlines()), ["nameserver 192.0.2.53", "options ndots:2 edns0", "search example.org corp.example.org"])
    holds("processes are shared", c.shares("pid", side.pid) and "sleep 4010" in c("ps"), c("ps"))
    equal("directory and owner", c("pwd; stat -c %u:%g made-here; stat -c %g /cache; cat init-ran-as"), "/cache\n1000:2000\n2000\n0\n")
    holds("the set group bit", c("stat -c %a /cache").strip() in ("2777", "2775"), c("stat -c %a /cache"))
    shm = c.mounts()["/dev/shm"]
    holds("memory for files", shm[2] == "tmpfs" and "size=16384k" in shm[3], shm)
    equal("no links to services", [n for n in c.env() if n.endswith("_PORT_443_TCP")], [])
    c.limits(100, 64 << 20)


def device_plugin(k, folder, data_dir):
    pod = start(k, "device-plugin", folder)
    c = Inside(k, pod, "device", 4012)
    equal("capabilities", c.capabilities(), {"CapEff": 0, "CapBnd": 0, "CapAmb": 0})
    equal("no new privileges", c.status("NoNewPrivs"), [["1"]])
    c.is_killed(-997)
    token = claims(c("cat /etc/device/token"))
    equal("the token's audience and life", (token["aud"], token["exp"] - token["iat"]), (["vault"], 7200))
    holds("the authority", "BEGIN CERTIFICATE" in c("cat /etc/device/ca.crt"))
    equal("projected", c("cd /etc/device; cat tls/crt namespace memory"), "certdefault40")
    labels = dict(l.split("=", 1) for l in c("cat /etc/device/labels").splitlines())
    equal("labels", (labels["name"], labels["tier"]), ('"device"', '"a-b"'))
    equal("annotations", [l for l in c("cat /etc/device/annotations").splitlines() if l.startswith("note=")], ['note="two\\nlines"'])
    equal("rights", c("cd /tls; stat -L -c %a tls.crt tls.key; cd /config; stat -L -c %a deep/down/config.json blob; stat -L -c %a /etc/device/ca.crt"),
          "400\n400\n440\n644\n444\n")
    equal("binary data", c("cat /config/blob | busybox od -An -tx1").split(), ["00", "01", "02", "ff"])
    equal("what was not named", c("ls /config").split(), ["blob", "deep"])
    # Files that the node writes are only read, whatever the mount says; another volume has its place in one of them.
    for path in ("/etc/device", "/config", "/tls", "/etc/device/more/below"):
        c.mount(path, readonly=True)
    equal("a volume in a volume", c("cat /etc/device/more/below/extra"), "x")
    c.limits(50, 40 << 20)


BODIES = (log_collector, node_exporter, network_plugin, storage_driver, runtime_security, kernel_tuner, device_plugin)
NAMES = [body.__name__.replace("_", "-") for body in BODIES]


def play(report, k, folder, data_dir, wanted=lambda name: True, on="", skipped={}):
    base = tempfile.mkdtemp(prefix="shapes-", dir=folder)
    os.chmod(folder, 0o755)  # whoever a container runs as may look below
    # What propagates is a mount of its own, as the root directory of a machine is.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "shapes", base], check=True)
    subprocess.run(["mount", "--make-shared", base], check=True)
    try:
        for name, body in zip(NAMES, BODIES):
            if name in skipped:
                report.skip(f"{on}manifests: {name}", skipped[name])
            elif wanted(f"manifests: {name}"):
                report.case(f"{on}manifests: {name}", body, k, base, data_dir)
        with_all = ["daemonsets,pods", "--all", "--grace-period=1"]
        k("delete", *with_all, check=False)
        k("delete", "namespace", "logging", check=False)
        k("delete", "configmap", "plugin-config", "device-config", check=False)
        k("delete", "secret", "device-tls", check=False)
        until("no pods", lambda: not k.json("get", "pods", "-A")["items"])
    finally:
        subprocess.run(["umount", "-R", base], capture_output=True)
        equal("mounts", glob.glob(base + "/*"), [])
