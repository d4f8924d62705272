"""Annex D: the examples, each in its own language, executed against the live server."""
import json
import os
import subprocess
import threading

import pytest

from berth import ROOT, booking, eventually

FOLDER = ROOT / "docs/examples"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What is compiled is compiled once."""
    folder = tmp_path_factory.mktemp("examples")
    return {
        "python": lambda: [str(ROOT / ".venv/bin/python"), FOLDER / "berth.py"],
        "node": lambda: ["node", FOLDER / "berth.mjs"],
        "go": lambda: [_once(folder / "berth-go", ["go", "build", "-o", folder / "berth-go", FOLDER / "berth.go"])],
        "java": lambda: ["java", "-cp", _once(folder / "Berth.class", ["javac", "-encoding", "UTF-8", "-d", folder, FOLDER / "Berth.java"]).parent, "Berth"],
        "shell": lambda: ["bash", FOLDER / "berth.sh"],
    }


def _once(made, command):
    if not made.exists():
        subprocess.run([str(c) for c in command], check=True, env={**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"})
    return made


LANGUAGES = ["python", "node", "go", "java", "shell"]


def run(command, *args, timeout=90):
    done = subprocess.run([str(a) for a in [*command, *args]], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def key_file(folder, key):
    file = folder / f"{key.app_id}.json"
    file.write_text(json.dumps({"appId": key.app_id, "appSecret": key.secret}, separators=(",", ":")))
    return file


@pytest.mark.parametrize("language", LANGUAGES)
def test_sign_and_verify(built, language):
    vectors = json.loads((ROOT / "docs/reference/vectors.json").read_text())
    assert run(built[language](), "verify", ROOT / "docs/reference/vectors.json").strip() == f"{len(vectors['good'])} good, {len(vectors['bad'])} bad"


@pytest.mark.parametrize("language", LANGUAGES)
def test_order_listen_resume(built, language, server, tmp_path):
    """Orders made by the example reach the lot that the example is, in order, over a break; its own log goes on where it was cut."""
    park = f"EX{language.upper()}"
    lot, provider = server.lot(park, rate=1000), server.issue("provider", rate=1000)
    command, url, broker = built[language](), server.ready["https"], f"127.0.0.1:{server.mqtt_port}"
    mine, its = key_file(tmp_path, provider), key_file(tmp_path, lot)
    first = json.loads(run(command, "order", url, server.ca, mine, park))
    assert first["code"] == 0
    state = tmp_path / "state"
    heard = run(command, "listen", broker, server.ca, its, park, state, 1).split()
    assert heard == ["order.reserve.push", first["orderNo"]]
    eventually(lambda: server.call(provider, "order.detail", {"orderNo": first["orderNo"]}).data["deliverStatus"] == 2)
    # Away while two more things happen; then it goes on where its disk says that it stood.
    answer = json.loads(run(command, "order", url, server.ca, mine, park))
    assert answer["code"] == 0
    second = answer["orderNo"]
    assert server.call(provider, "order.cancel", {"orderNo": first["orderNo"]}).code == 0
    heard = run(command, "listen", broker, server.ca, its, park, state, 2).splitlines()
    assert heard == [f"order.reserve.push {second}", f"order.reserve.cancel {first['orderNo']}"]
    eventually(lambda: server.sql("SELECT down_ack FROM positions WHERE lot = ?", park) == [(3,)])
    log = tmp_path / "log"
    assert json.loads(run(command, "resume", url, server.ca, its, park, log, 7, 3)) == {"code": 0, "from": 0, "ackSeq": 3}
    assert json.loads(run(command, "resume", url, server.ca, its, park, log, 7)) == {"code": 0, "from": 3, "ackSeq": 7}
    assert [s for (s,) in server.sql("SELECT seq FROM up_log WHERE lot = ? ORDER BY seq", park)] == list(range(1, 8))


def test_the_first_reservation_of_the_readme(server, tmp_path):
    server.lot("README")
    key = key_file(tmp_path, server.issue("provider"))
    done = subprocess.run(["bash", FOLDER / "book.sh", server.ready["https"], server.ca, key, "README"], capture_output=True, text=True)
    assert json.loads(done.stdout)["code"] == 0, done.stdout + done.stderr
