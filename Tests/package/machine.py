"""A machine of its own: a Debian root that systemd runs, in namespaces of processes, mounts and network. Needs root."""
import pathlib
import subprocess
import time

#: Begins the machine: the folder becomes its root, and systemd its first process.
BEGIN = r"""
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mkdir -p old
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
ip link set lo up
pivot_root . old
exec env -i container=berth PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'umount -l /old; rmdir /old; exec /lib/systemd/systemd --show-status=no'
"""


class Machine:
    def __init__(self, root, log):
        self.root, self.log = pathlib.Path(root), log

    def start(self):
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--kill-child", "bash", "-c", BEGIN, "begin", str(self.root)],
            stdin=subprocess.DEVNULL, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                assert self.process.poll() is None, open(self.log).read()
                if self.has_begun() and self.run("systemctl is-system-running || true", check=False).stdout.strip() in ("running", "degraded"):
                    # Degraded: units that have nothing to do here, such as terminals.
                    return self
                time.sleep(0.2)
            raise AssertionError("systemd is not ready after 60 s: " + open(self.log).read())
        except BaseException:
            self.stop()
            raise

    def has_begun(self):
        """Whether the first process runs in the new root alone: before that, a script would run on the machine around it."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            return False
        self.first = children[0]
        try:
            inside = pathlib.Path(f"/proc/{self.first}/root")
            return inside.samefile(self.root) and not (inside / "old").exists()
        except FileNotFoundError:
            return False

    def run(self, script, check=True, timeout=300):
        """Runs a script as root: what it wrote, both streams in one."""
        done = subprocess.run(
            ["nsenter", "--target", self.first, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--root",
             "env", "-i", "-C", "/root", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
             "bash", "-euo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{script}\n→ {done.returncode}\n{done.stdout[-4000:]}"
        return done

    def stop(self):
        self.process.kill()
        self.process.wait()
