"""A server in a bad place: few descriptors, a slow disk, a disk that fails. And what it costs: CPU, memory, time.

The shim is a small C library, compiled where the tests run and loaded by LD_PRELOAD. It does nothing until a file of a certain name
stands in its folder: `slow` (fsync takes 2 s), `full`, `readonly`, `broken` (writes of the database fail with ENOSPC, EROFS, EIO),
`unreadable` ("from to": reads of these bytes of the database fail with EIO).
"""
import os
import pathlib
import shutil
import ssl
import statistics
import subprocess
import threading
import time

import pytest

import fuzz
from berth import BIN, Process, Server

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

static int stands(const char *name) {
    const char *folder = getenv("BERTH_TEST_SHIM");
    char path[4096];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int kept = errno;
    int found = access(path, F_OK) == 0;
    errno = kept;
    return found;
}

/* 1: the database, 2: its write-ahead log. */
static int kind(int fd) {
    char link[64], path[4096];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (strcmp(name, "berth.sqlite") == 0) return 1;
    return strcmp(name, "berth.sqlite-wal") == 0 ? 2 : 0;
}

static int refusal(int fd) {
    int error = stands("full") ? ENOSPC : stands("readonly") ? EROFS : stands("broken") ? EIO : 0;
    return error && kind(fd) ? error : 0;
}

static int unreadable(int fd, off_t from, size_t count) {
    const char *folder = getenv("BERTH_TEST_SHIM");
    if (!folder || !stands("unreadable") || kind(fd) != 1) return 0;
    char path[4096];
    long long low = 0, high = 0;
    snprintf(path, sizeof path, "%s/unreadable", folder);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int read = fscanf(file, "%lld %lld", &low, &high);
    fclose(file);
    return read == 2 && from < high && from + (off_t)count > low;
}

static void delay(void) {
    if (!stands("slow")) return;
    struct timespec two = {2, 0};
    nanosleep(&two, 0);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int fsync(int fd) { REAL(int, "fsync", int); delay(); return real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); delay(); return real(fd); }

ssize_t pread(int fd, void *to, size_t count, off_t at) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    if (unreadable(fd, at, count)) { errno = EIO; return -1; }
    return real(fd, to, count, at);
}
ssize_t pread64(int fd, void *to, size_t count, off_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off_t);
    if (unreadable(fd, at, count)) { errno = EIO; return -1; }
    return real(fd, to, count, at);
}
ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    int error = refusal(fd);
    if (error) { errno = error; return -1; }
    return real(fd, from, count, at);
}
ssize_t pwrite64(int fd, const void *from, size_t count, off_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    int error = refusal(fd);
    if (error) { errno = error; return -1; }
    return real(fd, from, count, at);
}
"""


def build(folder):
    """Compiles the shim; skips where there is no compiler."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler")
        pytest.skip("no C compiler")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shim.c").write_text(SOURCE)
    done = subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "shim.so"


class HarshServer(Server):
    """A server started behind a prefix such as `prlimit`, with an environment, and with the shim if it is asked for."""

    def __init__(self, folder, prefix=(), shim=False, **settings):
        super().__init__(folder, **settings)
        # Its faults are those of a file system: it runs on SQLite always.
        self.store_env = {}
        self.prefix, self.env = list(prefix), {"BERTH_TEST_VERIFY_AFTER": "10"}
        if shim:
            self.faults = self.folder / "faults"
            self.env |= {"LD_PRELOAD": str(build(self.folder / "shim")), "BERTH_TEST_SHIM": str(self.faults)}
            self.faults.mkdir(exist_ok=True)

    def args(self):
        args = [BIN / "berth", "serve", "--data", self.data, "--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
        for name, value in self.settings.items():
            args += ["--set", f"{name.replace('__', '.')}={value}"]
        return args

    def start(self, *more):
        log = self.folder / "server.log"
        self.log_start = log.stat().st_size if log.exists() else 0
        self.process = Process([*self.prefix, *self.args(), *more], self.folder / "server.log", {"SWIFT_BACKTRACE": "enable=no", **self.env})
        self.ready = self.process.ready()
        self.ca = self.ready["ca"]
        self.context = ssl.create_default_context(cafile=self.ca)
        return self

    def refused(self, *more, seconds=60):
        """A start that is to be refused: (exit code, what was printed)."""
        done = subprocess.run([str(a) for a in [*self.prefix, *self.args(), *more]], capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, "SWIFT_BACKTRACE": "enable=no", **self.env})
        return done.returncode, done.stdout + done.stderr

    def fault(self, name, text=""):
        (self.faults / (name + ".new")).write_text(text)
        (self.faults / (name + ".new")).rename(self.faults / name)

    def heal(self):
        for file in self.faults.iterdir():
            file.unlink()

    def since_start(self):
        """What the log says since the last start."""
        return (self.folder / "server.log").read_bytes()[self.log_start:].decode(errors="replace")

    def lives(self):
        return self.process.process.poll() is None


def cpu(pid):
    """Seconds of CPU that a process has used so far."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, name="VmRSS"):
    """MiB."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0


def forget_peak(pid):
    """Begins the high-water mark of memory anew, where the kernel lets us."""
    try:
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        pass


class Probes:
    """Keep-alive clients that ask the same again and again, a little apart, and note how long each answer took.

    While an answer is late nobody asks: the questions that would have been asked meanwhile, one each 20 ms, count as late too.
    """

    TICK = 0.02

    def __init__(self, server, kinds, each=2, pause=0.01, control=None):
        """`control` is another server, which is idle: what its answers take is what this process and the machine need, and is allowed on top."""
        asks = {name: (server, ask) for name, ask in kinds.items()}
        if control:
            asks["control"] = (control, page("/healthz"))
        self.times, self.faults = {name: [] for name in asks}, []
        self.end, self.pause = threading.Event(), pause
        self.threads = [threading.Thread(target=self.run, args=(name, *ask), daemon=True) for name, ask in asks.items() for _ in range(each)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *a):
        self.end.set()
        for thread in self.threads:
            thread.join(30)

    def run(self, name, server, ask):
        client = fuzz.Client(server.https_port, server.context, 30)
        try:
            client.open()
            while not self.end.is_set():
                started = time.perf_counter()
                ask(client)
                took = time.perf_counter() - started
                self.times[name].append(took)
                self.times[name].extend(took - self.TICK * i for i in range(1, int(took / self.TICK)))
                self.end.wait(self.pause)
        except Exception as error:
            if not self.end.is_set():
                self.faults.append(f"{name}: {error!r}")
        finally:
            client.close()

    def check(self, median, p95, least=20):
        """Fails when one kind was slower than this, s."""
        assert not self.faults, self.faults
        slow, seen = [], []
        if control := sorted(self.times.get("control", [])):
            median, p95 = median + 2 * statistics.median(control), p95 + 2 * control[int(len(control) * 0.95)]
        for name, times in self.times.items():
            values = sorted(times)
            assert len(values) >= least, f"{name}: {len(values)} answers only"
            middle, high = statistics.median(values), values[int(len(values) * 0.95)]
            seen.append(f"{name}: {len(values)} answers, median {middle * 1000:.1f} ms, p95 {high * 1000:.1f} ms, max {values[-1] * 1000:.0f} ms")
            if name != "control" and (middle > median or high > p95):
                slow.append(seen[-1])
        print("\n".join(seen))
        assert not slow, f"slower than {median * 1000:.0f} ms (median) or {p95 * 1000:.0f} ms (p95): " + "; ".join(slow)


def signed(key, service, data=None, park=None):
    """A question for Probes: a call that must succeed."""
    import json
    target = "/api/v1/" + service.replace(".", "/")

    def ask(client):
        message = fuzz.compose(fuzz.random.Random(os.urandom(8)), key, service, data or {}, park)
        status, headers, raw = client.ask("POST", target, json.dumps(message, ensure_ascii=False).encode(), [("content-type", "application/json")])
        reply = json.loads(raw)
        assert reply["code"] == 0, reply
        return reply
    return ask


def page(path):
    def ask(client):
        status, headers, raw = client.ask("GET", path)
        assert status == 200, (path, status)
    return ask
