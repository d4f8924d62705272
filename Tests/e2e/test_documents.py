"""The documents say what the server does: judged by other people's validators, and by schemathesis against the live server."""
import json
import os
import re
import secrets
import subprocess
import uuid

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from berth import BIN, ROOT, now, sign
from catalogue import SERVICES, conforms, fields

EXAMPLES = {row["service"]: row for row in json.loads((ROOT / "Sources/BerthWire/Profile/berth-1.0/examples.json").read_text())}
SCHEMA = ROOT.parent / "shared/data/asyncapi-3.0.0.schema.json"


@pytest.fixture(scope="module")
def web(server):
    session = requests.Session()
    session.verify = server.ca
    session.trust_env = False  # the machine's own CA bundle does not know this server
    session.base = server.ready["https"]
    return session


def test_served_documents_are_the_kept_ones(web):
    for name in ("openapi.json", "asyncapi.json"):
        assert web.get(f"{web.base}/{name}").text == (ROOT / "docs/reference" / name).read_text()


def test_the_conformance_table_names_the_files_of_today():
    """What a whole run checks at its end, for the part that needs no run."""
    from test_zz_conformance import FILE, with_places
    assert with_places(FILE.read_text()) == FILE.read_text(), "python Tests/e2e/test_zz_conformance.py"


def test_every_service_has_an_example():
    """Recorded from executed requests; what was recorded is what the document says."""
    for service in SERVICES:
        assert service["name"] in EXAMPLES, f"{service['name']}: BERTH_WRITE_CONFORMANCE=1 ./test e2e"
        example = EXAMPLES[service["name"]]
        assert conforms(fields(service["request"]), example["request"]) is None, service["name"]
        if service["direction"] != "callback":
            assert conforms(fields(service["reply"]), example["reply"]) is None, service["name"]


def test_the_documentation_can_be_searched_and_linked(web):
    """Guide first; each service, code and event has an anchor that stays; both languages have the same anchors; the search narrows the index."""
    pages = [web.get(f"{web.base}{path}").text for path in ("/docs", "/docs/en")]
    anchors = [re.findall(r' id="([^"]+)"', page) for page in pages]
    assert anchors[0] == anchors[1] and len(set(anchors[0])) == len(anchors[0])
    for service in SERVICES:
        assert service["name"] in anchors[0]
    assert {"code-0", "code-201", "event-6001", "types", "reply", "plateColor"} <= set(anchors[0])
    ordered = [anchors[0].index(name) for name in ("guide", "types", "envelope", "reply", "up", "order.create", "codes")]
    assert ordered == sorted(ordered)
    for page in pages:
        assert all(target in anchors[0] for target in re.findall(r'href="#([^"]+)"', page))
        assert "style=" not in page and "<script>" not in page
    assert "示例" in pages[0].split('id="order.create"')[1].split("<h3")[0], "an executed example"


def test_openapi_is_valid(web):
    from openapi_spec_validator import validate
    validate(web.get(f"{web.base}/openapi.json").json())


def test_asyncapi_is_valid(web):
    if not SCHEMA.exists():
        pytest.skip(f"this one check did not run: {SCHEMA} is not at hand")
    import jsonschema
    schema = json.loads(SCHEMA.read_text())
    errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(web.get(f"{web.base}/asyncapi.json").json()))
    assert errors == []


@pytest.fixture(scope="module")
def caller(server):
    """Credentials for schemathesis, whose rates are raised: this is not about the rate limit."""
    return {"lot": server.lot("FUZZ", rate=1_000_000), "provider": server.issue("provider", rate=1_000_000),
            "operator": server.issue("operator", rate=1_000_000), "web": server.issue("web", rate=1_000_000), "seq": 0}


#: The kept document, which is the served one (above): its operations are known before a server runs.
API = schemathesis.openapi.from_dict(json.loads((ROOT / "docs/reference/openapi.json").read_text()))
OPERATIONS = [result.ok() for result in API.get_all_operations()]
ROLES = {s["name"]: [r for r in s["roles"] if s["direction"] != "down" or r in ("provider", "operator")] for s in SERVICES}
LOGS = {s["name"] for s in SERVICES if s["direction"] == "up" and s["kind"] == "log"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.path)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda m: m.name.lower())
def test_the_live_server_keeps_its_schema(operation, mode, caller, web):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def run(case):
        check(case, caller, web)
    if mode == schemathesis.GenerationMode.NEGATIVE and operation.method == "get":
        return  # nothing in it can be wrong
    run()


def check(case, caller, web):
    """No 500, no status that is not declared, no reply that breaks its schema. A 503 is an answer with a code of its own: the lot is
    away (600), or the rules are still to come (503)."""
    body = case.body
    if case.method == "POST" and isinstance(body, dict):
        name = case.operation.path.removeprefix("/api/v1/").replace("/", ".")
        key = caller[[r for r in ROLES[name] if r != "cloud"][0]]
        body |= {"version": "1.0", "requestId": str(uuid.uuid4()), "appId": key.app_id, "service": name, "timestamp": now(),
                 "nonce": secrets.token_hex(8)}
        body.pop("signType", None)
        body["parkCode"] = "FUZZ"
        if name in LOGS:
            caller["seq"] += 1
            body |= {"epoch": "fuzz", "seq": caller["seq"]}
        else:
            body.pop("epoch", None), body.pop("seq", None)
        body = {k: v for k, v in body.items() if k in ("data", "sign", "version", "requestId", "appId", "service", "timestamp", "nonce",
                                                       "parkCode", "epoch", "seq")}
        body["sign"] = sign(body, key.secret)
        case.body = body
    reply = case.call(base_url=web.base, session=web, verify=web.verify)
    assert reply.status_code != 500, reply.text
    if reply.status_code == 503:
        assert reply.json()["code"] in (503, 600, 601), reply.text
    # 206 is an answer about a code or a session.
    if reply.status_code == 401 and reply.json()["code"] != 206:
        assert False, f"the hook's own signature: {reply.text}"
    case.validate_response(reply, checks=[status_code_conformance, response_schema_conformance])


def test_the_container_file_is_clean():
    done = subprocess.run([ROOT / ".venv/bin/hadolint", ROOT / "packaging/container/Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    bad = subprocess.run([ROOT / ".venv/bin/hadolint", "-"], input="FROM debian\nRUN cd /tmp && sudo ls\n", capture_output=True, text=True)
    assert bad.returncode != 0, "the linter finds faults"


def test_a_release_is_made_from_the_changelog(tmp_path):
    """`scripts/release.sh --draft` in a clone: the version, the heading, the commit and the tag; what is no release is refused and changes nothing."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-local", "--depth", "1", f"file://{ROOT}", clone], check=True)
    # What is tested is the script as it is here, whether it is committed or not.
    (clone / "scripts/release.sh").write_text((ROOT / "scripts/release.sh").read_text())
    # Something stands under Unreleased, also where a release has just been made.
    (clone / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text().replace("## Unreleased\n", "## Unreleased\n\n- Something of this test.\n", 1))
    git = lambda *a: subprocess.run(["git", "-C", clone, "-c", "user.name=t", "-c", "user.email=t@example.org", *a], check=True, capture_output=True, text=True).stdout
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "as it is here")
    names = {**os.environ, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
    release = lambda *a: subprocess.run(["bash", clone / "scripts/release.sh", "--draft", *a], capture_output=True, text=True, env=names)
    head = git("rev-parse", "HEAD")
    for version, word in (("1.0", "such as"), ("v1.0.0", "such as"), ("", "such as")):
        refused = release(version)
        assert refused.returncode == 1 and word in refused.stderr, refused
    assert release("9.1.0").returncode == 0
    assert git("describe", "--tags").strip() == "v9.1.0" and git("status", "--porcelain") == ""
    assert 'number = "9.1.0"' in (clone / "Sources/BerthWire/Version.swift").read_text()
    text = (clone / "CHANGELOG.md").read_text()
    assert re.search(r"## Unreleased\n\n## 9\.1\.0 — \d{4}-\d\d-\d\d\n", text)
    refused = release("9.2.0")
    assert refused.returncode == 1 and "nothing stands under Unreleased" in refused.stderr
    (clone / "CHANGELOG.md").write_text(text.replace("## Unreleased\n", "## Unreleased\n\n- Something.\n", 1))
    assert "not committed" in release("9.2.0").stderr
    git("commit", "-qam", "something")
    for version, word in (("9.0.9", "not later"), ("9.1.0", "a tag v9.1.0 already")):
        refused = release(version)
        assert refused.returncode == 1 and word in refused.stderr, refused
    assert git("rev-parse", "HEAD~2").strip() == head.strip()


# Commands

def helps(program):
    """The commands of a program with their options: {("keys", "issue"): {"--role", …}}."""
    found = {}

    def walk(command, path):
        options = {("--" if name["kind"] == "long" else "-") + name["name"] for a in command.get("arguments", []) for name in a.get("names", [])}
        found[path] = (options, {sub["commandName"] for sub in command.get("subcommands", [])})
        for sub in command.get("subcommands", []):
            walk(sub, (*path, sub["commandName"]))
    walk(json.loads(subprocess.run([BIN / program, "--experimental-dump-help"], capture_output=True, text=True, check=True).stdout)["command"], ())
    return found


DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "README.zh-CN.md"])


def test_commands_of_the_documents_exist():
    """Whatever a document says of `berth …` and `berth-gateway …`: the command and its options are there."""
    commands = {program: helps(program) for program in ("berth", "berth-gateway")}
    wrong, seen = [], 0
    for file in DOCUMENTS:
        text = file.read_text()
        shown = re.findall(r"`((?:berth|berth-gateway) [^`\n]+)`", text)
        for block in re.findall(r"```sh\n(.*?)```", text, re.S):
            shown += re.findall(r"(?:^|-- |\$\(|sh: )((?:berth|berth-gateway) [a-z][^\n|;>)]*)", block, re.M)
        for line in shown:
            if '"$@"' in line:
                continue  # the end of a reader's own short form
            program, *tokens = line.split()
            path = ()
            while tokens and tokens[0] in commands[program][path][1]:
                path += (tokens.pop(0),)
            if not path:
                if not tokens[0].startswith(("-", "…", "$")):
                    wrong.append(f"{file.name}: {line}")
                continue
            seen += 1
            options = commands[program][path][0] | {"--help", "--version"}
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(tokens)):
                if option not in options:
                    wrong.append(f"{file.name}: {line}: {option}")
    assert not wrong and seen > 100, wrong


def test_every_command_is_executed():
    """By a test, or by a session of a document, which `./test package` pastes."""
    tests = "\n".join(file.read_text() for file in (ROOT / "Tests").rglob("*.py"))
    sessions = "\n".join(block for file in DOCUMENTS for block in re.findall(r"```sh\n(.*?)```", file.read_text(), re.S))
    missing = []
    for program in ("berth", "berth-gateway"):
        for path, (_, below) in helps(program).items():
            if below or not path or path[-1] == "help":
                continue
            called = '"' + '", "'.join(path) + '"' in tests or re.search(r"(?:berth|berth-gateway|desk|people) (?:people )?" + " ".join(path), sessions)
            if not called:
                missing.append(" ".join((program, *path)))
    assert not missing, missing


def test_both_languages_have_the_same_sessions():
    """`./test package` pastes the English ones; the Chinese ones are the same, but for their comments."""
    code = lambda file: [[line for line in block.splitlines() if not line.startswith("# ")] for block in re.findall(r"```sh\n(.*?)```", file.read_text(), re.S)]
    pairs = [(file, file.with_suffix(".zh-CN.md")) for file in (ROOT / "docs").glob("*.md") if file.with_suffix(".zh-CN.md").exists()]
    assert sum(len(code(one)) for one, _ in pairs) > 25
    for one, other in pairs:
        assert code(one) == code(other), one.name
