"""A city on PostgreSQL with several servers, and a judge that reads plain SQL: nothing of the Swift code says whether it was right."""
import http.client
import json
import os
import pathlib
import queue
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid

from berth import BIN, ROOT, Process, Server, booking, envelope, free_port


class Postgres:
    """A database of its own on a socket in a temporary folder; it ends with this process."""

    def __init__(self, *options):
        lines = subprocess.run(
            [str(ROOT / "scripts/postgres.sh"), str(os.getpid()), *options], capture_output=True, text=True, check=True).stdout.split("\n")
        self.folder, self.address = pathlib.Path(lines[0]), lines[1]

    def city(self, name):
        return f"{self.address}&realm={name}"

    def sql(self, text, realm=None):
        """Rows as lists of texts."""
        prefix = f"SET search_path TO {realm};" if realm else ""
        done = subprocess.run(
            ["psql", "-qAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.address, "-c", prefix + text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    @property
    def pid(self):
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def ctl(self, *args):
        command = [str(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1] / "pg_ctl"), "-D", str(self.folder / "data"), "-w",
                   "-l", str(self.folder / "server.log"), *args]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] + command
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/")

    def kill(self):
        """Everything of it ends at once, as when its machine loses power."""
        self.ctl("-m", "immediate", "stop")

    def start(self):
        self.ctl("start")


class Line:
    """A way to the database over TCP that can be cut: no packet passes in either direction, and neither end is told. Its port is this test's own."""

    def __init__(self, database):
        self.target = str(database.folder / ".s.PGSQL.5432")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.table = f"berth{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def city(self, name):
        return f"postgres://berth@127.0.0.1:{self.port}/postgres?sslmode=disable&gssencmode=disable&realm={name}"

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.target)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one, other):
        try:
            while data := one.recv(65_536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        rules = [f"add table inet {self.table}", f"add chain inet {self.table} out {{ type filter hook output priority 0; }}"]
        rules += [f"add rule inet {self.table} out ip daddr 127.0.0.1 tcp {side} {self.port} drop" for side in ("dport", "sport")]
        subprocess.run(["nft", "-f", "-"], input="\n".join(rules), text=True, check=True)

    def heal(self):
        subprocess.run(["nft", "delete", "table", "inet", self.table], check=False, capture_output=True)


class Member(Server):
    """One server of a city. It leads, or waits for the one that does."""

    started = []

    def __init__(self, folder, address, key_from=None, **settings):
        super().__init__(folder, store=address, **settings)
        if key_from is not None:
            self.data.mkdir(parents=True, mode=0o700)
            shutil.copy(key_from.data / "master.key", self.data / "master.key")

    def launch(self):
        """Starts the process and returns at once: a standby is ready when it leads."""
        args = [BIN / "berth", "serve", "--data", self.data, "--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
        for name, value in self.settings.items():
            args += ["--set", f"{name.replace('__', '.')}={value}"]
        self.process = Process(args, self.folder / "server.log")
        Member.started.append(self.process)
        self.is_ready, self.is_open = threading.Event(), threading.Event()
        process = self.process

        def wait():
            for line in filter(bytes.strip, iter(process.process.stdout.readline, b"")):
                self.ready = json.loads(line)
                self.ca = self.ready["ca"]
                self.context = ssl.create_default_context(cafile=self.ca)
                if self.ready["event"] == "ready":
                    self.led_at = time.monotonic()
                    self.is_ready.set()
                self.is_open.set()
        threading.Thread(target=wait, daemon=True).start()
        return self

    def leads(self, seconds):
        assert self.is_ready.wait(seconds), self.log()[-2000:]
        return self

    def carries(self, seconds):
        """Waits until it listens as a standby."""
        assert self.is_open.wait(seconds) and not self.is_ready.is_set(), self.log()[-2000:]
        return self

    def log(self):
        return (self.folder / "server.log").read_text()

    def ended(self, seconds):
        """The exit code, once the process has ended."""
        return self.process.process.wait(seconds)

    def metric(self, name):
        connection = self.connection()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)}


class Client(threading.Thread):
    """Books without pause and keeps a journal of what it was told. A request that was not answered is sent again, to whichever server takes it,
    with the same requestId and a fresh nonce."""

    def __init__(self, members, key, park):
        super().__init__(daemon=True)
        self.members, self.key, self.park = members, key, park
        self.told, self.unfinished = [], None
        #: How long it waits for an answer, s; and why it had to ask again.
        self.patience, self.reasons = 3, []
        self.ending = threading.Event()
        self.failures = 0

    def run(self):
        while not self.ending.is_set():
            data = booking(self.park)
            name = str(uuid.uuid4())
            self.unfinished = (name, data)
            while True:
                reply = self.ask(name, data)
                if reply is not None:
                    self.told.append((time.monotonic(), name, data, reply))
                    break
                self.failures += 1
                time.sleep(0.05)
                if self.ending.is_set() and self.ended_at + 30 < time.monotonic():
                    return
            self.unfinished = None
            time.sleep(0.01)

    def ask(self, name, data):
        for member in self.members:
            if not member.is_open.is_set() or member.process.process.poll() is not None:
                continue
            try:
                reply = member.send(
                    self.key, envelope(self.key, "order.create", data, requestId=name), connection=member.connection(timeout=self.patience))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.reasons.append(repr(error))
                continue
            if reply.status < 500:
                return reply
            self.reasons.append(repr(reply))
        return None

    def finish(self):
        self.ended_at = time.monotonic()
        self.ending.set()
        self.join(60)
        assert not self.is_alive() and self.unfinished is None, "a client that sends again was never answered"


def judge(database, realm, clients):
    """J1 to J3, J5 and J9 of the design, from the clients' journals and plain SQL."""
    orders = {row[0]: row[1:] for row in database.sql("SELECT client_no, serial, status, app_id FROM orders", realm)}
    accepted = [(name, data, reply) for client in clients for (_, name, data, reply) in client.told if reply.code == 0]
    for name, data, reply in accepted:
        assert data["clientOrderNo"] in orders, f"{name} was accepted and is lost"
        serial = reply.data["orderNo"]
        assert int(serial[-10:]) == int(orders[data["clientOrderNo"]][0]), f"{name}: {serial} is another order"
    asked = {data["clientOrderNo"] for client in clients for (_, _, data, _) in client.told}
    asked |= {client.unfinished[1]["clientOrderNo"] for client in clients if client.unfinished}
    assert set(orders) <= asked, "an order that nobody asked for"
    serials = [reply.data["orderNo"] for _, _, reply in accepted]
    assert len(set(serials)) == len(serials), "an order number was given twice"
    (count, first, last, kept), = database.sql("SELECT count(*), min(id), max(id), (SELECT last FROM realm) FROM journal", realm)
    assert count == last == kept and first == "1", f"the journal has a hole: {count} entries, {first} to {last}, realm {kept}"
    fallen = database.sql("SELECT id FROM (SELECT id, term, lag(term) OVER (ORDER BY id) AS before FROM journal) j WHERE term < before", realm)
    assert not fallen, f"a term fell at entry {fallen[0]}"
    holes = database.sql("SELECT lot, epoch FROM down_log GROUP BY lot, epoch HAVING count(*) <> max(seq) - min(seq) + 1", realm)
    assert not holes, f"a down log has a hole: {holes}"
    twice = database.sql("SELECT key FROM replies GROUP BY key, app_id, request_id HAVING count(*) > 1", realm)
    assert not twice, "one request has two results"
    wrong = database.sql("SELECT account FROM balances b WHERE fen <> (SELECT coalesce(sum(fen), 0) FROM ledger l WHERE l.account = b.account)", realm)
    assert not wrong, f"balances that the ledger does not make: {wrong}"
    return len(accepted)


def longest_gap(clients, since, until):
    """The longest time without a successful booking, s."""
    times = sorted([since] + [at for client in clients for (at, _, _, reply) in client.told if reply.code == 0 and since <= at <= until])
    return max(later - earlier for earlier, later in zip(times, times[1:]))
