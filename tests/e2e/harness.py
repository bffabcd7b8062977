"""Running commands and waiting for facts. No check here depends on how fast the machine is: waits are bounds, not goals."""
import json, os, subprocess, sys, time, traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WAIT_SECONDS = 90  # far above what any step takes on a slow machine; only a broken step reaches it


class Failed(Exception):
    pass


def run(cmd, check=True, stdin=None, env=None, timeout=180):
    p = subprocess.run(cmd, input=stdin, capture_output=True, text=True, timeout=timeout, env=env)
    if check and p.returncode != 0:
        raise Failed(f"{' '.join(cmd)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p


def until(what, fact, seconds=WAIT_SECONDS, every=0.2):
    """Waits until fact() is true and returns it; an exception in it counts as not yet."""
    end, last = time.time() + seconds, None
    while time.time() < end:
        try:
            last = fact()
            if last:
                return last
        except (Failed, KeyError, IndexError, ValueError, OSError) as e:
            last = e
        time.sleep(every)
    raise Failed(f"{what}: not within {seconds} s; last: {last}")


def equal(what, got, want):
    if got != want:
        raise Failed(f"{what}:\n  want {want!r}\n  got  {got!r}")


def holds(what, fact, *shown):
    if not fact:
        raise Failed(f"{what}: {' '.join(str(s) for s in shown)}")


class Client:
    """One kubectl, or our own CLI: both take the same words."""

    def __init__(self, name, argv, kubeconfig):
        self.name, self.argv, self.kubeconfig = name, argv, kubeconfig

    def __call__(self, *words, **options):
        env = dict(os.environ, KUBECONFIG=self.kubeconfig, HOME=os.path.dirname(self.kubeconfig) + "-home")
        return run(self.argv + list(words), env=env, **options)

    def out(self, *words, **options):
        return self(*words, **options).stdout

    def json(self, *words):
        return json.loads(self.out(*words, "-o", "json"))


class Report:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0

    def case(self, name, body, *args):
        started = time.time()
        try:
            body(*args)
        except Exception as e:
            self.failed += 1
            print(f"FAIL {name} ({time.time() - started:.1f} s)\n{e if isinstance(e, Failed) else traceback.format_exc()}", flush=True)
            return False
        self.passed += 1
        print(f"ok   {name} ({time.time() - started:.1f} s)", flush=True)
        return True

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip {name}: {why}", flush=True)

    def close(self):
        print(f"\n{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed or not self.passed else 0)
