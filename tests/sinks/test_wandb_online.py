"""An online run against a stand-in for the W&B server on this machine: what is streamed and uploaded."""

import gzip
import io
import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from lightning_layerscope.sinks import WandbSink


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

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

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
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/put/run/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "createArtifactFiles" in query:
            edges = [{"node": self.artifact_file(spec)} for spec in variables["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if "createArtifactManifest" in query or "updateArtifactManifest" in query:
            name = "createArtifactManifest" if "createArtifactManifest" in query else "updateArtifactManifest"
            file = {"id": "f", "uploadUrl": f"{self.address}/put/manifest", "uploadHeaders": [], "name": "m"}
            return {name: {"artifactManifest": {"id": "m", "file": file}}}
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
        return {"project": None}

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
        self.server.files[self.path.removeprefix("/put/")] = self.body()
        self.reply(b"{}")

    def do_GET(self):
        self.reply(b"{}")

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


@pytest.fixture
def server(monkeypatch):
    import wandb

    wandb.teardown()
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    yield server
    wandb.teardown()
    server.shutdown()
    server.server_close()
    thread.join()


def start(folder):
    """An online run that sends nothing but what it is given."""
    import wandb

    settings = wandb.Settings(
        init_timeout=30, x_disable_stats=True, x_disable_meta=True, disable_git=True, console="off"
    )
    return wandb.init(dir=folder, project="test", entity="me", settings=settings)


def test_an_online_run_streams_rows_and_uploads_pictures_table_and_artifacts(server, tmp_path, kit):
    reference = tmp_path / "bank"
    reference.mkdir()
    (reference / "reference.safetensors").write_bytes(b"grams of the bank")
    run = start(tmp_path)
    record = kit.make_record(tasks=6, clusters=2, layers=4)
    kit.replay(WandbSink(run, reference_folder=reference), record)
    run.finish()

    history = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    assert [row["layerscope/step"] for row in history] == [0, 20, 40]
    assert [row["_step"] for row in history] == [0, 1, 2]
    mean = record.measurements[1].profile.mean_curve()["value"]
    assert history[1]["layerscope/cka/layer_04"] == pytest.approx(mean.iloc[3])
    assert [row["layerscope/profile/layers_table"]["nrows"] for row in history[:3]] == [4] * 3
    assert history[2]["layerscope/profile/clusters_table"]["nrows"] == 3 * 4, "all and two clusters"
    pictures = {name for name in server.files if name.startswith("run/media/images")}
    assert {name.split("_")[0].rsplit("/", 1)[-1] for name in pictures} == {"layers", "layer", "task"}
    assert len(pictures) == 3 * (4 + len(record.measurements[0].task_x_task))
    assert all(server.files[name].startswith(b"\x89PNG") for name in pictures)
    names = {entry["name"]: entry for entry in server.artifacts.values()}
    assert f"layerscope-results-{run.id}" in names
    assert "layerscope-reference-" + "5e" * 8 in names
    assert all(entry["committed"] for entry in names.values())
    uploaded = {name.rsplit("/", 1)[-1]: content for name, content in server.files.items()}
    assert uploaded["reference.safetensors"] == b"grams of the bank"
    rows = pd.read_parquet(io.BytesIO(uploaded["profile.parquet"]))
    pd.testing.assert_frame_equal(rows, record.profile.frame, check_dtype=False)
    assert any(config.get("layerscope", {}).get("value", {}).get("reference") == "initial" for config in server.configs)


def test_rows_of_a_user_who_logs_with_step_reach_the_server(server, tmp_path, kit):
    run = start(tmp_path)
    kit.twenty_steps(WandbSink(run), run, each_step=1, reference="base")
    run.finish()
    history = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    kept = [(row["_step"], row["user/0"]) for row in history if "user/0" in row]
    assert kept == [(step, float(step)) for step in range(22)]
    assert [row["layerscope/step"] for row in history if "layerscope/step" in row] == [0, 5, 10, 15, 19]
