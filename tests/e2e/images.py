"""Small images for the tests, made from busybox-static: nothing is downloaded.

fluent/fluentd:TAG prints a line a second, nginx:TAG answers http on port 80; the tags differ only in what they print."""
import hashlib, http.client, http.server, io, json, os, shutil, subprocess, tarfile, threading

APPLETS = ["sh", "sleep", "cat", "tail", "httpd", "ls", "echo", "date", "ps", "id", "true", "false", "kill", "touch",
           "head", "tar", "test", "grep", "hostname", "ip", "wget", "mkdir", "rm", "mount", "dd", "env", "nc", "stat"]
FLUENTD = """#!/bin/sh
trap 'echo fluentd stops; exit 0' TERM
echo "fluentd {tag} started on $(hostname)"
n=0
while true; do n=$((n+1)); echo "fluentd {tag} tick $n"; sleep 1 & wait $!; done
"""
NGINX = """#!/bin/sh
echo "nginx {tag} listens"
mkdir -p /www && echo "nginx {tag}" > /www/index.html
trap 'kill $!; exit 0' TERM
httpd -f -p 80 -h /www & wait $!
"""


def layer(script):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, data=b"", mode=0o755, kind=tarfile.REGTYPE, link=""):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
            tar.addfile(info, io.BytesIO(data))
        for d in ("bin", "etc", "tmp", "var", "proc", "sys", "dev"):
            add(d, kind=tarfile.DIRTYPE, mode=0o1777 if d == "tmp" else 0o755)
        with open(shutil.which("busybox"), "rb") as f:
            add("bin/busybox", f.read())
        for applet in APPLETS:
            add("bin/" + applet, kind=tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)
        add("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        add("start", script.encode())
    return out.getvalue()


def archive(path, name, script):
    """Writes one image as `docker save` would."""
    data = layer(script)
    digest = hashlib.sha256(data).hexdigest()
    config = json.dumps({"architecture": "amd64" if os.uname().machine == "x86_64" else "arm64", "os": "linux",
                         "config": {"Cmd": ["/start"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
                         "history": [{"created_by": "test"}]}).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [digest + "/layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for file, content in ((config_name, config), (digest + "/layer.tar", data), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def make(folder):
    """All images, as {reference: archive}."""
    made = {}
    for repo, script, tags in (("fluent/fluentd", FLUENTD, ["v1.16", "v1.17", "v0.14.10"]),
                               ("nginx", NGINX, ["1.27", "1.10.0"])):
        for tag in tags:
            path = os.path.join(folder, f"{repo.replace('/', '_')}_{tag}.tar")
            archive(path, f"{repo}:{tag}", script.replace("{tag}", tag))
            made[f"{repo}:{tag}"] = path
    return made


class Registry:
    """docker-registry on loopback, as mirror of docker.io."""

    def __init__(self, folder, port):
        self.port, self.folder = port, folder
        config = os.path.join(folder, "registry.yml")
        with open(config, "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
                    f"http: {{addr: 127.0.0.1:{port}}}\n")
        self.log = open(os.path.join(folder, "registry.log"), "w")
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=self.log, stderr=self.log)

    def push(self, archive_path, reference):
        for attempt in range(50):
            p = subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive_path}",
                                f"docker://127.0.0.1:{self.port}/{reference}"], capture_output=True, text=True)
            if p.returncode == 0:
                return
            import time
            time.sleep(0.2)
        raise RuntimeError(f"push of {reference}: {p.stderr}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class HeldRegistry:
    """A registry in front of another one that answers only while it is let: pulls from it take as long as a test wants."""

    def __init__(self, behind, port):
        self.port, self.let = port, threading.Event()
        let = self.let

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                let.wait()
                there = http.client.HTTPConnection("127.0.0.1", behind)
                words = {name: self.headers[name] for name in ("Accept", "Range") if name in self.headers}
                there.request(self.command, self.path, headers=words)
                answer = there.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", answer.getheader("Content-Length", str(len(body))))
                self.end_headers()
                self.wfile.write(body)
                there.close()

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.let.set()
        self.server.shutdown()
        self.server.server_close()
