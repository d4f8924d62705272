"""The Debian packages in a clean root without a toolchain (debootstrap): installed, started by the command of their unit, and used.
Runs as root: `./test package`."""
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/e2e"))
from berth import Gateway, Process, Server, booking, eventually  # noqa: E402

#: The release of the machine itself, from the mirror that debootstrap takes by default.
RELEASE = dict(line.split("=", 1) for line in open("/etc/os-release").read().splitlines() if "=" in line)["VERSION_CODENAME"]
#: Programs that are built already; no setting of a server, so it is not handed on.
PROGRAMS = os.environ.pop("BERTH_PROGRAMS", "")


class Steps:
    """What a newcomer does, with the time of the machine for each: printed at the end."""

    def __init__(self):
        self.rows, self.since = [], time.monotonic()

    def done(self, what):
        now = time.monotonic()
        self.rows.append((what, now - self.since))
        self.since = now

    def show(self):
        print("\n" + "\n".join(f"{seconds:6.1f} s  {what}" for what, seconds in self.rows))


STEPS = Steps()


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{args}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    out = tmp_path_factory.mktemp("packages")
    run(ROOT / "scripts/package.sh", out, env={**os.environ, "BERTH_PROGRAMS": PROGRAMS})
    return {p.name.split("_")[0]: p for p in out.glob("*.deb")}


@pytest.fixture(scope="module")
def clean(packages, tmp_path_factory):
    """A root with nothing but a minimal Debian and the two packages."""
    root = tmp_path_factory.mktemp("clean") / "root"
    run("debootstrap", "--variant=minbase", RELEASE, root)
    for part in ("resolv.conf", "hosts"):
        if pathlib.Path("/etc", part).exists():
            shutil.copy(f"/etc/{part}", root / "etc" / part)
    mounts = [("proc", root / "proc"), ("sysfs", root / "sys")]
    for kind, place in mounts:
        run("mount", "-t", kind, kind, place)
    try:
        for package in packages.values():
            shutil.copy(package, root / "tmp" / package.name)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        run("chroot", root, "apt-get", "update", "-qq", env=env)
        STEPS.since = time.monotonic()
        run("chroot", root, "apt-get", "install", "-y", "-qq", "--no-install-recommends",
            *[f"/tmp/{p.name}" for p in packages.values()], env=env)
        STEPS.done("both packages are installed, with what they need from Debian")
        yield root
    finally:
        for _, place in reversed(mounts):
            subprocess.run(["umount", "-l", place], check=False)


def unit(root, name):
    """The settings of a unit's service, as systemd reads them."""
    lines = (root / f"usr/lib/systemd/system/{name}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


class Installed(Server):
    """The server of a clean root, started by the command of its unit under the user of its unit."""

    def __init__(self, root, folder):
        super().__init__(folder)
        self.root, self.data = root, root / "var/lib/berth"
        (root / "run/notify.sock").unlink(missing_ok=True)

    def start(self):
        settings = unit(self.root, "berth")
        notify = self.root / "run/notify.sock"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(notify))
        notify.chmod(0o666)
        self.manager.settimeout(60)
        command = settings["ExecStart"].split() + ["--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
        name, value = settings["Environment"].split("=", 1)
        self.process = Process(
            ["chroot", f"--userspec={settings['User']}:{settings['Group']}", self.root, *command], self.folder / "server.log",
            env={"NOTIFY_SOCKET": "/run/notify.sock", "HOME": "/", name: value})
        self.ready = self.process.ready()
        import ssl
        self.ca = str(self.root) + self.ready["ca"]
        self.context = ssl.create_default_context(cafile=self.ca)
        return self

    def cli(self, *args):
        return run("chroot", "--userspec=berth:berth", self.root, "/usr/bin/berth", *args, "--data", "/var/lib/berth")


def test_the_programs_need_nothing_but_debian(clean):
    assert not list(clean.glob("usr/bin/swift*")) and not list(clean.glob("usr/lib/**/libswiftCore.so"))
    for name in ("berth", "berth-gateway"):
        version = run("chroot", clean, name, "--version").strip()
        assert version.startswith("0.") and "+" in version, version
        manual = run("gzip", "-dc", clean / f"usr/share/man/man1/{name}.1.gz")
        assert f".Nm {name}" in manual and ".Sh COMMANDS" in manual
        assert (clean / f"usr/share/bash-completion/completions/{name}").stat().st_size > 1000
        for part in (f"{name}.service", *(["berth-nightly.service", "berth-nightly.timer"] if name == "berth" else [])):
            run("systemd-analyze", "verify", f"--root={clean}", "--man=no", "--recursive-errors=no", part)


def upgrade(root, package):
    """Installs the same package under a later version, as apt does it."""
    folder = root / "tmp/next"
    run("dpkg-deb", "-R", package, folder)
    control = folder / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 99."))
    run("dpkg-deb", "--build", "--root-owner-group", folder, root / "tmp/next.deb")
    run("chroot", root, "dpkg", "-i", "/tmp/next.deb", env={**os.environ, "LC_ALL": "C"})


def test_a_city_runs_from_the_package(clean, packages, tmp_path):
    STEPS.since = time.monotonic()
    server = Installed(clean, tmp_path).start()
    STEPS.done("the server is ready (READY=1)")
    gateway = None
    try:
        assert b"READY=1" in server.manager.recv(1000)
        assert server.data.stat().st_mode & 0o777 == 0o700
        provider = server.issue("provider")
        key = server.issue("lot", "PKG1")
        STEPS.done("two credentials are issued")
        # What one sends to a vendor: without the secret.
        server.cli("keys", "issue", "--role", "lot", "--name", "vendor", "--park", "PKG2", "--host", "127.0.0.1", "--sheet", "/var/lib/berth/vendor.md")
        sheet = (clean / "var/lib/berth/vendor.md").read_text()
        assert f"https://127.0.0.1:{server.https_port}" in sheet and "BEGIN CERTIFICATE" in sheet
        (clean / "var/lib/berth/vendor.md").unlink()
        STEPS.done("a sheet for a vendor is written")
        operator = server.issue("operator")
        assert operator.secret
        # The box of the lot, from the other package, under its own user.
        gateway = Gateway(server, tmp_path, [(key, {})])
        config = json.loads(gateway.config.read_text())
        config["spool"] = "/var/lib/berth-gateway/spool.sqlite"
        shutil.copy(server.ca, clean / "etc/berth/ca.pem")
        config["ca"] = "/etc/berth/ca.pem"
        place = clean / "etc/berth/gateway.json"
        place.write_text(json.dumps(config))
        owner = run("stat", "-c", "%u:%g", clean / "etc/berth").strip()
        run("chown", owner, place, clean / "etc/berth/ca.pem")
        settings = unit(clean, "berth-gateway")
        checked = run("chroot", f"--userspec={settings['User']}:{settings['Group']}", clean, "/usr/bin/berth-gateway", "check", "--config", "/etc/berth/gateway.json")
        assert "PKG1 MQTT" in checked and "FAILED" not in checked, checked
        STEPS.done("the gateway's file is checked from the file to an answer over each carrier")
        gateway.process = Process(
            ["chroot", f"--userspec={settings['User']}:{settings['Group']}", clean, *settings["ExecStart"].split()], tmp_path / "gateway.log",
            env={"HOME": "/"})
        assert gateway.process.ready()["event"] == "ready"
        made = eventually(lambda: (lambda r: r if r.code == 0 else None)(server.call(provider, "order.create", booking("PKG1"))), 30)
        order = made.data["orderNo"]
        assert eventually(lambda: order in gateway.in_force("PKG1"), 30)
        STEPS.done("the gateway runs, and has the first reservation in its list")
        connection = server.connection()
        for path, status in (("/livez", "ok"), ("/readyz", "ready"), ("/healthz", "ok")):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            assert answer.status == 200 and body["status"] == status and "+" in body["version"], body
        connection.request("GET", "/metrics")
        assert b'berth_requests_total{service="order.create",code="0"}' in connection.getresponse().read()
        connection.close()
        # The night: a backup and a look through the database, by the command of the unit, while the server runs.
        nightly = shlex.split(unit(clean, "berth-nightly")["ExecStart"].replace("$$", "$"))
        run("chroot", "--userspec=berth:berth", clean, *nightly)
        assert len(list((clean / "var/backups/berth").glob("berth-*/manifest.json"))) == 1
        STEPS.done("the probes and the metrics are looked at; the nightly command makes a backup and looks through the database")
        gateway.process.stop()
        server.stop()
        server.manager.close()
        # The next version of the package: what was answered is there.
        upgrade(clean, packages["berth"])
        server = Installed(clean, tmp_path / "next").start()
        assert server.call(provider, "order.detail", {"orderNo": order}).code == 0
        server.stop()
        server.manager.close()
        STEPS.done("the next version is installed and answers for the reservation")
        # The machine is lost: its backup and the key, in another folder.
        run("chroot", clean, "install", "-d", "-m", "0700", "-o", "berth", "-g", "berth", "/var/lib/berth-new")
        run("chroot", "--userspec=berth:berth", clean, "/usr/bin/berth", "restore", "--from", "/var/backups/berth", "--data", "/var/lib/berth-new",
            "--key", "/var/lib/berth/master.key")
        run("chroot", clean, "sh", "-c", "mv /var/lib/berth /var/lib/berth-lost && mv /var/lib/berth-new /var/lib/berth")
        server = Installed(clean, tmp_path / "restored").start()
        assert server.call(provider, "order.detail", {"orderNo": order}).code == 0
        STEPS.done("the backup is restored in a new folder, and the server answers for the reservation")
        STEPS.show()
    finally:
        if gateway and gateway.process:
            gateway.process.stop()
        server.stop()
        server.manager.close()
