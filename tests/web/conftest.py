"""A small archive and clients of its server, whose answers are checked against the OpenAPI."""

import contextlib
import re
import time

import jsonschema
import pytest
from starlette.testclient import TestClient
from web.small_archive import make_archive

from inres.archive import Archive
from inres.web import openapi
from inres.web.app import make_app
from inres.web.settings import Limits, Settings

BASE = "http://127.0.0.1:8080"


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The run of a small archive; its scans are in `run.root / "tree"`."""
    return make_archive(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def archive(small):
    return Archive(small)


class Client(TestClient):
    """A client that checks the answers of the API against its document."""

    def request(self, method, url, **kwargs):
        answer = super().request(method, url, **kwargs)
        path = str(url).partition("?")[0].removeprefix(BASE)
        if path.startswith("/api/") and path != openapi.PATH:
            check_answer(method, path, answer)
        return answer

    def wait(self, id_, state="ready"):
        """The state of a scan once it is no longer being read."""
        for _ in range(2000):
            found = self.get(f"/api/scans/{id_}").json()
            if found["state"] != "reading":
                assert found["state"] == state, found
                return found
            time.sleep(0.01)
        raise AssertionError("the scan is still being read")

    def opened(self, path, **more):
        """The id of a scan below the root `tree`, read."""
        answer = self.post("/api/scans", json={"root": "tree", "path": path, **more})
        assert answer.status_code == 202, answer.text
        self.wait(answer.json()["id"])
        return answer.json()["id"]

    def searched(self, query, **options):
        """The result of a search."""
        answer = self.post("/api/search", json={"query": query, "options": options})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, status, method, url, **kwargs):
        """The message of an error with this status."""
        answer = self.request(method, url, **kwargs)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]["message"]


def check_answer(method, path, answer):
    """Check an answer against the OpenAPI document."""
    document = openapi.document()
    operation = next(
        (
            item[method.lower()]
            for pattern, item in document["paths"].items()
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)), path)
            and method.lower() in item
        ),
        None,
    )
    answers = operation["responses"] if operation else {}
    known = answers.get(str(answer.status_code))
    if known is None:
        assert answer.status_code >= 400, (method, path, answer.status_code)
        known = {
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        }
    content = known.get("content", {})
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind in content if content else not answer.content, (method, path, kind)
    if kind == "application/json":
        schema = content[kind]["schema"] | {"components": document["components"]}
        jsonschema.validate(answer.json(), schema, jsonschema.Draft202012Validator)


@pytest.fixture(scope="session")
def serve(small, archive, tmp_path_factory):
    """Start servers: a context with a client of one with these settings and limits."""

    @contextlib.contextmanager
    def started(*, of=None, base=BASE, limits=None, **settings):
        given = {"roots": {"tree": (small.root / "tree").resolve()}, "warm_up": False} | settings
        made = Settings(**given, limits=Limits(**(limits or {})))
        app = make_app(
            of or archive, made, name="small", temporary=tmp_path_factory.mktemp("uploads")
        )
        with Client(app, base_url=base, raise_server_exceptions=True) as client:
            yield client

    return started


@pytest.fixture(scope="session")
def client(serve):
    with serve() as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def quick(quick_programs):
    """Programs compiled without optimization."""
