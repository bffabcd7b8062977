"""The machine's side: processes, namespaces, cgroups, mounts and files that the pods should (or should no longer) have."""
import glob, os, re


def processes():
    """{pid: command line} of all processes that have one."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if line:
            found[int(path.split("/")[2])] = line
    return found


def cgroups_of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return f.read()


def in_pod(uid):
    """Processes whose cgroup names the pod."""
    found = []
    for pid in processes():
        try:
            if "pod" + uid in cgroups_of(pid):
                found.append(pid)
        except OSError:
            continue
    return sorted(found)


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def start_ticks(pid):
    """When the process started, in clock ticks since boot: tells a process from a later one with its number."""
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[19])


def cgroup_dirs(pattern):
    found = []
    for root in glob.glob("/sys/fs/cgroup/*") + ["/sys/fs/cgroup"]:
        found += glob.glob(f"{root}/{pattern}")
    return found


def mounts(part):
    with open("/proc/self/mounts") as f:
        return [line.split()[1] for line in f if part in line.split()[1]]


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
