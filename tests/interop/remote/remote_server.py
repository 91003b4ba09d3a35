"""A server of files to test against, Python's library alone: ranges, an object store, and every way in which they go wrong.

usage: remote_server.py LOG FOLDER

Serves FOLDER under /BEHAVIOUR/…, where each behaviour is one of:

  plain         ranges, ETags
  weak          a weak ETag
  dated         Last-Modified alone
  unversioned   neither
  norange       200 with all of a file, whatever range was asked for
  wrongrange    206 of other bytes than were asked for
  badrange      a Content-Range that is none
  coded         gzip, whatever was asked for; "label": a Content-Encoding that codes nothing
  more          more bytes than were asked for, without a length
  less          half of the range that was asked for, rightly said
  cut           the connection breaks after half of each range of 32 KiB or more
  busy          the first answer for each range is a 429 or a 503, with Retry-After
  changing      another ETag from the third answer on
  rewritten     the same, and the server minds If-Range: 200 with all of it
  moved         a redirect to another host name, where credentials are refused
  expiring      the same; that address serves two ranges, then 403
  loop          a redirect to itself
  slow          each answer takes 50 ms
  drip          ten bytes a second
  stall-N-HOW   from the Nth on, each answer stalls for a minute: HOW is "head" (nothing is sent) or "body" (half of it)
  pause-N-HOW   so does the Nth answer alone
  down          500
  forbidden     403
  shy           416 without a size, where a file is empty
  fail-N-HOW    the Nth answer is a fault, and noted as one; "fail-N-HOW-on": from the Nth on, all are. HOW is a behaviour above that spoils one
                answer, an HTTP status, "nosize" (a 416 that tells no size), "reset", "half" (the connection breaks after half of it), "short" (half of the bytes that
                Content-Range says), "tagged" (another ETag), "changed" (another ETag, and the bytes of FILE.new, if there is one)
  s3, gs        an object store, /s3/BUCKET/KEY: ListObjectsV2 with two keys a page, Signature Version 4 with the key below; a bucket
                that begins with "public" needs none

Below each behaviour is a hub as well, for HF_ENDPOINT: FOLDER/ORG/NAME is the repository ORG/NAME, at one commit.

A file whose name ends in .sparse.safetensors and holds a JSON text {"size": N} is served as N bytes: the header beside it
(NAME.header), then zeros. Prints its address, then the other host name's; serves until stdin closes. LOG gets one line a request.
"""
import gzip
import hashlib
import hmac
import http.server
import json
import pathlib
import re
import sys
import threading
import time
import urllib.parse

KEY_ID, SECRET, SESSION, REGIONS, BEARER = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session+token/==", ("eu-north-1", "auto"), "ya29.token"
COMMIT = "c" * 40
counts = {}
lock = threading.Lock()


def count(key):
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


def signature_problem(method, path, headers):
    """What is wrong with a request's Signature Version 4 [docs.aws.amazon.com, "Create a signed AWS API request"]; "" if nothing."""
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
                         headers.get("Authorization", ""))
    if not found:
        return "no signature"
    key_id, day, region, names, signature = found.groups()
    if key_id != KEY_ID or region not in REGIONS or headers.get("x-amz-security-token", SESSION) != SESSION:
        return "another key, region or session"
    parts = urllib.parse.urlsplit(path)
    query = "&".join(sorted(urllib.parse.quote(k, safe="-._~") + "=" + urllib.parse.quote(v, safe="-._~")
                            for k, v in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)))
    names = names.split(";")
    if names != sorted(names) or not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        return "headers that are not signed"
    if "x-amz-security-token" in headers and "x-amz-security-token" not in names:
        return "a session that is not signed"
    canonical = "\n".join([method, urllib.parse.quote(urllib.parse.unquote(parts.path), safe="/-._~"), query,
                           *(f"{name}:{' '.join(headers[name].split())}" for name in names), "", ";".join(names), headers["x-amz-content-sha256"]])
    date = headers["x-amz-date"]
    text = "\n".join(["AWS4-HMAC-SHA256", date, f"{day}/{region}/s3/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + SECRET).encode()
    for word in (day, region, "s3", "aws4_request", text):
        key = hmac.new(key, word.encode(), "sha256").digest()
    return "" if hmac.compare_digest(key.hex(), signature) and date.startswith(day) else "a wrong signature"


class Content:
    """The bytes of a file, or of one that is mostly a hole."""

    def __init__(self, path):
        self.path = path
        self.size = path.stat().st_size
        self.sparse = path.name.endswith(".sparse.safetensors")
        if self.sparse:
            self.size = json.loads(path.read_bytes())["size"]
            self.path = path.with_name(path.name + ".header")

    def read(self, begin, end):
        with open(self.path, "rb") as file:
            file.seek(begin)
            return file.read(end - begin).ljust(end - begin, b"\0")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self, what):
        with lock:
            self.server.log.write(f"{self.command} {self.server.kind} {self.path} {self.headers.get('Range', '-')} "
                                  f"{'auth' if self.headers.get('Authorization') else '-'} {what}\n")
            self.server.log.flush()

    def answer(self, status, headers=(), body=b"", length=True):
        self.note(status)
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        try:
            self.serve()
        except OSError:  # a client that has gone
            self.close_connection = True

    def serve(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        _, behaviour, name = (path.split("/", 2) + [""])[:3]
        if self.server.kind == "other" and self.headers.get("Authorization"):
            return self.answer(400, body=b"credentials must not come here")
        if behaviour in ("s3", "gs"):
            return self.serve_object(behaviour, name)
        if behaviour in ("moved", "expiring") and self.server.kind == "main":
            return self.answer(302, [("Location", f"{self.server.other}{self.path}?signature={count('sig')}")])
        if behaviour == "loop":
            return self.answer(302, [("Location", self.path)])
        if behaviour == "down":
            return self.answer(500)
        if behaviour == "forbidden":
            return self.answer(403)
        if behaviour == "busy" and count((self.path, self.headers.get("Range"))) == 1:
            return self.answer(503 if count("busy") % 2 else 429, [("Retry-After", "0")])
        if behaviour == "expiring" and count(self.path) > 2:
            return self.answer(403, body=b"<Error><Code>AccessDenied</Code></Error>")
        return self.serve_file(self.server.folder / name, behaviour)

    def fault_of(self, behaviour, path):
        """What this answer is to be, if the behaviour is "fail-N-HOW" and its turn has come."""
        _, first, how, *more = behaviour.split("-")
        number = count(behaviour)
        is_first = count(behaviour + self.path) == 1
        if number != int(first) and not (number > int(first) and "on" in more):
            return "plain"
        self.note("fault " + ("first" if is_first else "later") + ("" if path.is_file() else " absent"))
        return how

    def serve_status(self, path, status):
        size = path.stat().st_size if path.is_file() else 1
        headers = {302: [("Location", "/loop/")], 416: [("Content-Range", f"bytes */{size}")], 429: [("Retry-After", "0")], 503: [("Retry-After", "0")]}
        return self.answer(status, headers.get(status, ()))

    def serve_repository(self, folder):
        names = sorted(path.name for path in folder.iterdir())
        return self.answer(200, [], json.dumps({"sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}).encode())

    def serve_file(self, path, behaviour):
        hub = re.fullmatch(r"(.*)/resolve/" + COMMIT + "/([^/]+)", str(path))
        if hub:
            path = pathlib.Path(hub[1], hub[2])
        if behaviour.startswith("fail-"):
            behaviour = self.fault_of(behaviour, path)
        if behaviour.isdigit() and behaviour != "200":
            return self.serve_status(path, int(behaviour))
        if behaviour.startswith(("stall-", "pause-")):
            kind, first, how = behaviour.split("-")[:3]
            number = count(behaviour)
            if number == int(first) or (number > int(first) and kind == "stall"):
                behaviour = how
        if behaviour == "nosize":
            return self.answer(416)
        if behaviour == "head":
            self.note("stall")
            return time.sleep(60)
        if behaviour == "reset":
            self.note("reset")
            self.close_connection = True
            return self.connection.shutdown(2)
        repository = re.fullmatch(r"(.*)/api/models/(.*)/revision/main", str(path))
        if repository:
            return self.serve_repository(pathlib.Path(repository[1], repository[2]))
        if not path.is_file():
            return self.answer(404, body=b"none")
        if behaviour == "slow":
            time.sleep(0.05)
        new = path.with_name(path.name + ".new")
        return self.serve_content(new if behaviour == "changed" and new.exists() else path, "tagged" if behaviour == "changed" else behaviour)

    def serve_content(self, path, behaviour):
        content = Content(path)
        changes = behaviour in ("changing", "rewritten") and path.suffix == ".safetensors" and count(self.path) > 2
        tag = f'"{path.name}-{content.size}-{path.stat().st_mtime_ns}{"-new" if changes or behaviour == "tagged" else ""}"'
        version = {"weak": [("ETag", "W/" + tag)], "dated": [("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")], "unversioned": []}.get(
            behaviour, [("ETag", tag)])
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        minds = behaviour == "rewritten" and self.headers.get("If-Range", tag) != tag
        if not found or behaviour in ("norange", "200") or minds:
            return self.answer(200, version, content.read(0, content.size))
        begin, end = int(found[1]), min(int(found[2] or content.size) + 1, content.size)
        if begin >= content.size:
            return self.answer(416, version if behaviour == "shy" else [*version, ("Content-Range", f"bytes */{content.size}")])
        if behaviour == "wrongrange":
            begin, end = begin + 1, min(end + 1, content.size)
        if behaviour == "less":
            end = begin + max(1, (end - begin) // 2)
        said = "bytes who knows" if behaviour == "badrange" else f"bytes {begin}-{end - 1}/{content.size}"
        body = content.read(begin, end)
        if behaviour == "short":
            body = body[:len(body) // 2]
        if behaviour in ("coded", "label"):
            version = [*version, ("Content-Encoding", "gzip" if behaviour == "coded" else "aws-chunked")]
            body = gzip.compress(body) if behaviour == "coded" else body
        if behaviour == "more":
            return self.answer(206, [*version, ("Content-Range", said)], body + b"more", length=False)
        if behaviour in ("half", "drip", "body") or (behaviour == "cut" and len(body) >= 1 << 15):
            return self.serve_part(version, said, body, behaviour)
        return self.answer(206, [*version, ("Content-Range", said)], body)

    def serve_part(self, version, said, body, behaviour):
        self.note(behaviour)
        self.send_response(206)
        for key, value in [*version, ("Content-Range", said), ("Content-Length", str(len(body)))]:
            self.send_header(key, value)
        self.end_headers()
        if behaviour == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.1)
            return
        self.wfile.write(body[:(len(body) + 1) // 2])
        self.wfile.flush()
        if behaviour == "body":
            self.note("stall")
            time.sleep(60)
        self.close_connection = True
        self.connection.shutdown(2)

    def serve_object(self, store, name):
        bucket, _, key = name.partition("/")
        if not bucket.startswith("public"):
            is_bearer = store == "gs" and self.headers.get("Authorization") == "Bearer " + BEARER
            problem = "" if is_bearer else signature_problem(self.command, self.path, self.headers)
            if problem:
                return self.answer(403, body=f"<Error><Message>{problem}</Message></Error>".encode())
        if key:
            return self.serve_file(self.server.folder / bucket / key, "plain")
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        root = self.server.folder / bucket
        keys = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > query.get("continuation-token", "")]
        escaped = [key.replace("&", "&amp;").replace("<", "&#x3C;") for key in keys[:2]]
        more = f"<NextContinuationToken>{escaped[-1]}</NextContinuationToken>" if len(keys) > 2 else ""
        body = ('<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{bucket}</Name><IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
                + "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in escaped) + "</ListBucketResult>")
        return self.answer(200, [("Content-Type", "application/xml")], body.encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *args):
        pass


def main():
    servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
    log = open(sys.argv[1], "w")
    for server, kind in zip(servers, ("main", "other")):
        server.kind, server.log, server.folder = kind, log, pathlib.Path(sys.argv[2])
        server.other = f"http://localhost:{servers[1].server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{servers[0].server_address[1]} {servers[0].other}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
