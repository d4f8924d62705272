import json
import os
import pathlib
import secrets

import pytest

from berth import EXAMPLES, SEEN, Lot, Server


FAILED = []


def pytest_runtest_logreport(report):
    if report.failed and report.nodeid not in FAILED:
        FAILED.append(report.nodeid)


def pytest_sessionfinish(session):
    """Files of this process for `./test`: what its tests saw, for the conformance table, and which tests failed."""
    if (path := os.environ.get("TESTS_FAILED")) and not hasattr(session.config, "workerinput"):
        pathlib.Path(path).write_text("".join(f"{name}\n" for name in FAILED))
    if folder := os.environ.get("TESTS_SEEN"):
        seen = {"seen": [list(row) for row in SEEN], "examples": EXAMPLES}
        (pathlib.Path(folder) / f"{secrets.token_hex(8)}.json").write_text(json.dumps(seen, ensure_ascii=False))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that do not kill it. Its own folder, free loopback ports."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    # Connected and silent from the beginning: test_timeliness looks at the end when it was declared offline.
    server.silent = Lot(server, server.lot("SILENT")).connect()
    yield server
    server.silent.disconnect()
    server.stop()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may kill and start again."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def provider(server):
    return server.issue("provider", rate=100_000)  # raised: these tests are not about the rate limit
