"""Backups: made while the server runs, put back elsewhere, and refused where they are not what they were."""
import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest

from berth import BIN, Key, Lot, Server, booking, eventually, plate
from test_pictures import png


def berth(*args, env=None):
    return subprocess.run([BIN / "berth", *map(str, args)], capture_output=True, text=True, env={**os.environ, **(env or {})})


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("kept"), environment="test").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def backup(city, tmp_path_factory):
    """A backup that was made while orders came in, and what had been answered before it began and after it was done."""
    folder = tmp_path_factory.mktemp("backups")
    provider = city.issue("provider", rate=100_000)
    lot = city.lot("KEPT", reserve=5_000, total=6_000)
    data = png(64, 48)
    ticket = city.call(lot, "image.ticket.apply", {"type": 1, "ext": "png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}).data
    import requests
    assert requests.put(ticket["uploadUrl"], data=data, verify=city.ca).status_code == 204
    assert city.call(lot, "image.upload.complete", {"imageId": ticket["imageId"]}).code == 0
    # An own certificate that lies beside the local one belongs to the city too.
    (city.data / "tls/fullchain.pem").write_text("-----BEGIN CERTIFICATE-----\nan own chain")
    # A link to a file that a tool keeps is read like the file.
    (city.folder / "kept.pem").write_text("-----BEGIN CERTIFICATE-----\na kept chain")
    (city.data / "tls/linked.pem").symlink_to(city.folder / "kept.pem")
    # What is not PEM, or too large, stays where it is and stops nothing.
    (city.data / "tls/store.p12").write_bytes(bytes(range(256)))
    (city.data / "tls/large.pem").write_text("-----BEGIN CERTIFICATE-----\n" + "x" * 500_000)
    book = lambda: city.call(provider, "order.create", booking("KEPT")).data["orderNo"]
    before, ended, made = [book() for _ in range(20)], threading.Event(), []

    def go_on():
        while not ended.is_set():
            made.append(book())
    booking_thread = threading.Thread(target=go_on)
    booking_thread.start()
    try:
        done = berth("backup", "--data", city.data, "--to", folder)
    finally:
        ended.set()
        booking_thread.join()
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    after = [book() for _ in range(3)]
    return {"folder": folder, "facts": facts, "before": before, "during": made, "after": after, "provider": provider, "lot": lot, "picture": ticket["imageId"]}


def test_a_backup_says_what_is_in_it(city, backup):
    facts = backup["facts"]
    path = facts["path"]
    assert sorted(os.listdir(path)) == ["berth.sqlite", "manifest.json", "pictures"]
    manifest = json.load(open(f"{path}/manifest.json"))
    data = open(f"{path}/berth.sqlite", "rb").read()
    assert hashlib.sha256(data).hexdigest() == manifest["database"]["sha256"] == facts["database"]["sha256"]
    assert facts["database"]["bytes"] == len(data) and facts["pictures"]["count"] == 1 and facts["database"]["lastEntry"] > 20
    for root, folders, files in os.walk(path):
        assert os.stat(root).st_mode & 0o077 == 0 and all(os.stat(f"{root}/{f}").st_mode & 0o077 == 0 for f in files)
    # Neither the master key, nor the private key of the authority, nor a secret can be read from it.
    everything = data + open(f"{path}/manifest.json", "rb").read()
    key = open(city.data / "master.key").read().strip()
    assert key.encode() not in everything and bytes.fromhex(key) not in everything
    assert b"PRIVATE KEY" not in everything and backup["provider"].secret.encode() not in everything
    assert not [n for n in os.listdir(backup["folder"]) if n.endswith(".partial")]


def test_a_backup_is_put_back(city, backup, tmp_path):
    """The drill: another folder, another server; what was answered before the backup is there, numbers are skipped, and the box takes a snapshot."""
    other = Server(tmp_path / "other", environment="test")
    done = berth("restore", "--from", backup["folder"], "--data", other.data, "--key", city.data / "master.key")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["findings"] == [] and answer["verified"] and answer["pictures"] == 1 and answer["lineage"] > 0
    assert berth("verify", "--data", other.data).returncode == 0
    other.start()
    try:
        provider, lot = backup["provider"], backup["lot"]
        known = lambda order: other.call(provider, "order.detail", {"orderNo": order}).code
        assert [known(o) for o in backup["before"]] == [0] * 20
        assert all(known(o) != 0 for o in backup["after"])
        assert backup["during"], "orders came while the backup was made"
        during = [known(o) == 0 for o in backup["during"]]
        assert during == sorted(during, reverse=True), "one state: what came later is missing as a whole"
        fresh = other.call(provider, "order.create", booking("KEPT")).data["orderNo"]
        assert int(fresh[-9:]) - int(backup["before"][-1][-9:]) >= 1_000_000, "numbers are skipped"
        record = [r for r in json.loads("[" + ",".join(other.cli("audit", "list").splitlines()) + "]") if "backup was put back" in r["detail"]]
        assert record and other.cli("audit", "verify")
        found = other.call(lot, "image.upload.query", {"imageId": backup["picture"]})
        assert found.code == 0
        # The certificate authority is the same: boxes that trust it go on.
        assert open(other.ca).read() == open(city.ca).read()
        assert (other.data / "tls/fullchain.pem").read_text() == "-----BEGIN CERTIFICATE-----\nan own chain"
        assert (other.data / "tls/linked.pem").read_text().endswith("a kept chain")
        assert not (other.data / "tls/store.p12").exists() and not (other.data / "tls/large.pem").exists()
        box = Lot(other, lot).connect()
        assert box.call("sys.time.get")["code"] == 0
        box.disconnect()
    finally:
        other.stop()


def test_what_is_not_what_it_was_is_refused(city, backup, tmp_path):
    """A wrong key, a changed database, a manifest of something else, a folder with data, no key: each has a reason, and nothing is put back."""
    key, path = city.data / "master.key", backup["facts"]["path"]
    restore = lambda *args, source=path, to="t", **more: berth("restore", "--from", source, "--data", tmp_path / to, *args, **more)
    wrong = tmp_path / "wrong.key"
    wrong.write_text("ab" * 32)
    done = restore("--key", wrong)
    assert done.returncode == 1 and "another master key" in done.stderr and not (tmp_path / "t").exists()
    done = restore()
    assert done.returncode == 1 and "--key" in done.stderr
    done = restore("--key", tmp_path / "none")
    assert done.returncode == 1 and "is missing" in done.stderr
    changed = tmp_path / "changed"
    shutil.copytree(path, changed)
    with open(changed / "berth.sqlite", "r+b") as file:
        file.seek(5_000)
        file.write(b"\xff" * 16)
    done = restore("--key", key, source=changed, to="c")
    assert done.returncode == 1 and "has changed since the backup" in done.stderr and not (tmp_path / "c/berth.sqlite").exists()
    for text in ("", "{", "{}", '{"kind":"berth backup","format":9}', '{"kind":"berth backup","format":1}'):
        (changed / "manifest.json").write_text(text)
        done = restore("--key", key, source=changed, to="m")
        assert done.returncode == 1 and str(changed) in done.stderr, (text, done.stderr)
    done = restore("--key", key, source=tmp_path)
    assert done.returncode == 1 and "no backup" in done.stderr
    done = berth("restore", "--from", path, "--data", city.data, "--key", key)
    assert done.returncode == 1 and "holds a server's data" in done.stderr
    assert city.call(backup["provider"], "order.detail", {"orderNo": backup["after"][-1]}).code == 0, "the city goes on"
    # A picture that is missing, and one that is a link to something else.
    for name, spoil in (("less", lambda file: file.unlink()), ("link", lambda file: (file.unlink(), file.symlink_to("/etc/hostname")))):
        spoiled = tmp_path / name
        shutil.copytree(path, spoiled)
        spoil(next((spoiled / "pictures").iterdir()))
        done = restore("--key", key, source=spoiled, to=name + "d")
        assert done.returncode == 1 and "pictures" in done.stderr, done.stderr
        assert not (tmp_path / (name + "d") / "berth.sqlite").exists(), "what was not restored whole is no server's data"
        # The next try begins anew.
        assert berth("restore", "--from", path, "--data", tmp_path / (name + "d"), "--key", key).returncode == 0
    # With the key apart, named by the environment.
    done = restore(to="e", env={"BERTH_MASTER_KEY_FILE": str(key)})
    assert done.returncode == 0 and not (tmp_path / "e/master.key").exists(), done.stderr


def test_backups_are_kept_so_many(city, tmp_path):
    """--keep; a picture that the backup before has is linked; a stopped server; what is no data folder or no room."""
    to = tmp_path / "many"
    made = [json.loads(berth("backup", "--data", city.data, "--to", to, "--keep", 2).stdout) for _ in range(3)]
    assert made[0]["pictures"]["linked"] == 0 and made[2]["pictures"]["linked"] == made[2]["pictures"]["count"]
    assert len([n for n in os.listdir(to) if n.startswith("berth-")]) == 2 and made[2]["removed"] == [os.path.basename(made[0]["path"])]
    (to / "berth-20200101T000000.000Z.partial").mkdir()
    # Another city's backup, and one of a time when the clock was ahead: neither takes the place of the new one, and the other city's stays.
    strange = to / "berth-20990101T000000.000Z"
    strange.mkdir()
    (strange / "manifest.json").write_text('{"kind":"berth backup","keyCheck":"AAAA"}')
    shutil.copytree(made[2]["path"], to / "berth-20980101T000000.000Z")
    last = json.loads(berth("backup", "--data", city.data, "--to", to, "--keep", 1).stdout)
    assert {n for n in os.listdir(to) if n.startswith("berth-")} == {os.path.basename(last["path"]), strange.name}, os.listdir(to)
    shutil.rmtree(strange)
    for args, why in ((("--data", tmp_path / "none", "--to", to), "no data folder"), (("--data", city.data, "--to", city.data / "b"), "outside of the data folder"),
                      (("--data", city.data, "--to", "/proc/berth"), "cannot be made"), (("--data", city.data, "--to", to, "--keep", 0), "--keep 0")):
        done = berth("backup", *args)
        assert done.returncode != 0 and why in done.stderr, (args, done.stderr)
    done = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f 64; exec {BIN}/berth backup --data {city.data} --to {to}"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr and len([n for n in os.listdir(to) if n.startswith("berth-") and not n.endswith(".partial")]) == 1, "no room: nothing has a backup's name"
    other = Server(tmp_path / "quiet").start()
    other.stop()
    done = berth("backup", "--data", other.data, "--to", to)
    assert done.returncode == 0, done.stderr
    # The newest of a folder; a partial one of a backup that was killed is no backup, and was removed.
    assert not [n for n in os.listdir(to) if n.endswith(".partial")]
    assert berth("restore", "--from", to, "--data", tmp_path / "q", "--key", other.data / "master.key").returncode == 0
