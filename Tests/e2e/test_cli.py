"""The command line: what it reads, what it refuses and by which name, and what it leaves as it is."""
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

from berth import BIN, Process, Server, eventually, free_port

HEADER = "id,name,latitude,longitude,address,capacity"
ROOT_USER = os.geteuid() == 0


def run(*args, env=None, timeout=60, **more):
    done = subprocess.run([str(a) for a in [BIN / "berth", *args]], capture_output=True, text=True, errors="replace", timeout=timeout,
                          env={**os.environ, **(env or {})}, **more)
    assert done.returncode >= 0 and "Fatal error" not in done.stderr, f"it crashed: {done}"
    return done


def serve(data, *args, **more):
    """A start that is expected to be refused."""
    return run("serve", "--data", data, *([] if "--https-port" in args else ["--https-port", 0]), "--mqtt-port", 0, *args, **more)


def mosquittos(folder):
    """The processes whose command line names a file in this folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and "mosquitto" in line.split("\0")[0]:
            found.append(int(entry.name))
    return found


# Lots files

def check(tmp_path, content, code=None, *args):
    file = tmp_path / "lots.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    data = tmp_path / "data"
    done = run("city", "--data", data, "--lots", file, "--check", *args)
    assert not data.exists(), "a dry run makes nothing"
    if code is not None:
        assert done.returncode == code, done
    return done


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + f'"{HEADER.replace(",", chr(34) + "," + chr(34))}"\r\n"1","甲停车场","22.5","114.0","深圳","100"\r\n'.encode(),
    f"{HEADER}\r\n1,甲停车场,22.5,114.0,深圳,\r\n\r\n".encode(),
    f'{HEADER}\n1,"甲, ""乙"" 停车场",22.5,114.0,"深圳\r\n福田\n区",300.0\n'.encode(),
    f'{HEADER}\n1,甲,22.5,114.0,深圳,"1,200"\n'.encode(), f"{HEADER}\n1,甲,22.5,114.0,深圳,３００\n".encode(),
    f"{HEADER}\n1,甲停车场,22.5,114.0,深圳市,100\n".encode("gbk"),
    " Capacity ,ADDRESS,longitude,Latitude,NAME,Id,remark\n100,深圳,114.0,22.5,甲,1,any\n".encode(),
    f"{HEADER}\n1,{'名' * 64},22.5,114.0,{'址' * 256},100\n".encode(),
], ids=["excel", "crlf", "line breaks", "thousands", "full width", "gbk", "header", "longest"])
def test_a_lots_file_as_programs_write_it_is_read(tmp_path, content):
    done = check(tmp_path, content, 0)
    assert "1 good rows, 0 bad ones" in done.stdout, done
    assert ("GB18030" in done.stderr) == (b"\xbc\xd7" in content), done.stderr


@pytest.mark.parametrize("row,reason", [
    (f"2,{'e' + chr(0x301)}{'e' + chr(0x301) + chr(0x302)}{'名' * 60},22.5,114,a,5", "the name has 65 characters"),
    (f"2,n,22.5,114,{'址' * 257},5", "the address has 257 characters"), ("2,,22.5,114,a,5", "the name is empty"),
    ("2,a\ufffdb,22.5,114,a,5", "U+FFFD"), ("2,a\x07b,22.5,114,a,5", "control character"), (",n,22.5,114,a,5", "id ''"),
    ("x/y,n,22.5,114,a,5", "id 'x/y'"), ("1,n,22.5,114,a,5", "id 1 came before, on line 2"), ("2,n,22.5,114,a,-5", "capacity '-5'"),
    ("2,n,22.5,114,a,1e3", "capacity '1e3'"), ("2,n,22.5,114,a,nan", "capacity 'nan'"), ("2,n,22.5,114,a,inf", "capacity 'inf'"),
    ("2,n,22.5,114,a,0x10", "capacity '0x10'"), ("2,n,22.5,114,a,0", "capacity '0'"), ("2,n,22.5,114,a,99999999999999999999", "capacity"),
    ("2,n,nan,114,a,5", "latitude 'nan'"), ("2,n,22.5,inf,a,5", "longitude 'inf'"), ("2,n,0x16.8,114,a,5", "latitude '0x16.8'"),
    ("2,n,22.54N,114,a,5", "latitude '22.54N'"), ("2,n,0,0,a,5", "latitude 0 and longitude 0"), ("2,n,113.94,22.54,a,5", "are swapped"),
    ("2,n,75.9,39.4,a,5", "are swapped"), ("2,n,95,200,a,5", "latitude '95'"), ("2,n,22.5,114,a", "5 columns, 6 expected"),
    ('2,"n,22.5,114,a,5', "a quote is not closed"), ('2,5" n,22.5,114,a,5', "a quote inside a field"), ("2,n,2.25e1,114,a,5", "latitude '2.25e1'"),
])
def test_a_row_that_is_no_lot_is_named_with_its_line(tmp_path, row, reason):
    done = check(tmp_path, f"{HEADER}\n1,first,22.5,114.0,深圳,100\n{row}\n3,last,22.6,114.1,深圳,100\n", 1)
    assert "line 3: " in done.stdout and reason in done.stdout and "2 good rows, 1 bad ones" in done.stdout, done


@pytest.mark.parametrize("content,reason", [
    (b"", "is empty"), (f"{HEADER}\n".encode(), "no good row"), (b"id,name,latitude,longitude,address\n", "no column capacity"),
    (f"{HEADER},ID\n".encode(), "the column id twice"), (f"{HEADER}\n1,甲,22,114,a,5\n".encode("utf-16"), "UTF-16"), (b"a\0b", "zero byte"),
    (f"{HEADER}\n1,停车场停车场,22,114,a,5\n".encode().replace("场停".encode(), "场停".encode()[:-1]), "damaged UTF-8"),
    (f"{HEADER}\n1,".encode() + b"\x80\xff", "neither UTF-8 nor GB18030"),
])
def test_a_file_that_cannot_be_read_starts_nothing(tmp_path, content, reason):
    done = check(tmp_path, content, 1)
    assert reason in done.stderr, done
    file, data = tmp_path / "lots.csv", tmp_path / "data"
    done = run("city", "--data", data, "--lots", file, "--seconds", 3)
    assert done.returncode == 1 and reason in done.stderr and not data.exists(), done


def test_bad_rows_are_skipped_unless_they_must_not_be(tmp_path):
    rows = "".join(f"{n},n{n},22.5,114.0,a,-1\n" for n in range(2, 40))
    done = check(tmp_path, f"{HEADER}\n1,甲,22.5,114.0,深圳,100\n{rows}", 1)
    assert done.stdout.count("capacity '-1'") == 20 and "… and 18 more bad rows" in done.stdout
    done = run("city", "--data", tmp_path / "data", "--lots", tmp_path / "lots.csv", "--no-skip-bad-rows", "--seconds", 3)
    assert done.returncode == 1 and "38 bad rows" in done.stderr and not (tmp_path / "data").exists(), done


def test_a_file_of_marks_is_read_in_linear_time(tmp_path):
    content = HEADER + "".join(f"\n{n},{'x' + chr(0x301) * 15_000}{n},22.5,114,a,5" for n in range(30)) + "\n"
    started = time.monotonic()
    done = check(tmp_path, content + f"99,甲,22.5,114,a,5\n", 1)
    assert "1 good rows, 30 bad ones" in done.stdout and time.monotonic() - started < 10


# The city

@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-city")
    lots = folder / "lots.csv"
    lots.write_bytes((f'{HEADER}\r\n1,"甲停车场\r\n二期",22.5,114.0,"深圳,福田","1,200"\r\n2,乙停车场,22.6,114.1,深圳,３００\r\n').encode("gbk"))
    ports = [free_port() for _ in range(3)]
    process = Process([BIN / "berth", "city", "--data", folder / "data", "--lots", lots, "--https-port", ports[0], "--mqtt-port", ports[1],
                       "--page-port", ports[2]], folder / "city.log")
    for line in process.process.stdout:
        if b"The city is open" in line:
            break
    yield folder, ports[0], process
    process.stop(40)


def test_the_city_has_the_names_of_its_file(city):
    folder, _, _ = city
    assert "GB18030" in (folder / "city.log").read_text()
    lots = json.loads((folder / "data/fleet.json").read_text())["lots"]
    info = {lot["info"]["parkName"]: lot["info"] for lot in lots}
    assert set(info) == {"甲停车场 二期", "乙停车场"} and info["甲停车场 二期"]["address"] == "深圳,福田"
    assert (info["甲停车场 二期"]["totalSpace"], info["乙停车场"]["totalSpace"]) == (1200, 300)


def test_the_city_explains_its_refusals(city):
    """Point 22: the demo runs in the test environment."""
    folder, port, _ = city
    done = run("call", "order.create", "--data", folder / "data", "--url", f"https://127.0.0.1:{port}", "--data-json", '{"parkCode":"SZ1"}')
    assert done.returncode == 2 and json.loads(done.stdout).get("hint"), done


# Occupancy

def test_an_import_of_counts(tmp_path, own_server):
    server = own_server.start()
    server.lot("P1"), server.lot("P2")
    file = tmp_path / "counts.csv"
    day = lambda back: time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600 - 86_400 * back))

    def give(text):
        file.write_bytes(text.encode())
        return run("occupancy", "import", "--data", server.data, file)
    counts = ",".join(["5"] * 47)
    done = give(f'P1,{day(1)},"1,000",{counts}\r\n"P2","{day(2)}",,{counts}\r\n')
    assert done.returncode == 0 and json.loads(done.stdout) == {"days": 2, "counts": 48 + 47}, done
    assert len(before := server.sql("SELECT * FROM occupancy ORDER BY 1, 2")) == 2
    for text, line, why in [
        (f"P1,{day(3)},9,{counts}\nNOWHERE,{day(3)},9,{counts}\n", "line 2", "no lot NOWHERE"), (f"P1,{day(3)},{counts}\n", "line 1", "49 cells"),
        (f"P1,{day(3)},-1,{counts}\n", "line 1", "cell 3"), (f"P1,{day(3)},1000001,{counts}\n", "line 1", "cell 3"),
        (f"P1,{day(3)},9223372036854775808,{counts}\n", "line 1", "cell 3"), (f"P1,{day(3)},1e3,{counts}\n", "line 1", "cell 3"),
        (f"P1,2026-9-9,9,{counts}\n", "line 1", "no date"), (f"P1,2026-+9-+9,9,{counts}\n", "line 1", "no date"),
        (f"P1,2026-02-30,9,{counts}\n", "line 1", "no date"), (f"P1,{day(3)},9,{counts}\nP1,{day(3)},9,{counts}\n", "line 2", "line 1"),
        ("", "", "no row"),
    ]:
        done = give(text)
        assert done.returncode == 1 and line in done.stderr and why in done.stderr, (text, done)
    # More than one part: what is wrong in the last keeps the first from being taken.
    many = "".join(f"P1,{time.strftime('%Y-%m-%d', time.gmtime(86_400 * n))},9,{counts}\n" for n in range(2_100))
    done = give(many + f"NOWHERE,{day(3)},9,{counts}\n")
    assert done.returncode == 1 and "line 2101" in done.stderr, done
    assert server.sql("SELECT * FROM occupancy ORDER BY 1, 2") == before, "nothing of a bad file is taken"


# Settings

@pytest.mark.parametrize("args,file,env,words", [
    (["--set", "policy.advanceMaxMn=5"], None, {}, ["policy.advanceMaxMn", "policy.advanceMaxMin"]),
    (["--set", "http.port=1"], None, {}, ["http.port", "https.port"]), (["--set", "HTTPS.PORT=1"], None, {}, ["HTTPS.PORT", "https.port"]),
    ([], '{"https":{"prot":9}}', {}, ["berth.json", "https.prot", "https.port"]), ([], '{"bnid":"127.0.0.1"}', {}, ["bnid", "bind"]),
    ([], '{"https":{"port":9},"https.port":9}', {}, ["https.port", "twice"]), ([], '{"bind":null}', {}, ["bind", "null"]),
    ([], '{"clock":{"maxOffsetMs":1.5}}', {}, ["berth.json"]), ([], "[]", {}, ["berth.json"]), ([], "{", {}, ["berth.json"]),
    ([], None, {"BERTH_HTTP_PORT": "1"}, ["BERTH_HTTP_PORT", "BERTH_HTTPS_PORT"]),
    ([], None, {"BERTH_POLICY_LATE_MINUTES": "1"}, ["BERTH_POLICY_LATE_MINUTES", "BERTH_POLICY_LATE_MIN"]),
    ([], None, {"BERTH_LOG": "info"}, ["BERTH_LOG", "BERTH_LOG_LEVEL"]), ([], None, {"BERTH_PAGE_PORT": "x"}, ["page.port = x"]),
    (["--set", "log.level=loud"], None, {}, ["log.level = loud", "info"]), (["--set", "bind=127.0.0.1\nuser root"], None, {}, ["bind"]),
    (["--set", "internal.from=10.0.0.300"], None, {}, ["internal.from", "10.0.0.300"]), (["--set", "callback.ca=/none"], None, {}, ["callback.ca"]),
    (["--set", "secret.graceSeconds=9223372036854775807"], None, {}, ["secret.graceSeconds"]), (["--set", "=x"], None, {}, ["--set"]),
])
def test_settings_that_do_not_exist_or_cannot_be(tmp_path, args, file, env, words):
    data = tmp_path / "data"
    if file is not None:
        data.mkdir()
        (data / "berth.json").write_text(file)
    done = serve(data, *args, env=env, timeout=30)
    assert done.returncode in (1, 64) and all(word in done.stderr for word in words), done
    assert not (data / "master.key").exists() and not (data / "lock").exists(), "nothing is made"


def test_settings_in_the_file_and_the_environment(tmp_path):
    """Nested or with points, numbers, lists and truths; variables of the tests are no settings."""
    data = tmp_path / "data"
    data.mkdir()
    port = free_port()
    (data / "berth.json").write_text(
        '\ufeff{"https":{"port":%d},"mqtt.port":0,"callback":{"retrySeconds":[1,2]},"policy":{"lateMin":7,"quietHours":""},"callback.allowPrivate":true}' % port)
    process = Process([BIN / "berth", "serve", "--data", data], tmp_path / "log",
                      env={"BERTH_TEST_ANYTHING": "x", "BERTH_CLOCK_MAX_OFFSET_MS": "6000", "BERTH_POLICY_ADVANCE_MAX_MIN": "120"})
    try:
        assert process.ready()["https"] == f"https://127.0.0.1:{port}"
    finally:
        process.stop()


# What only a server makes

@pytest.mark.parametrize("args", [
    ["keys", "list"], ["keys", "issue", "--role", "provider", "--name", "n"], ["keys", "rotate", "--app-id", "x"], ["lots", "onboarding", "--park", "P1"],
    ["lots", "set", "--park", "P1", "lateMin=1"], ["audit", "list"], ["audit", "verify"], ["callbacks", "list"], ["status"], ["call", "sys.time.get"],
    ["doctor"], ["occupancy", "import", "{file}"],
])
def test_no_other_command_makes_a_data_folder(tmp_path, args):
    file = tmp_path / "counts.csv"
    file.write_text("P1,2026-01-01," + ",".join(["1"] * 48) + "\n")
    args = [str(file) if a == "{file}" else a for a in args]
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.mkdir()
    for folder in (missing, empty):
        done = run(*args, "--data", folder)
        assert done.returncode != 0 or args == ["doctor"], done
        assert args == ["doctor"] or str(folder) in done.stderr or "no credential" in done.stderr, done
    assert not missing.exists() and list(empty.iterdir()) == []


def test_a_folder_that_all_users_share_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    done = serve(shared)
    assert done.returncode == 1 and "shared" in done.stderr and shared.stat().st_mode & 0o7777 == 0o1777 and list(shared.iterdir()) == []


# Ports

@pytest.mark.parametrize("setting,flag", [("https.port", "--https-port"), ("mqtt.port", "--mqtt-port"), ("page.port", "--page-port")])
def test_a_taken_port_is_named(tmp_path, setting, flag):
    import socket
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"--https-port": free_port(), "--mqtt-port": free_port(), flag: port}
        args = [x for pair in ports.items() for x in pair]
        done = run("serve", "--data", tmp_path / "data", *args, timeout=30)
        assert done.returncode == 1 and f"{setting} = {port}: already in use (setting {setting}, flag {flag})" in done.stderr, done
        assert mosquittos(tmp_path) == []
        done = run("city", "--data", tmp_path / "city", "--count", 1, "--page-port", 0, *args, "--seconds", 5, timeout=60)
        assert done.returncode == 1 and f"{setting} = {port}: already in use" in done.stderr, done
        assert mosquittos(tmp_path) == []


def test_an_address_that_is_not_here(tmp_path):
    done = serve(tmp_path / "data", "--bind", "192.0.2.77", timeout=30)
    assert done.returncode == 1 and "192.0.2.77" in done.stderr and "--bind" in done.stderr and mosquittos(tmp_path) == []


# The master key

@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with a key and a database; each test gets a copy."""
    server = Server(tmp_path_factory.mktemp("stopped")).start()
    server.lot("P1")
    server.stop()
    return server.data


@pytest.mark.parametrize("content,reason", [
    (None, "missing"), (b"", "too short"), (b"ab" * 31, "too short"), (b"+f" * 32, "not hexadecimal"), (b"zz" * 32, "not hexadecimal"),
    (b"ab" * 32 + b"a", "even number"), (b"\xff\xfe" * 40, "not hexadecimal"), (b"a" * 5000, "5000 bytes"), ("folder", "not a file"),
    ("link", "cannot be read"), ("fifo", "not a file"), (b"ab" * 32 + b"\n", "another master key"),
])
@pytest.mark.parametrize("named", [False, True], ids=["in the folder", "named"])
def test_a_key_that_is_not_the_key_stays_as_it_is(tmp_path, stopped, content, reason, named):
    data = tmp_path / "data"
    shutil.copytree(stopped, data, ignore=shutil.ignore_patterns("admin.sock"))
    key = tmp_path / "other.key" if named else data / "master.key"
    if not named:
        key.unlink()
    if content == "folder":
        key.mkdir()
    elif content == "link":
        key.symlink_to(tmp_path / "nothing")
    elif content == "fifo":
        os.mkfifo(key)
    elif content is not None:
        key.write_bytes(content)
        key.chmod(0o600)
    before = (data / "berth.sqlite").read_bytes()
    for command in (["serve", "--https-port", 0, "--mqtt-port", 0], ["keys", "list"]):
        done = run(*command, "--data", data, env={"BERTH_MASTER_KEY_FILE": str(key)} if named else {}, timeout=30)
        assert done.returncode == 1 and reason in done.stderr and str(key) in done.stderr or reason == "another master key" in done.stderr, done
    if isinstance(content, bytes):
        assert key.read_bytes() == content
    assert key.exists() == (content not in (None, "link"))
    assert (data / "berth.sqlite").read_bytes() == before or reason == "another master key", "without a key nothing is opened"
    if not named:
        assert content is not None or not key.exists(), "no new key takes the place of the lost one"


def test_a_key_that_may_not_be_read(tmp_path, stopped):
    data = tmp_path / "data"
    shutil.copytree(stopped, data, ignore=shutil.ignore_patterns("admin.sock"))
    key = data / "master.key"
    before = key.read_bytes()
    key.chmod(0)
    user = {}
    if ROOT_USER:
        # Root may read everything; another user owns the folder.
        for path in [data, *data.rglob("*")]:
            os.chown(path, 65534, 65534)
        for parent in [tmp_path, *tmp_path.parents][:4]:
            if parent.stat().st_uid == 0 and parent != pathlib.Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o055)
        user = {"user": 65534, "group": 65534, "extra_groups": []}
    done = serve(data, timeout=30, **user)
    assert done.returncode == 1 and "Permission denied" in done.stderr and "master.key" in done.stderr, done
    assert key.read_bytes() == before


def test_a_new_folder_gets_a_key(tmp_path):
    server = Server(tmp_path).start()
    try:
        assert re.fullmatch(r"[0-9a-f]{64}\n", (server.data / "master.key").read_text())
        assert not (server.data / "master.key.new").exists()
    finally:
        server.stop()


# Rights

def test_what_was_open_to_others_is_closed(tmp_path, stopped):
    data = tmp_path / "data"
    shutil.copytree(stopped, data, ignore=shutil.ignore_patterns("admin.sock"))
    data.chmod(0o755)
    for path in data.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o644)
    (data / "berth.sqlite-wal").touch()
    server = Server(tmp_path)
    old = os.umask(0)
    try:
        server.start()
    finally:
        os.umask(old)
    try:
        server.issue("provider")
        mode = lambda path: stat.S_IMODE(path.stat().st_mode)
        assert {p: oct(mode(p)) for p in [data, *(p for p in data.rglob("*") if p.is_dir())] if mode(p) != 0o700} == {}
        private = [p for p in data.rglob("*") if p.is_file() and p.suffix != ".pem"]
        assert {p: oct(mode(p)) for p in private if mode(p) != 0o600} == {}
        assert {p.name for p in private} >= {"berth.sqlite", "berth.sqlite-wal", "berth.sqlite-shm", "master.key", "server.key", "ca.key", "passwd"}
        log = (tmp_path / "server.log").read_text()
        assert "755 became 700" in log and "berth.sqlite: 644 became 600" in log, log
    finally:
        server.stop()


# Numbers of the command line

@pytest.mark.parametrize("args,word", [
    (["city", "--seconds", "9223372036854775807"], "--seconds"), (["city", "--seconds", "-1"], "--seconds"), (["city", "--speed", "nan"], "--speed"),
    (["city", "--speed", "inf"], "--speed"), (["city", "--speed", "1e-300"], "--speed"), (["city", "--count", "9223372036854775807"], "--count"),
    (["city", "--https-port", "65536"], "--https-port"), (["city", "--mqtt-port", "-1"], "--mqtt-port"), (["serve", "--page-port", "70000"], "--page-port"),
    (["doctor", "--mqtt-port", "70000"], "--mqtt-port"), (["scene", "hospital", "--pace", "inf"], "--pace"), (["scene", "--pace", "nan"], "--pace"),
    (["bench", "requests", "--key", "k", "--service", "order.create", "--count", "1", "--lots", "0"], "--lots"),
    (["bench", "requests", "--key", "k", "--service", "order.create", "--count", "-1"], "--count"),
    (["bench", "requests", "--key", "k", "--service", "s", "--count", "9223372036854775807", "--first", "9"], "--count"),
    (["keys", "issue", "--role", "provider", "--name", "n", "--rate", "9223372036854775807"], "--rate"),
    (["keys", "issue", "--role", "provider", "--name", "n", "--burst", "0"], "--burst"), (["lots", "code", "--region", "1"], "--region"),
    (["city", "--check"], "--lots"),
])
def test_numbers_that_cannot_be(tmp_path, args, word):
    done = run(*args, *([] if args[0] in ("scene", "bench") or args[1] == "code" else ["--data", tmp_path / "data"]), timeout=30)
    assert done.returncode != 0 and word in done.stderr and not (tmp_path / "data").exists(), done


def test_numbers_at_the_desk(server):
    """What reaches the admin socket from another program than ours."""
    import http.client
    import socket

    class Link(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(server.data / "admin.sock"))

    def ask(body):
        link = Link("desk")
        link.request("POST", "/", json.dumps(body))
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())
    key = server.issue("provider")
    huge = 9_007_199_254_740_992
    counts = [5] * 47
    for body in [
        {"command": "keys.issue", "keys": [{"role": "provider", "name": "n", "rate": huge}]},
        {"command": "keys.issue", "keys": [{"role": "provider", "name": "n", "rate": 1, "burst": -1}]},
        {"command": "keys.set", "appId": key.app_id, "rate": huge}, {"command": "keys.set", "appId": key.app_id, "rate": 1, "burst": huge},
        {"command": "occupancy.import", "rows": [{"park": "SILENT", "day": huge, "counts": [1] + counts}]},
        {"command": "occupancy.import", "rows": [{"park": "SILENT", "day": 20_000, "counts": [huge] + counts}]},
        {"command": "occupancy.import", "rows": [{"park": "SILENT", "day": 20_000, "counts": ["1"] + counts}]},
        {"command": "occupancy.import", "rows": [{"park": "NOWHERE", "day": 20_000, "counts": [1] + counts}]},
    ]:
        status, answer = ask(body)
        assert status == 400 and answer["error"], (body, answer)
    status, answer = ask({"command": "status"})
    assert status == 200 and answer["mqtt"] is True


def test_lot_codes():
    done = run("lots", "code", "--region", "440305", "--street", "001", "--class", "1", "--serial", "12")
    assert done.returncode == 0 and done.stdout == "440305001100123\n"
    assert run("lots", "code", "--check", "440305001100123").returncode == 0
    for wrong in ("440305001100124", "44030500110012", "44030500110012x"):
        done = run("lots", "code", "--check", wrong)
        assert done.returncode == 1 and wrong in done.stderr
    assert run("lots", "code", "--region", "44030", "--street", "001", "--class", "1", "--serial", "12").returncode == 1


# Streams that are closed or full

def test_a_server_whose_reader_leaves(tmp_path):
    """`berth serve | head -1`, and a reader that leaves before the line."""
    for when in ("after", "before"):
        data = tmp_path / when
        log = open(tmp_path / f"{when}.log", "wb")
        process = subprocess.Popen([BIN / "berth", "serve", "--data", data, "--https-port", "0", "--mqtt-port", "0"],
                                   stdout=subprocess.PIPE, stderr=log)
        try:
            if when == "after":
                assert process.stdout.readline()
            process.stdout.close()

            def answers():
                assert process.poll() is None, (tmp_path / f"{when}.log").read_text()
                return run("status", "--data", data).returncode == 0
            eventually(answers, 30)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("how", ["closed pipe", "closed", "full"])
def test_a_log_that_cannot_be_written(tmp_path, how):
    data = tmp_path / "data"
    if how == "closed pipe":
        reader, errors = os.pipe()
        os.close(reader)
    elif how == "full":
        errors = os.open("/dev/full", os.O_WRONLY)
    arguments = [str(BIN / "berth"), "serve", "--data", str(data), "--https-port", "0", "--mqtt-port", "0", "--log-level", "trace"]
    if how == "closed":
        process = subprocess.Popen(["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", *arguments], stdout=subprocess.PIPE)
    else:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors)
        os.close(errors)
    try:
        assert json.loads(process.stdout.readline())["event"] == "ready"
        assert run("keys", "issue", "--data", data, "--role", "provider", "--name", "n").returncode == 0
        assert b"info berth" not in (data / "berth.sqlite-wal").read_bytes() + (data / "lock").read_bytes(), "no log line in another file"
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", str(BIN / "berth"), "status", "--data", str(data)], capture_output=True)
    assert done.returncode == 1, "a sentence that nobody can read is no crash"


def test_an_answer_that_cannot_be_written_is_said(tmp_path, server):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN / "berth", "keys", "list", "--data", server.data], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr


def test_a_city_whose_reader_leaves(tmp_path):
    """`berth city | head -1`: the city closes, and everything that it started ends."""
    process = subprocess.Popen(
        [BIN / "berth", "city", "--data", tmp_path / "data", "--count", "3", "--https-port", "0", "--mqtt-port", "0", "--page-port", "0"],
        stdout=subprocess.PIPE, stderr=open(tmp_path / "log", "wb"))
    assert process.stdout.readline()
    process.stdout.close()
    try:
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    assert "nobody reads the output" in (tmp_path / "log").read_text() and mosquittos(tmp_path) == []
    done = run("status", "--data", tmp_path / "data")
    assert done.returncode == 1 and "no server is running" in done.stderr


# Files of the program, and its end

@pytest.mark.parametrize("missing", ["BerthWire", "BerthScene", "BerthServer", "all"])
def test_a_missing_folder_of_the_program_is_said(tmp_path, missing):
    place = tmp_path / "bin"
    place.mkdir()
    try:
        os.link(BIN / "berth", place / "berth")
    except OSError:
        shutil.copy(BIN / "berth", place / "berth")
    for name in ("BerthWire", "BerthScene", "BerthServer"):
        if missing not in (name, "all"):
            (place / f"berth_{name}.resources").symlink_to(BIN / f"berth_{name}.resources")
    for args in (["serve", "--https-port", "0", "--mqtt-port", "0"], ["doctor"]):
        done = subprocess.run([place / "berth", *args, "--data", tmp_path / "data"], capture_output=True, text=True, timeout=30)
        wanted = "BerthWire" if missing == "all" else missing
        assert done.returncode == 1 and f"berth_{wanted}.resources" in done.stderr + done.stdout and "Fatal error" not in done.stderr, done
    assert not (tmp_path / "data").exists()
    if missing in ("BerthScene", "all"):
        done = subprocess.run([place / "berth", "scene", "hospital"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and "resources" in done.stderr, done


def test_a_crash_ends_at_once_and_tells_no_memory(tmp_path):
    server = Server(tmp_path).start()
    process = server.process
    limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "berth\n"
    process.process.send_signal(signal.SIGSEGV)
    started = time.monotonic()
    assert process.process.wait(10) == -signal.SIGSEGV and time.monotonic() - started < 2
    log = (tmp_path / "server.log").read_text()
    assert "Crash" not in log and "Registers" not in log, log
    eventually(lambda: mosquittos(tmp_path) == [], 2)


# The language of the locale

@pytest.mark.parametrize("args,words,code", [
    (["keys", "isue"], "没有命令 isue；最接近的是 issue", 64), (["keys", "issue", "--role", "lot"], "缺少参数 '--name <name>'", 64),
    (["lots", "list", "--data", "{missing}"], "没有数据目录", 1), (["status", "--data", "{missing}"], "没有运行中的服务器", 1),
    (["serve", "--data", "{missing}", "--set", "https.prot=1"], "没有设置 https.prot；最接近的是 https.port", 1),
    (["keys", "issue", "--role", "lot", "--name", "n", "--rate", "0"], "--rate 0：应在 1 到 10000000 之间", 64),
    (["lots", "code", "--region", "1", "--street", "001", "--class", "1", "--serial", "1"], "应为 6 位数字", 1),
    (["call", "lot.search", "--key", "/nonexistent"], "不是可读的", 1), (["restore", "--data", "{missing}", "--from", "{missing}/.."], "不是备份", 1),
])
def test_a_reason_is_in_the_language_of_the_locale(tmp_path, args, words, code):
    args = [a.replace("{missing}/..", str(tmp_path)).replace("{missing}", str(tmp_path / "missing")) for a in args]
    done = run(*args, env={"LC_ALL": "zh_CN.UTF-8"})
    assert done.returncode == code and words in done.stderr, done.stderr
    assert words not in run(*args, env={"LC_ALL": "C.UTF-8"}).stderr


def test_a_refusal_of_the_server_too(city_of_rows):
    done = run("keys", "issue", "--role", "nobody", "--name", "n", "--data", city_of_rows.data, env={"LANG": "zh_CN.UTF-8", "LC_ALL": ""})
    assert done.returncode == 1 and "role：应为 lot" in done.stderr


def test_a_secret_is_no_argument(city_of_rows, tmp_path):
    """Every user of the machine can read arguments: credentials come from a file or from standard input."""
    for command in ("call", "sign"):
        assert not re.search(r"--(app-)?secret[ =<]", run(command, "--help").stdout)
    key = city_of_rows.issue("provider")
    text = json.dumps({"appId": key.app_id, "appSecret": key.secret})
    done = run("call", "lot.detail", "--data-json", '{"parkCode":"NOBODY"}', "--url", city_of_rows.ready["https"], "--ca", city_of_rows.ca, "--key", "-", input=text)
    assert done.returncode == 2 and json.loads(done.stdout)["code"] == 1000
    done = run("call", "lot.detail", "--url", city_of_rows.ready["https"], "--ca", city_of_rows.ca, "--key", "-", input="{}")
    assert done.returncode == 1 and "no file that can be read" in done.stderr


@pytest.fixture(scope="module")
def city_of_rows(tmp_path_factory):
    from berth import Server
    server = Server(tmp_path_factory.mktemp("rows")).start()
    yield server
    server.stop()
