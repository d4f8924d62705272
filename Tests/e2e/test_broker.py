"""The broker child: it ends with its server, is started again, holds a bounded amount, and the server says when it has no connection to it."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

from berth import BIN, Lot, Process, Server, eventually
from test_cli import mosquittos, run


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
    except OSError:
        return True


def broker_pid(server):
    return json.loads(run("status", "--data", server.data).stdout)["brokerPid"]


def doctor(server):
    done = run("doctor", "--data", server.data, "--https-port", server.https_port, "--mqtt-port", server.mqtt_port)
    return done.returncode, next(line for line in done.stdout.splitlines() if "  broker: " in line)


def test_it_ends_with_a_killed_server(own_server):
    server = own_server.start()
    pid = broker_pid(server)
    assert not gone(pid) and mosquittos(server.folder) == [pid]
    server.kill()
    eventually(lambda: gone(pid) and mosquittos(server.folder) == [], 2, 0.01)
    # Also when it was started again meanwhile, by another thread than the first.
    server.start()
    first = broker_pid(server)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: broker_pid(server) not in (0, first), 10)
    server.kill()
    eventually(lambda: mosquittos(server.folder) == [], 2, 0.01)


def test_everything_ends_with_a_killed_city(tmp_path):
    process = Process(
        [BIN / "berth", "city", "--data", tmp_path / "data", "--count", 3, "--https-port", 0, "--mqtt-port", 0, "--page-port", 0], tmp_path / "log")
    for line in process.process.stdout:
        if b"The city is open" in line:
            break
    assert len(mosquittos(tmp_path)) == 1
    process.kill()
    eventually(lambda: mosquittos(tmp_path) == [] and run("status", "--data", tmp_path / "data").returncode == 1, 15)


def test_one_that_an_older_release_left_behind_is_ended(own_server):
    server = own_server.start()
    server.stop()
    left = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(server.data / "broker/mosquitto.conf")], start_new_session=True)
    try:
        def listens():
            with socket.socket() as link:
                return link.connect_ex(("127.0.0.1", server.mqtt_port)) == 0
        eventually(listens, 5)
        (server.data / "broker/mosquitto.pid").write_text(f"{left.pid}\n")
        server.start()
        assert left.wait(5) == -signal.SIGKILL and broker_pid(server) != left.pid
    finally:
        left.kill()


def test_another_program_is_left_alone(own_server):
    """A pid file that names a process that is not ours."""
    server = own_server.start()
    server.stop()
    other = subprocess.Popen(["sleep", "60"])
    try:
        (server.data / "broker/mosquitto.pid").write_text(f"{other.pid}\n")
        server.start()
        assert other.poll() is None
        # Nor one that only reads our file.
        server.stop()
        with subprocess.Popen(["tail", "-f", str(server.data / "broker/mosquitto.conf")], stdout=subprocess.DEVNULL) as reader:
            (server.data / "broker/mosquitto.pid").write_text(f"{reader.pid}\n")
            server.start()
            assert reader.poll() is None
            reader.kill()
    finally:
        other.kill()


def test_it_inherits_nothing(own_server):
    server = own_server.start()
    first = broker_pid(server)
    os.kill(first, signal.SIGKILL)
    # The second one is started when the server has everything open.
    pid = eventually(lambda: (p := broker_pid(server)) not in (0, first) and p, 10)
    files = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            files.append(os.readlink(entry))
        except OSError:
            pass
    ours = [f for f in files if "berth.sqlite" in f or f.endswith("/lock") or "master.key" in f]
    sockets = [f for f in files if f.startswith("socket:")]
    assert ours == [] and len(sockets) <= 6, files
    # Nor a signal that is blocked: SIGHUP reloads the rights.
    eventually(lambda: json.loads(run("status", "--data", server.data).stdout)["mqtt"], 15)
    lot = Lot(server, server.lot("AFTER")).connect()
    assert lot.call("sync.cursor.query")["code"] == 0
    lot.disconnect()


def test_descriptors_are_raised_and_said(own_server):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = own_server
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wanted = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    assert f"descriptors: soft {wanted} hard " in (server.folder / "server.log").read_text()
    for pid in (server.process.pid, broker_pid(server)):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert int(re.search(r"Max open files\s+(\d+)", limits)[1]) == wanted


def test_the_doctor_says_when_the_server_is_cut_off(own_server):
    server = own_server.start()
    code, line = doctor(server)
    assert code == 0 and line.startswith("ok"), line
    rights, away = server.data / "broker/passwd", server.data / "broker/passwd.away"
    rights.rename(away)
    os.kill(broker_pid(server), signal.SIGKILL)
    eventually(lambda: doctor(server)[1].startswith("FAILED"), 15)
    code, line = doctor(server)
    assert code == 1 and "mosquitto.log" in line, line
    # It is tried again, and the server finds its way back.
    away.rename(rights)
    eventually(lambda: doctor(server)[1].startswith("ok"), 40)
    lot = Lot(server, server.lot("BACK")).connect()
    assert lot.call("sync.cursor.query")["code"] == 0
    lot.disconnect()


def test_a_failed_start_is_retried_with_growing_pauses(own_server, tmp_path, monkeypatch):
    """Another mosquitto in PATH, which fails while a file is there and notes each time."""
    bin_, failing, tries = tmp_path / "bin", tmp_path / "failing", tmp_path / "tries"
    bin_.mkdir()
    (bin_ / "mosquitto").write_text(f'#!/bin/sh\ndate +%s%N >>"{tries}"\n[ -e "{failing}" ] && exit 3\nexec /usr/sbin/mosquitto "$@"\n')
    (bin_ / "mosquitto").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    server = own_server.start()
    failing.touch()
    os.kill(broker_pid(server), signal.SIGKILL)
    times = lambda: [int(line) / 1e9 for line in tries.read_text().split()]
    eventually(lambda: len(times()) >= 6, 30)
    moments = times()[1:6]
    gaps = [after - before for before, after in zip(moments, moments[1:])]
    assert all(gap > wanted for gap, wanted in zip(gaps, (0.19, 0.39, 0.79, 1.59))), gaps
    failing.unlink()
    eventually(lambda: json.loads(run("status", "--data", server.data).stdout)["mqtt"], 40)
    log = (server.folder / "server.log").read_text()
    assert log.count("mosquitto ended; it is started again") >= 5
    # The first start is not retried: it ends the server, with a sentence.
    server.stop()
    failing.touch()
    done = run("serve", "--data", server.data, "--https-port", 0, "--mqtt-port", 0, timeout=30)
    assert done.returncode == 1 and "mosquitto does not start" in done.stderr, done


def test_ready_is_not_said_without_the_broker(tmp_path):
    """The certificate of the broker is from another authority than the one that the server trusts: it never connects."""
    server = Server(tmp_path).start()
    server.stop()
    tls = server.data / "tls"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=other",
                    "-keyout", tls / "ca.key", "-out", tls / "ca.pem"], check=True, capture_output=True)
    done = run("serve", "--data", server.data, "--https-port", 0, "--mqtt-port", 0, timeout=60)
    assert done.returncode == 1 and "mosquitto.log" in done.stderr and "ready" not in done.stdout, done
    assert mosquittos(tmp_path) == []


def test_a_start_that_the_broker_refuses(own_server):
    """mosquitto's own words are in the sentence, and nothing is left running."""
    server = own_server.start()
    server.stop()
    (server.data / "tls/ca.pem").write_text("no certificate\n")
    done = run("serve", "--data", server.data, "--https-port", 0, "--mqtt-port", 0, timeout=30)
    assert done.returncode == 1 and "mosquitto does not start: " in done.stderr and "ca.pem" in done.stderr, done
    assert mosquittos(server.folder) == []


def test_what_is_retained_is_bounded(own_server):
    """A lot may retain its presence; what else it has the broker keep is removed, and the lot is named."""
    server = own_server.start()
    bad = Lot(server, server.lot("BAD", rate=100_000)).connect()
    good = Lot(server, server.lot("GOOD")).connect()
    for number in range(3_000):
        bad.client.publish(f"rsp/v1/BAD/up/x{number}", b"y" * 1_000, 1, True)
    log = server.folder / "server.log"
    eventually(lambda: "had the broker retain were removed" in log.read_text(), 40)
    line = next(line for line in log.read_text().splitlines() if "had the broker retain were removed" in line)
    assert "mostOf=BAD" in line and int(re.search(r"itsShare=(\d+)", line)[1]) > 2_000, line
    assert good.call("sync.cursor.query")["code"] == 0
    # A lot cannot reach below its own level of names either.
    bad.client.publish("rsp/v1/BAD/up/a/b/c", b"y", 1, True)
    bad.disconnect()
    good.disconnect()


def test_a_packet_that_is_too_large_is_not_read(own_server):
    """A client may announce 256 MB; the broker must not make room for them."""
    server = own_server.start()
    bad = Lot(server, server.lot("BIG")).connect()
    good = Lot(server, server.lot("SMALL")).connect()
    memory = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{broker_pid(server)}/status").read_text())[1])
    before = memory()
    dropped = []
    bad.client.on_disconnect = lambda *args: dropped.append(1)
    bad.client.publish("rsp/v1/BIG/up/event.report", b"z" * (100 << 20), 0)
    eventually(lambda: dropped, 30)
    assert memory() - before < 30_000, "KiB"
    assert good.call("sync.cursor.query")["code"] == 0
    good.disconnect()


def test_its_bounds_are_those_of_the_document(own_server):
    server = own_server.start()
    text = (server.data / "broker/mosquitto.conf").read_text()
    document = (pathlib.Path(__file__).resolve().parents[2] / "docs/operating.md").read_text()
    for name in ("memory_limit", "max_packet_size", "message_size_limit", "max_queued_messages", "max_queued_bytes", "max_inflight_messages",
                 "persistent_client_expiration"):
        value = re.search(rf"^{name} (\S+)$", text, re.M)[1]
        assert f"`{name} {value}`" in document, f"{name} {value}"
    assert re.search(r"^max_connections \d+$", text, re.M)
