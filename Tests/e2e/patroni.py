"""A city over the failures of its database: PostgreSQL under Patroni with three etcds, as a city would run it, on loopback. A campaign and no
part of ./test; its last results stand in docs/campaigns.md. Needs Debian's patroni, etcd-server and postgresql-15, and root.

    .venv/bin/python Tests/e2e/patroni.py [ROUNDS]     switchovers, killed postmasters, lost machines, a lost standby, etcd without majority (1)
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from berth import eventually, free_port
from cluster import Client, Member, judge, longest_gap
from test_cluster import leave_room

AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


class Machine:
    """PostgreSQL, Patroni and etcd of one machine: processes of their own that end together."""

    def __init__(self, number, folder):
        self.name, self.folder = f"p{number}", folder / f"p{number}"
        self.folder.mkdir()
        shutil.chown(self.folder, "postgres")
        self.port, self.rest, self.etcd, self.peer = (free_port() for _ in range(4))
        self.processes = {}

    def run(self, name, *args):
        log = open(self.folder / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            AS_POSTGRES + [str(a) for a in args], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)

    def start_etcd(self, all_):
        self.run("etcd", "etcd", "--name", self.name, "--data-dir", self.folder / "etcd", "--listen-client-urls", f"http://127.0.0.1:{self.etcd}",
                 "--advertise-client-urls", f"http://127.0.0.1:{self.etcd}", "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}", "--initial-cluster",
                 ",".join(f"{one.name}=http://127.0.0.1:{one.peer}" for one in all_), "--initial-cluster-state", "new",
                 "--heartbeat-interval", "100", "--election-timeout", "1000")

    def start_patroni(self, all_):
        settings = {
            "scope": "berth", "name": self.name, "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"hosts": [f"127.0.0.1:{one.etcd}" for one in all_]},
            "bootstrap": {
                "dcs": {"ttl": 20, "loop_wait": 2, "retry_timeout": 5, "synchronous_mode": True, "synchronous_mode_strict": True,
                        "failsafe_mode": True, "master_start_timeout": 0, "maximum_lag_on_failover": 33_554_432,
                        "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100, "wal_keep_size": "256MB"}}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]},
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}", "connect_address": f"127.0.0.1:{self.port}", "data_dir": str(self.folder / "data"),
                "bin_dir": str(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]), "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": {"username": "berth", "password": "x"}, "replication": {"username": "replicator", "password": "x"},
                                   "rewind": {"username": "rewinder", "password": "x"}},
                "parameters": {"unix_socket_directories": str(self.folder), "fsync": "on", "synchronous_commit": "on"}}}
        # JSON is YAML.
        (self.folder / "patroni.yml").write_text(json.dumps(settings))
        self.run("patroni", "patroni", self.folder / "patroni.yml")

    def state(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=2) as answer:
                return json.load(answer)
        except OSError:
            return {}

    @property
    def postmaster(self):
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def kill_postmaster(self):
        """`kill -9` of the postmaster: its children end by themselves."""
        os.kill(self.postmaster, signal.SIGKILL)

    def vanish(self):
        """Everything of the machine ends at once and is not started again."""
        for process in self.processes.values():
            process.kill()
        pid = self.postmaster
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        for one in [pid] + [int(child) for child in children]:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self.processes.values():
            process.wait()

    def stop(self):
        for name in ("patroni", "etcd"):
            process = self.processes.get(name)
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


class Cluster:
    """Three machines. Reads like the Postgres of the other tests."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-patroni-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.machines = [Machine(number, self.folder) for number in (1, 2, 3)]
        for machine in self.machines:
            machine.start_etcd(self.machines)
        time.sleep(2)
        for machine in self.machines:
            machine.start_patroni(self.machines)
        eventually(lambda: self.primary and len(self.standbys) == 2 and self.synchronous, 120)

    def city(self, name):
        hosts = ",".join(f"127.0.0.1:{machine.port}" for machine in self.machines)
        return f"postgres://berth:x@{hosts}/postgres?realm={name}"

    def sql(self, text, realm=None):
        prefix = f"SET search_path TO {realm};" if realm else ""
        done = subprocess.run(
            ["psql", "-qAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.city("x").split("?")[0] + "?target_session_attrs=read-write", "-c",
             prefix + text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [row.split("\t") for row in done.stdout.splitlines()]

    @property
    def states(self):
        return {machine: machine.state() for machine in self.machines}

    @property
    def primary(self):
        return next((m for m, s in self.states.items() if s.get("role") in ("master", "primary") and s.get("state") == "running"), None)

    @property
    def standbys(self):
        return [m for m, s in self.states.items() if s.get("role") == "replica" and s.get("state") == "running"]

    @property
    def synchronous(self):
        return next((m for m, s in self.states.items() if s.get("sync_standby")), None)

    def settled(self, seconds=120):
        """All three take part, and one of them confirms commits."""
        eventually(lambda: self.primary and len(self.standbys) == 2 and self.synchronous, seconds)
        return self.primary

    def switchover(self):
        old, new = self.primary, self.synchronous
        subprocess.run(["patronictl", "-c", str(old.folder / "patroni.yml"), "switchover", "--master", old.name, "--candidate", new.name, "--force"],
                       check=True, capture_output=True)

    def stop(self):
        for machine in self.machines:
            machine.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def campaign(rounds=1):
    database = Cluster()
    print(f"cluster: primary {database.primary.name}, synchronous standby {database.synchronous.name}", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp())
    first = Member(folder / "s1", database.city("pat")).launch().leads(60)
    second = Member(folder / "s2", database.city("pat"), key_from=first).launch().carries(30)
    key = first.issue("provider", rate=100_000)
    leave_room(first, "PA", "PB")
    everybody = []

    def scene(name, fault, settle, limit):
        database.settled()
        leaders = [server for server in (first, second) if server.is_ready.is_set() and server.process.process.poll() is None]
        clients = [Client([one, other], key, park) for one, other, park in ((first, second, "PA"), (second, first, "PB")) for _ in range(3)]
        for client in clients:
            client.patience = 12
            client.start()
        time.sleep(3)
        began = time.monotonic()
        fault()
        time.sleep(3)
        eventually(lambda: max(client.told[-1][0] for client in clients if client.told) > time.monotonic() - 0.5, 90)
        time.sleep(3)
        settle()
        for client in clients:
            client.finish()
        gap = longest_gap(clients, began, time.monotonic())
        everybody.extend(clients)
        taken = judge(database, "pat", everybody)
        doubts = {}
        for server in (first, second):
            if server.process.process.poll() is not None:
                server.launch()
            if server.is_ready.is_set():
                doubts = {name.split('"')[1]: int(value) for name, value in server.metric("berth_commit_in_doubt_total").items()}
        term = database.sql("SELECT term FROM realm", "pat")[0][0]
        print(f"{name:<44} without a booking for {gap:5.1f} s (at most {limit}); {taken} bookings so far, all there; term {term}, doubts {doubts},"
              f" {sum(client.failures for client in clients)} asked again", flush=True)
        assert gap <= limit, f"{name}: {gap:.1f} s"
        return leaders

    nothing = lambda: None
    try:
        for _ in range(rounds):
            scene("planned switchover", database.switchover, nothing, 12)
            scene("postmaster of the primary killed", lambda: database.primary.kill_postmaster(), nothing, 20)
            lost = []

            def lose(machine):
                lost.append(machine)
                machine.vanish()

            def back():
                machine = lost.pop()
                machine.start_etcd(database.machines)
                machine.start_patroni(database.machines)
            scene("synchronous standby's machine lost", lambda: lose(database.synchronous), back, 30)
            scene("primary's machine lost", lambda: lose(database.primary), back, 40)
            # Two of three etcds: nobody can be elected, and failsafe mode keeps the primary.
            stopped = []

            def majority():
                for machine in database.standbys[:2]:
                    os.kill(machine.processes["etcd"].pid, signal.SIGSTOP)
                    stopped.append(machine)
                time.sleep(30)

            def healed():
                while stopped:
                    os.kill(stopped.pop().processes["etcd"].pid, signal.SIGCONT)
            scene("two of three etcds paused for 30 s", majority, healed, 6)
        for server in (first, second):
            server.stop()
    finally:
        for process in Member.started:
            if process.process.poll() is None:
                process.kill()
        database.stop()


if __name__ == "__main__":
    campaign(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
