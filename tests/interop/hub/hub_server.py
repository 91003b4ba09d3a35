#!/usr/bin/python3
"""A hub to test against: speaks the parts of huggingface.co's protocol that a download meets, Python's library alone.

Two ports: the hub, and a "CDN" of another host name. Repositories (all under org/) show one behaviour each:

  plain       config.json and tokenizer files (git sha1 etags), model.safetensors (LFS: redirect to the CDN, sha256)
  sharded     model.safetensors.index.json and two shards
  openclip    open_clip_config.json, open_clip_pytorch_model.bin
  archive     one .nemo
  moved       answers with a relative redirect to plain
  gated, private, disabled, limited, down, busy (two 503, then well), empty
  cut         the CDN cuts each transfer after 300000 bytes; range requests honoured
  cutnorange  the same once, and ranges ignored
  corrupt     the CDN's content is not what the etag says
  drip        the CDN sends ten bytes a second
  loop        the CDN redirects to itself
  nohost      the CDN redirects to an address that is none
  coded       the CDN sends gzip, whatever was asked for
  garbage     the hub answers something that is no HTTP
  vast        the hub states a size of 23 digits; "vaster": the CDN's answer does

With a folder as argv[2] (not "-") both speak TLS, with a certificate that is its own authority, written there as cert.pem (by the
openssl program). NAME=FOLDER in argv[3:] serves that folder's files as a repository of that name, of any organisation. Prints "HUB CDN" URLs on a line, then serves until stdin closes. Writes one line a request to the file argv[1]: method, host
kind, path, Range, whether an Authorization header came.
"""
import contextlib
import gzip
import hashlib
import http.server
import json
import pathlib
import random
import ssl
import subprocess
import sys
import time
import threading
import urllib.parse

COMMIT = {name: hashlib.sha1(name.encode()).hexdigest() for name in (
    "plain", "sharded", "openclip", "archive", "gated", "cut", "cutnorange", "corrupt", "drip", "extended", "astray", "header", "loop", "busy", "empty", "limited", "moving", "nohost", "coded", "vast", "vaster")}
TOKEN = "hf_test"


def blob(seed, size):
    return random.Random(seed).randbytes(size)


BIG = blob("weights", 1_000_003)
CONFIG = json.dumps({"model_type": "clip"}).encode()
INDEX = json.dumps({"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
                                                   "c": "model-00002-of-00002.safetensors"}}).encode()
PLAIN = {"config.json": CONFIG, "preprocessor_config.json": b"{}", "vocab.json": b"{}\n", "merges.txt": b"#version\n",
         "README.md": b"x" * 1000, "model.safetensors": BIG, "pytorch_model.bin": blob("other", 5000), "tf_model.h5": b"x",
         "onnx/model.onnx": b"x"}
REPOS = {
    "plain": PLAIN,
    "moving": PLAIN,
    "sharded": {"config.json": CONFIG, "model.safetensors.index.json": INDEX, "model-00001-of-00002.safetensors": blob("1", 2000),
                "model-00002-of-00002.safetensors": blob("2", 3000)},
    "openclip": {"open_clip_config.json": b"{}", "open_clip_pytorch_model.bin": blob("oc", 4000)},
    "archive": {"README.md": b"x", "sub/model.nemo": blob("nemo", 6000)},
    "gated": {"config.json": CONFIG, "model.safetensors": b"secret"},
    "cut": {"config.json": CONFIG, "model.safetensors": BIG},
    "cutnorange": {"config.json": CONFIG, "model.safetensors": BIG},
    "corrupt": {"config.json": CONFIG, "model.safetensors": BIG},
    "drip": {"config.json": CONFIG, "model.safetensors": BIG},
    "loop": {"config.json": CONFIG, "model.safetensors": BIG},
    "extended": {"config.json": CONFIG, "model.safetensors": BIG},
    "astray": {"config.json": CONFIG, "model.safetensors": BIG},
    "nohost": {"config.json": CONFIG, "model.safetensors": BIG},
    "coded": {"config.json": CONFIG, "model.safetensors": BIG},
    "vast": {"config.json": CONFIG, "model.safetensors": BIG},
    "vaster": {"config.json": CONFIG, "model.safetensors": BIG},
    "header": {"config.json": CONFIG, "model.safetensors": BIG},
    "busy": {"config.json": CONFIG, "model.safetensors": blob("busy", 100)},
    "limited": {"config.json": CONFIG, "model.safetensors": b"x"},
    "empty": {"README.md": b"x"},
}
counts = {}
lock = threading.Lock()


def count(key):
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


def is_lfs(name):
    return name.endswith((".safetensors", ".bin", ".nemo", ".h5", ".onnx"))


def etag(name, content):
    if is_lfs(name):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, headers=(), body=b""):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if not any(key.lower() == "content-length" for key, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message, extra=()):
        headers = [("X-Error-Message", message)] + ([("X-Error-Code", code)] if code else []) + list(extra)
        self.answer(status, headers, b"{}")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        kind = "cdn" if self.server.cdn else "hub"
        with lock:
            self.server.log.write(f"{self.command} {kind} {self.path} {self.headers.get('Range', '-')} "
                                  f"{'auth' if self.headers.get('Authorization') else '-'}\n")
            self.server.log.flush()
        if self.server.cdn:
            return self.serve_cdn()
        parts = [urllib.parse.unquote(p) for p in urllib.parse.urlsplit(self.path).path.split("/")[1:]]
        if parts[:2] == ["api", "models"] and len(parts) == 6 and parts[4] == "revision":
            return self.serve_api(parts[3], parts[5], "/api/models/{}/revision/" + parts[5])
        if len(parts) >= 5 and parts[2] == "resolve":
            return self.serve_file(parts[1], parts[3], "/".join(parts[4:]))
        self.refuse(404, "RepoNotFound", "no such path")

    def usual_refusals(self, repo):
        authorized = self.headers.get("Authorization")
        if authorized and authorized != "Bearer " + TOKEN:
            self.refuse(401, None, "Invalid credentials in Authorization header")
        elif repo == "private" or repo not in REPOS and repo not in ("disabled", "down"):
            self.refuse(401, "RepoNotFound", "Repository not found")
        elif repo == "disabled":
            self.refuse(403, "DisabledRepo", "Access to this resource is disabled")
        elif repo == "down":
            self.refuse(500, None, "Internal Error")
        elif repo == "limited":
            self.refuse(429, None, "We had to rate limit you", [("ratelimit", '"api";r=0;t=222')])
        elif repo == "busy" and count("busy") <= 2:
            self.refuse(503, None, "Over capacity", [("Retry-After", "0")])
        else:
            return False
        return True

    def serve_api(self, repo, revision, again):
        if repo == "moved":
            return self.answer(307, [("Location", again.format("org/plain"))])
        if repo == "garbage":
            self.close_connection = True
            return self.wfile.write(b"\0\xff no HTTP\n" * 100)
        if self.usual_refusals(repo):
            return None
        if revision not in ("main", "v1", "refs/pr/1", COMMIT[repo]):
            return self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)
        commit = COMMIT[repo] if repo != "moving" or count("moving") == 1 else "f" * 40
        body = {"id": "org/" + repo, "sha": commit, "siblings": [{"rfilename": name} for name in REPOS[repo]]}
        return self.answer(200, [("Content-Type", "application/json")], json.dumps(body).encode())

    def serve_file(self, repo, revision, name):
        if repo == "moved":
            return self.answer(307, [("Location", self.path.replace("/moved/", "/plain/"))])
        if self.usual_refusals(repo):
            return None
        if repo == "gated" and not self.headers.get("Authorization"):
            return self.refuse(401, "GatedRepo", "Access to model org/gated is restricted")
        if name not in REPOS[repo]:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        content = REPOS[repo][name]
        tag = etag(name, content)
        if is_lfs(name):
            return self.answer(302, [("Location", f"{self.server.cdn_url}/{repo}/{name}?sig=1"), ("X-Repo-Commit", COMMIT[repo]),
                                     ("X-Linked-Etag", f'"{tag}"'), ("X-Linked-Size", "9" * 23 if repo == "vast" else str(len(content))), ("ETag", '"pointer"')])
        return self.answer(200, [("X-Repo-Commit", COMMIT[repo]), ("ETag", f'W/"{tag}"')], content)

    def serve_cdn(self):
        if self.headers.get("Authorization"):
            return self.refuse(400, None, "the hub's token must not come here")
        _, repo, name = urllib.parse.urlsplit(self.path).path.split("/", 2)
        if repo == "loop":
            return self.answer(302, [("Location", self.path)])
        if repo == "nohost":
            return self.answer(302, [("Location", "http://[::1/x")])
        if repo == "vaster":
            return self.answer(200, [("Content-Length", "9" * 23)], REPOS[repo][name])
        if repo == "coded":
            return self.answer(200, [("Content-Encoding", "gzip")], gzip.compress(REPOS[repo][name]))
        if repo == "astray":
            return self.answer(302, [("Location", "file:///etc/passwd")])
        if repo in ("extended", "header"):  # bytes without end that are no content
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if repo == "header" else b"Transfer-Encoding: chunked\r\n\r\n1;"))
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"a" * 65536)
            return None
        content = REPOS[repo][name]
        if repo == "corrupt":
            content = content[:-1] + b"!"
        start, end = 0, len(content)
        wanted = self.headers.get("Range")
        if wanted and repo != "cutnorange":
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or end) + 1, end)
            if start >= len(content):
                return self.answer(416, [("Content-Range", f"bytes */{len(content)}")])
        part = start > 0 or end < len(content) or wanted and repo != "cutnorange"
        self.send_response(206 if part else 200)
        self.send_header("ETag", f'"{etag(name, content)}"')
        self.send_header("Content-Length", str(end - start))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        whole = end
        if repo == "cut" or (repo == "cutnorange" and count("cutnorange") == 1):
            end = min(end, start + 300_000)
        try:
            while repo == "drip" and start < end:
                self.wfile.write(content[start:start + 1])
                self.wfile.flush()
                time.sleep(0.1)
                start += 1
            if repo == "cut":  # in two parts, so that a client which reports every 50 ms has reported in between
                self.wfile.write(content[start:start + 100_000])
                self.wfile.flush()
                time.sleep(0.1)
                start += 100_000
            self.wfile.write(content[start:end])
            if end < whole:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
        except OSError:  # a client that cancelled is gone already
            self.close_connection = True
        return None


def tls_context(folder):
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def main():
    log = open(sys.argv[1], "w")
    tls = tls_context(pathlib.Path(sys.argv[2])) if sys.argv[2:] and sys.argv[2] != "-" else None
    for name, folder in (words.split("=", 1) for words in sys.argv[3:]):
        REPOS[name] = {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}
        COMMIT[name] = hashlib.sha1(name.encode()).hexdigest()
    scheme = "https" if tls else "http"
    servers = []
    for cdn in (False, True):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.cdn = cdn
        server.log = log
        server.handle_error = lambda *args: None  # a client that cancelled is gone before its answer
        servers.append(server)
    hub, cdn = servers
    # Another host name, so that a client that compares hosts sees two.
    hub.cdn_url = f"{scheme}://localhost:{cdn.server_address[1]}"
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"{scheme}://127.0.0.1:{hub.server_address[1]} {hub.cdn_url}", flush=True)
    sys.stdin.read()


main()
