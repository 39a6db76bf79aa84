"""A stand-in for the W&B server on this machine, and runs that talk to it: what is streamed, uploaded and asked for."""

import contextlib
import gzip
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

MANIFEST, TIME = "manifest.of.artifact", "2026-01-01T00:00:00Z"


class Server(ThreadingHTTPServer):
    """Answers the few calls of a run; lenient, for their shapes change between versions of wandb."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lines = defaultdict(dict)
        self.files = {}
        self.configs = []
        self.artifacts = {}
        self.operations = []
        self.views, self.presets, self.used, self.runs = [], {}, [], {}
        self.resumable = {}
        self.answering = threading.Event()
        self.answering.set()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Connections that W&B leaves open are reset at its end."""

    def answer(self, query, variables):
        """The data of one GraphQL call."""
        variables = variables.get("input", variables) if isinstance(variables, dict) else {}
        if "viewer {" in query:
            person = {"id": "u", "entity": "me", "username": "me", "email": "me@here", "flags": "{}"}
            return {"viewer": person | {"teams": {"edges": []}}}
        if "upsertBucket" in query:
            self.configs.append(json.loads(variables.get("config") or "{}"))
            project = {"id": "p", "name": "test", "entity": {"id": "e", "name": "me"}}
            bucket = {
                "id": "b",
                "name": variables.get("name"),
                "displayName": "run",
                "config": "{}",
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}
        if "rewindRun" in query:
            return {"rewindRun": {"rewoundRun": self.rewind(variables["runName"], variables["metricValue"])}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/put/run/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "createArtifactFiles" in query:
            edges = [{"node": self.artifact_file(spec)} for spec in variables["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if "createArtifactManifest" in query or "updateArtifactManifest" in query:
            name = "createArtifactManifest" if "createArtifactManifest" in query else "updateArtifactManifest"
            ident = variables.get("artifactID") or variables["artifactManifestID"]
            file = {"id": "f", "uploadUrl": f"{self.address}/put/{ident}/{MANIFEST}", "uploadHeaders": [], "name": "m"}
            return {name: {"artifactManifest": {"id": ident, "file": file}}}
        if "createArtifact" in query:
            name = variables.get("artifactCollectionName") or variables["artifactCollectionNames"][0]
            ident = f"artifact{len(self.artifacts)}"
            self.artifacts[ident] = {"variables": variables, "name": name, "committed": False}
            sequence = {"id": "s", "latestArtifact": None}
            artifact = {
                "id": ident,
                "state": "PENDING",
                "artifactSequence": sequence,
                "digest": variables.get("digest"),
            }
            return {"createArtifact": {"artifact": artifact}}
        if "commitArtifact" in query:
            self.artifacts[variables["artifactID"]]["committed"] = True
            return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}
        return self.answer_reader(query, variables)

    def answer_reader(self, query, variables):
        """The data of one GraphQL call of someone who reads, or keeps a workspace, a report, a preset."""
        if "createCustomChart" in query:
            self.presets[variables["chartName"]] = variables
            return {"createCustomChart": {"chart": {"id": f"{variables['entity']}/{variables['chartName']}"}}}
        if "upsertView" in query:
            self.views.append(variables)
            view = {"id": "v", "name": variables["name"], "type": variables.get("type"), "spec": variables["spec"]}
            view |= {"displayName": variables["displayName"], "description": "", "user": None, "previewUrl": None}
            return {"upsertView": {"view": view | {"project": {"id": "p", "name": "test"}}, "inserted": True}}
        if "models(" in query:
            project = {"__typename": "Project", "id": "p", "name": "test", "entityName": "me", "createdAt": TIME}
            page = {"endCursor": None, "hasNextPage": False}
            return {"models": {"pageInfo": page, "edges": [{"node": project | {"isBenchmark": False, "user": None}}]}}
        if "useArtifact" in query:
            self.used.append(variables["artifactID"])
            return {"useArtifact": {"artifact": {"id": variables["artifactID"]}}}
        if "artifactCollectionMembership" in query:
            return {"project": {"artifactCollectionMembership": self.membership(variables["name"])}}
        if "FetchArtifactManifest" in query:
            file = {"directUrl": f"{self.address}/put/{variables['id']}/{MANIFEST}"}
            return {"artifact": {"currentManifest": {"file": file}}}
        if "GetArtifactMembershipFileUrls" in query:
            ident = self.find(variables["collection"])
            names = [name.partition("/")[2] for name in self.files if name.startswith(f"{ident}/")]
            urls = [{"__typename": "File", "name": name, "directUrl": f"{self.address}/put/{ident}/{name}"}
                    for name in names if name != MANIFEST]  # fmt: skip
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            files = {"pageInfo": page, "edges": [{"node": url} for url in urls]}
            collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
            return {"project": {"artifactCollection": collection}}
        if "RunResumeStatus" in query:
            bucket = self.resumable.get(variables.get("name"))
            return {"model": {"id": "p", "name": "test", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}
        if "query Run(" in query and variables["name"] in self.runs:
            return {"project": {"run": self.runs[variables["name"]]}}
        return {"project": None}

    def resume(self, name):
        """Let a run be resumed from what was streamed of it."""
        rows = [json.dumps(row) for _, row in sorted(self.lines["wandb-history.jsonl"].items())]
        self.resumable[name] = {
            "id": "b", "name": name, "historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0,
            "historyTail": json.dumps(rows[-1:]), "eventsTail": "[]", "summaryMetrics": "{}", "config": "{}",
            "displayName": "run", "tags": [], "wandbConfig": "{\"t\": 1}",
        }  # fmt: skip

    def rewind(self, name, step):
        """Forget what was streamed of a run after one of its rows."""
        history = self.lines["wandb-history.jsonl"]
        for line in [line for line, row in history.items() if row["_step"] > step]:
            del history[line]
        project = {"id": "p", "name": "test", "entity": {"id": "e", "name": "me"}}
        run = {"id": "b", "name": name, "displayName": "run", "description": "", "config": "{}", "sweepName": None}
        return run | {"project": project, "historyLineCount": len(history)}

    def find(self, collection):
        """The id of the last artifact of a name; None without one."""
        found = [ident for ident, each in self.artifacts.items() if each["name"] == collection and each["committed"]]
        return found[-1] if found else None

    def membership(self, name):
        """A version of an artifact, as a collection has it."""
        collection, _, _ = name.partition(":")
        ident = self.find(collection)
        if ident is None:
            return None
        project = {"id": "p", "internalId": "1", "name": "test", "entity": {"name": "me"}}
        source = {"__typename": "ArtifactSequence", "name": collection, "project": project}
        artifact = {
            "__typename": "Artifact", "id": ident, "artifactSequence": source, "versionIndex": 3, "description": None,
            "artifactType": {"name": self.artifacts[ident]["variables"]["artifactTypeName"]}, "metadata": "{}",
            "ttlDurationSeconds": -1, "ttlIsInherited": False, "tags": [], "historyStep": None, "state": "COMMITTED",
            "size": 1, "digest": "d", "digestAlgorithm": "MANIFEST_MD5", "commitHash": "c", "fileCount": 1,
            "createdAt": TIME, "updatedAt": None, "aliases": [],
        }  # fmt: skip
        member = {"__typename": "ArtifactCollectionMembership", "id": "am", "versionIndex": 3, "createdAt": TIME}
        alias = {"__typename": "ArtifactAlias", "id": "aa", "alias": "latest"}
        return member | {"aliases": [alias], "artifactCollection": source, "artifact": artifact}

    def artifact_file(self, spec):
        place = f"{self.address}/put/{spec['artifactID']}/{spec['name']}"
        manifest = {"id": "m"}
        return {
            "id": "f", "name": spec["name"], "displayName": spec["name"], "uploadUrl": place, "uploadHeaders": [],
            "storagePath": spec["name"], "artifact": {"id": spec["artifactID"]}, "manifest": manifest,
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_POST(self):
        body = self.body()
        self.server.answering.wait()
        answer = {}
        if self.path == "/graphql":
            call = json.loads(body)
            self.server.operations.append(call.get("operationName"))
            answer = {"data": self.server.answer(call["query"], call.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            for name, part in json.loads(body).get("files", {}).items():
                for number, line in enumerate(part["content"]):
                    self.server.lines[name][part["offset"] + number] = json.loads(line)
        self.reply(json.dumps(answer).encode())

    def do_PUT(self):
        self.server.answering.wait()
        self.server.files[unquote(self.path).removeprefix("/put/")] = self.body()
        self.reply(b"{}")

    def do_GET(self):
        self.reply(self.server.files.get(unquote(self.path).removeprefix("/put/"), b"{}"))

    def body(self):
        """The request's content, whichever way it is sent."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            content = b"".join(parts)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def reply(self, content):
        """Send a JSON answer."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def serving(monkeypatch):
    """A server, to which W&B is pointed while the block lasts."""
    import wandb

    wandb.teardown()
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    try:
        yield server
    finally:
        server.answering.set()
        wandb.teardown()
        server.shutdown()
        server.server_close()
        thread.join()


def start(folder, **options):
    """An online run that sends nothing but what it is given."""
    import wandb

    settings = wandb.Settings(
        init_timeout=30, x_disable_stats=True, x_disable_meta=True, disable_git=True, console="off"
    )
    return wandb.init(dir=folder, project="test", entity="me", settings=settings, **options)
