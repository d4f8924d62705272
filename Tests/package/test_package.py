"""The Debian packages on a machine with systemd and without a toolchain: the sessions of the documents are pasted into it, in their order.
Runs as root: `./test package`."""
import os
import shutil
import time

import pytest

from documents import sessions
from machine import Machine
from packages import RELEASE, ROOT, build, later, run

MARK = "@@ session"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def machine(packages, tmp_path_factory):
    """What Debian gives is fetched before: the network of the machine is its own."""
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    run("debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,ca-certificates", RELEASE, root)
    home = root / "root"
    for package in packages.values():
        shutil.copy(package, home / package.name)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    fetched = [f"/root/{p.name}" for p in packages.values()] + ["curl", "jq", "certbot", "pebble"]
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--download-only", *fetched]):
        run("chroot", root, *command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    (home / "next").mkdir()
    later(packages["berth"], home / "next", folder / "next")
    machine = Machine(root, folder / "log").start()
    yield machine
    machine.stop()


def paste(machine, document):
    """The sessions of a document in one shell, one after the other: (heading, seconds, what was written) of each."""
    parts = sessions(ROOT / "docs" / document)
    begun = time.monotonic()
    done = machine.run("\n".join(f"{text}\necho; echo '{MARK}' $(date +%s.%N)" for _, text in parts), check=False, timeout=900)
    pieces = done.stdout.split(MARK)
    print(f"\n{document}")
    last, rows = time.time() - (time.monotonic() - begun), []
    for (heading, _), before, after in zip(parts, pieces, pieces[1:]):
        end = float(after.split("\n")[0])
        rows.append((heading, end - last, before.partition("\n")[2]))
        print(f"{end - last:6.1f} s  {heading}")
        last = end
    assert done.returncode == 0, f"after {len(rows)} sessions of {document}: {pieces[-1][-3000:]}"
    return rows


def test_the_first_half_hour(machine):
    rows = paste(machine, "first-half-hour.md")
    texts = {heading: text for heading, _, text in rows}
    assert '"admit":true' in texts["5 A reservation and a car"]
    assert 'code="0"' in texts["6 Watch"] and "FAILED" not in texts["6 Watch"]
    assert sum(seconds for _, seconds, _ in rows) < 1800


def test_the_programs_need_nothing_but_debian(machine):
    assert not list(machine.root.glob("usr/bin/swift*")) and not list(machine.root.glob("usr/lib/**/libswiftCore.so"))
    for name in ("berth", "berth-gateway"):
        version = machine.run(f"{name} --version").stdout.strip()
        assert version.startswith("0.") and "+" in version, version
        manual = machine.run(f"gzip -dc /usr/share/man/man1/{name}.1.gz").stdout
        assert f".Nm {name}" in manual and ".Sh COMMANDS" in manual
        assert (machine.root / f"usr/share/bash-completion/completions/{name}").stat().st_size > 1000
        machine.run(f"systemd-analyze verify --man=no --recursive-errors=no {name}.service")
    # As the unit has it: no right beside those that it names, a watchdog, and the folder is its user's alone.
    shown = machine.run("systemctl show berth -p Type,WatchdogUSec,LimitNICE,NoNewPrivileges,CapabilityBoundingSet,ProtectSystem,StatusText,NRestarts").stdout
    for line in ("Type=notify", "WatchdogUSec=1min", "NoNewPrivileges=yes", "CapabilityBoundingSet=\n", "ProtectSystem=strict", "NRestarts=0"):
        assert line in shown, shown
    assert machine.run("stat -c %a%U /var/lib/berth").stdout.strip() == "700berth"


def test_sessions_of_the_documents(machine):
    """On the machine of the first half hour, with its lot and its keys."""
    # Let's Encrypt's stand-in, and certbot told to ask it.
    machine.run("""
        printf '{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/root/acme.pem",
          "privateKey": "/root/acme.key", "httpPort": 80, "tlsPort": 443}}' > pebble.json
        openssl req -x509 -newkey rsa:2048 -nodes -keyout acme.key -out acme.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost
        apt-get install -y certbot pebble
        cat acme.pem >> /etc/ssl/certs/ca-certificates.crt
        systemd-run --unit pebble --setenv PEBBLE_VA_NOSLEEP=1 pebble -config /root/pebble.json
        until curl -s --cacert acme.pem https://localhost:14000/dir; do sleep 0.2; done
        curl -s --cacert acme.pem https://localhost:15000/roots/0 >> /etc/ssl/certs/ca-certificates.crt
        mkdir -p /etc/letsencrypt
        printf 'server = https://localhost:14000/dir\n' > /etc/letsencrypt/cli.ini
        """)
    rows = paste(machine, "operating.md")
    for document in ("gateway.md", "upgrading.md", "pages.md"):
        paste(machine, document)
    assert rows
