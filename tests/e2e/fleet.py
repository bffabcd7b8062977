"""A fleet on one machine that is as far apart as machines are: each has a network namespace with an address and a name of its own,
and cables that can be pulled, that lose frames and that are long. Agents join by token and HTTPS; nothing else is shared but
the kernel."""
import fcntl, hashlib, heapq, os, random, select, signal, struct, subprocess, threading, time

import host
from harness import Client, holds, run, until

SERVER_IP, ROUTER_IP, NETWORK = "10.77.0.1", "10.77.0.50", "10.77.0.0/24"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
FRAME_MAX = 65536
# What drops all that comes and goes by the machine's link, and says so to nobody; its pods reach each other.
DROP = """table inet cut {
  chain in { type filter hook prerouting priority -400; iifname "eth0" drop; }
  chain out { type filter hook postrouting priority -400; oifname "eth0" drop; }
}"""
# A router at home: out with its own address, in with nothing but answers.
NAT = """table inet nat {
  chain post { type nat hook postrouting priority 100; oifname "wan" masquerade; }
  chain pass { type filter hook forward priority 0; policy drop; iifname "lan" accept; ct state established,related accept; }
}"""


class Cable:
    """An Ethernet cable between two namespaces, carried frame by frame: kernels without netem have no other long one."""

    def __init__(self, tag, ends, seed=1):
        self.delay, self.loss, self.down = 0.0, 0.0, False
        self.chance, self.waiting, self.order = random.Random(seed), [], 0
        self.files = [self.tap(f"{tag}{i}", *end) for i, end in enumerate(ends)]
        self.stop_read, self.stop_write = os.pipe()
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    @staticmethod
    def tap(name, namespace, inside):
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
        run(["ip", "link", "set", name, "netns", namespace, "name", inside])
        return file

    def carry(self):
        other = dict(zip(self.files, reversed(self.files)))
        while True:
            wait = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            ready = select.select([*self.files, self.stop_read], [], [], wait)[0]
            if self.stop_read in ready:
                return
            for file in ready:
                try:
                    frame = os.read(file, FRAME_MAX)
                except OSError:  # the link is not up yet, or its namespace is gone
                    time.sleep(0.01)
                    continue
                if not self.down and self.chance.random() >= self.loss:
                    self.order += 1
                    heapq.heappush(self.waiting, (time.monotonic() + self.delay, self.order, other[file], frame))
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                _, _, file, frame = heapq.heappop(self.waiting)
                try:
                    os.write(file, frame)
                except OSError:
                    pass

    def close(self):
        os.write(self.stop_write, b"x")
        self.thread.join(10)
        for file in [*self.files, self.stop_read, self.stop_write]:
            os.close(file)


class Fleet:
    """Namespaces, the processes in them, and their end. Machines are m-1, m-2, m-3: the first on a cable of the kernel, the second on
    one of ours if the machine has /dev/net/tun, the third behind a router that translates addresses."""
    MACHINES = ["m-1", "m-2", "m-3"]

    def __init__(self, everynode, folder, archives, grace="15s"):
        self.everynode, self.folder, self.grace = {"server": everynode}, folder, grace
        self.everynode.update({m: everynode for m in self.MACHINES})
        self.tag, self.spaces, self.running, self.cable, self.token = f"ev{os.getpid()}", [], {}, None, None
        self.port = 6443
        self.kubeconfig = os.path.join(self.data("server"), "admin.kubeconfig")
        try:
            self.wire_up()
            for machine in self.MACHINES:
                for archive in archives:
                    run([everynode, "image", "load", archive, "--data-dir", self.data(machine)])
        except Exception:
            self.close()
            raise

    def data(self, machine):
        return os.path.join(self.folder, machine)

    def space(self, name):
        return f"{self.tag}-{name}"

    def group(self, machine):
        return "everynode-" + hashlib.sha256(self.data(machine).encode()).hexdigest()[:8]

    def ip(self, name, *words, check=True):
        return run(["ip", "-n", self.space(name), *words], check=check)

    def inside(self, name):
        """What a command begins with so that it runs on that machine."""
        return ["nsenter", f"--net=/run/netns/{self.space(name)}"]

    def nft(self, name, rules):
        run([*self.inside(name), "nft", "-f", "-"], stdin=rules)

    def add_space(self, name):
        run(["ip", "netns", "add", self.space(name)])
        self.spaces.append(name)
        self.ip(name, "link", "set", "lo", "up")

    def plug(self, name, address, link="eth0", gateway=None):
        self.ip(name, "addr", "add", address, "dev", link)
        self.ip(name, "link", "set", link, "up")
        if gateway:
            self.ip(name, "route", "add", "default", "via", gateway)

    def wire_up(self):
        for name in ("switch", "server", "router", *self.MACHINES):
            self.add_space(name)
        self.ip("switch", "link", "add", "br0", "type", "bridge")
        self.ip("switch", "link", "set", "br0", "up")
        if os.path.exists("/dev/net/tun"):
            self.cable = Cable(self.tag, [(self.space("switch"), "m-2"), (self.space("m-2"), "eth0")])
        for name, port, link in (("server", "server", "eth0"), ("m-1", "m-1", "eth0"), ("m-2", "m-2", "eth0"), ("router", "router", "wan")):
            if name != "m-2" or not self.cable:
                self.ip("switch", "link", "add", port, "type", "veth", "peer", "name", link, "netns", self.space(name))
            self.ip("switch", "link", "set", port, "master", "br0", "up")
        self.plug("server", f"{SERVER_IP}/24")
        self.plug("m-1", "10.77.0.11/24", gateway=ROUTER_IP)
        self.plug("m-2", "10.77.0.12/24", gateway=ROUTER_IP)
        self.plug("router", f"{ROUTER_IP}/24", link="wan")
        self.ip("router", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", self.space("m-3"))
        self.plug("router", "192.168.77.1/24", link="lan")
        self.plug("m-3", "192.168.77.2/24", gateway="192.168.77.1")
        run([*self.inside("router"), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        self.nft("router", NAT)

    # Cuts, by the way each machine is connected.

    def cut(self, machine):
        if machine == "m-1":
            self.ip("switch", "link", "set", "m-1", "down")
        elif machine == "m-2" and self.cable:
            self.cable.down = True
        else:
            self.nft(machine, DROP)

    def heal(self, machine):
        if machine == "m-1":
            self.ip("switch", "link", "set", "m-1", "up")
        elif machine == "m-2" and self.cable:
            self.cable.down = False
        else:
            self.nft(machine, "delete table inet cut")

    # Processes.

    def start(self, name):
        if name == "server":
            words = ["server", "--listen", f"0.0.0.0:{self.port}", "--tls-san", SERVER_IP, "--node-monitor-grace-period", self.grace]
        else:
            words = ["agent", "--node-name", name, "--server", f"https://{SERVER_IP}:{self.port}", "--pod-cidr", f"10.43.{name[-1]}.0/24",
                     "--token", self.token]
        log = open(os.path.join(self.folder, name + ".log"), "a")
        argv = [*self.inside(name), self.everynode[name], words[0], "--data-dir", self.data(name), *words[1:]]
        self.running[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def kill(self, name, how=signal.SIGKILL):
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(30)

    def client(self):
        return Client("own CLI", [*self.inside("server"), self.everynode["server"]], self.kubeconfig)

    def begin(self):
        """The server, and all machines joined by one token."""
        self.start("server")
        k = self.client()
        until("the server is ready", lambda: os.path.exists(self.kubeconfig) and k.out("get", "--raw", "/readyz") == "ok")
        made = run([*self.inside("server"), self.everynode["server"], "token", "create", "--data-dir", self.data("server")])
        self.token = made.stdout.strip()
        holds("the token", self.token.count(".") == 2, made.stdout)
        for machine in self.MACHINES:
            self.start(machine)
        until("all machines are ready", lambda: all(self.ready(k, m) == "True" for m in self.MACHINES))
        return k

    @staticmethod
    def ready(k, machine):
        return k.out("get", "node", machine, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}")

    def log(self, name):
        path = os.path.join(self.folder, name + ".log")
        return open(path).read() if os.path.exists(path) else ""

    def close(self):
        for name in list(self.running):
            self.kill(name)
        for machine in self.MACHINES:
            if machine in self.spaces:
                subprocess.run([*self.inside(machine), self.everynode["server"], "uninstall", "--data-dir", self.data(machine)], capture_output=True)
        for name in self.spaces:
            subprocess.run(["ip", "netns", "del", self.space(name)], capture_output=True)
        if self.cable:
            self.cable.close()


def containers(pods):
    """By pod, all processes that its containers began with, and when: the same again means that nothing was restarted."""
    found = {}
    for pod in pods:
        meta = pod["metadata"]
        pids = [pid for pid in host.in_pod(meta["uid"])]
        first = [(pid, host.start_ticks(pid)) for pid in pids if container_of(pid)]
        found[meta["name"]] = min(first, key=lambda p: (p[1], p[0])) if first else None
    return found


def container_of(pid):
    """True for what runs in a container: it is process 1 of a namespace of its own."""
    try:
        with open(f"/proc/{pid}/status") as f:
            spaces = [l for l in f if l.startswith("NSpid:")][0].split()[1:]
        return len(spaces) > 1 and spaces[-1] == "1"
    except (OSError, IndexError):
        return False
