"""docs/reference/conformance.md: one row for each service, code, event and standard; what it says of the tests is what the tests of this
very run did. Runs last. `BERTH_WRITE_CONFORMANCE=1 ./test e2e` writes the table anew; `python Tests/e2e/test_zz_conformance.py` writes
the files anew in which each row is implemented, and leaves the tests as they are."""
import json
import os
import pathlib
import re

import pytest

from berth import EXAMPLES, ROOT, SEEN

FILE = ROOT / "docs/reference/conformance.md"
PROFILE = ROOT / "Sources/BerthWire/Profile/berth-1.0"
SOURCES = {p.relative_to(ROOT / "Sources"): p.read_text() for p in sorted((ROOT / "Sources").rglob("*.swift"))}
#: Chosen at random there, so not to be pointed at.
RANDOM = "test_documents.py"
STANDARDS = [
    ("GA/T 761—2008", "停车库（场）安全管理系统技术要求", "text not available; the seed names it for functions and transfer (ch. 6, 8)"),
    ("SZJG 44—2017", "车辆视频图像和号牌信息采集与传输系统技术要求", "text not available; the seed names it for capture and transfer (ch. 6, 8)"),
    ("DB4403/T 54—2020", "停车库（场）交通设施建设与管理规范", "text not available; the seed names it for the interface (ch. 7)"),
    ("DB4403/T 89—2020", "智慧停车 基础信息编码技术规范", "text not available; parkCode is opaque, foreign codes are mapped by an adapter"),
]


def gather(folder):
    """What the processes of this run saw."""
    for file in folder.glob("*.json"):
        kept = json.loads(file.read_text())
        SEEN.update(tuple(row) for row in kept["seen"])
        for service, (rank, request, reply) in kept["examples"].items():
            if service not in EXAMPLES or tuple(rank) > tuple(EXAMPLES[service][0]):
                EXAMPLES[service] = (tuple(rank), request, reply)


def rows(name):
    return json.loads((PROFILE / name).read_text())


def first(wanted):
    tests = sorted({t for (t, *rest) in SEEN if not t.startswith(RANDOM) and t and wanted(*rest)})
    return tests[0] if tests else None


def files(*patterns):
    found = [str(p) for p, text in SOURCES.items() if any(re.search(x, text) for x in patterns) and not str(p).startswith(("BerthSimulator", "BerthDocs", "BerthWeb"))]
    return "<br>".join(found[:3])


def service_row(s):
    name = s["name"]
    where = files(re.escape(f'"{name}"'))
    if not where:
        where = {"live": "BerthServer/Delivery/LotCalls.swift", "log": "BerthServer/Delivery/Deliverer.swift", "kept": "BerthServer/Gatekeeping/Pipeline.swift"}.get(s["kind"], "BerthServer/Services/Pipeline+Queries.swift")
    test = first(lambda carrier, service, code: service == name and code in (0, None))
    if test is None and s["direction"] != "callback":
        test = first(lambda carrier, service, code: service == name and code not in (103, 204))
    return f"| {s['id']} | `{name}` | {where} | {test or ''} | {s['mark']} |"


def code_row(c):
    name, number = c["name"], c["code"]
    where = files(rf'Decision\(\s*\.{name}\b', rf'\.failure\(\.{name}\)', rf'worst = \.?(Rejection\.)?{name}\b', rf'full\(\.{name}', rf'WireError\(\s*"{name}"', rf'\.refused\(\.{name}\)', rf'code\("{name}"\)', rf'\? \.{name} :', rf'return \.{name}\b', rf'refusal = .*\.{name}\b',
                  rf': \.{name}\b', rf'recordedWith\(\.{name}', rf'refuse\("{name}"', rf'\.{name}, orderNo')
    if number == 0:
        where = "BerthWire/Encode.swift"
    if number == 1:
        return f"| {number} | {c['en']} | a fall-back for codes that the dictionary does not know | nothing sends it | nothing sends it | {c['mark']} |"
    if number in (503, 1104) and not where:
        where = "BerthCore/Standing/Standing.swift" if number == 1104 else "BerthServer/Gatekeeping/Pipeline.swift"
    if number == 503:
        return f"| {number} | {c['en']} | for a service whose rules a profile leaves out | nothing sends it | nothing sends it | {c['mark']} |"
    if number == 401:
        return f"| {number} | {c['en']} | reserved | reserved, not sent | reserved, not sent | {c['mark']} |"
    https = first(lambda carrier, service, code: carrier == "https" and code == number)
    mqtt = first(lambda carrier, service, code: carrier == "mqtt" and code == number)
    if not where and not https:
        why = "reserved"
        return f"| {number} | {c['en']} | {why}: nothing sends it yet | {why} | {why} | {c['mark']} |"
    return f"| {number} | {c['en']} | {where or 'the lot says it; passed on by BerthServer/Delivery/LotCalls.swift'} | {https or ''} | {mqtt or NOT_MQTT(number)} | {c['mark']} |"


def NOT_MQTT(number):
    """Why a code cannot come back over MQTT; an empty answer is a fault of the tests."""
    if number in PROVIDERS:
        return "HTTPS only: an answer to providers and operators, who have no MQTT client"
    return {1000: "HTTPS only: whoever may speak for a lot has it registered", 1: "sent by nothing but an unknown code", 207: "HTTPS only: over MQTT the broker judges the client",
            206: "HTTPS only: pages", 1420: "HTTPS only: pages and providers", 500: "never on purpose"}.get(number, "")


#: What only bookings, payments and questions of providers and operators are answered.
PROVIDERS = {502, 503, 600, 601, 602, 603, 1001, 1002, 1003, 1011, 1013, 1100, 1101, 1103, 1105, 1107, 1108, 1121, 1123, 1124, 1125, 1126, 1200,
             1300, 1400, 1401, 1402, 1403, 1405, 1406, 1410, 1411, 1412, 1104, 1012, 1015, 1016, 1102, 1106, 1110, 1111, 1112, 1132, 1201, 1202,
             1203, 1209, 1301, 1302, 1303, 1304}
SERVER_EVENTS = {1006, 1014, 1015, 2010, 2011, 2013, 3001, 3002, 3003, 3004, 3005, 3006, 3007, 3009, 4001, 4002, 4003, 4004, 4005, 7001, 7002, 2002, 2003, 2004, 2006, 2007, 2008, 2009, 2012, 5001, 5002, 5003, 1012, 1013, 6001, 6002, 6010, 6090,
                 4006, 5005, 6011, 6012, 6013, 7003}


def event_row(e):
    number = e["code"]
    where = ("raised by the server, and " if number in SERVER_EVENTS else "") + "kept from event.report: BerthCore/City+Decide.swift"
    return f"| {number} | {e['zh']} {e['en']} | {where} | {first(lambda carrier, service, code: service == f'event {number}') or ''} | {e['mark']} |"


def table():
    out = ["# 一致性 Conformance", "",
           "Written by `Tests/e2e/test_zz_conformance.py` from the dictionary files and from what the tests of a run were seen to do; the same test keeps it true.",
           "Wording: S the seed · P:xx the peer xx of the public siblings · R n a real operating rule · D our own design.", "",
           "## 引用标准 Standards that the seed refers to", "", "| standard | title | where |", "| --- | --- | --- |"]
    out += [f"| {a} | {b} | {c} |" for a, b, c in STANDARDS]
    out += ["", "## 服务 Services", "", "| id | service | implemented in | provoked by | wording |", "| --- | --- | --- | --- | --- |"]
    out += [service_row(s) for s in rows("services.json")]
    out += ["", "## 返回码 Codes", "", "| code | meaning | sent by | provoked over HTTPS by | over MQTT by | wording |", "| --- | --- | --- | --- | --- | --- |"]
    out += [code_row(c) for c in rows("codes.json")]
    out += ["", "## 事件 Events", "", "| event | name | implemented | provoked by | wording |", "| --- | --- | --- | --- | --- |"]
    out += [event_row(e) for e in rows("events.json")]
    return "\n".join(out) + "\n"


def cells(line):
    return [c.strip() for c in line.strip().strip("|").split("|")]


def test_the_table_is_whole_and_true(request):
    if folder := os.environ.get("TESTS_SEEN"):
        gather(pathlib.Path(folder))
    else:
        ran = {pathlib.Path(str(i.fspath)).name for i in request.session.items}
        everything = {p.name for p in (ROOT / "Tests/e2e").glob("test_*.py")}
        if ran != everything or request.config.option.keyword:
            pytest.skip("only after all other tests")
    fresh = table()
    if os.environ.get("BERTH_WRITE_CONFORMANCE"):
        FILE.write_text(fresh)
        (PROFILE / "examples.json").write_text("[\n" + ",\n".join(
            json.dumps({"service": s["name"], "request": EXAMPLES[s["name"]][1], "reply": EXAMPLES[s["name"]][2]}, ensure_ascii=False)
            for s in rows("services.json") if s["name"] in EXAMPLES) + "\n]\n")
    empty = [line for line in fresh.splitlines() if line.startswith("|") and "" in cells(line)]
    assert not empty, "not provoked, or nowhere implemented:\n" + "\n".join(empty)
    # The kept table: the same rows, and each test that it names was seen to do it in this run.
    kept = {cells(l)[0] + cells(l)[1]: l for l in FILE.read_text().splitlines() if l.startswith("|")}
    new = {cells(l)[0] + cells(l)[1]: l for l in fresh.splitlines() if l.startswith("|")}
    assert kept.keys() == new.keys()
    for row, line in kept.items():
        for cell in cells(line):
            test = re.match(r"test_\w+\.py::\w+", cell)
            if test:
                assert any(t == test.group() for (t, *_) in SEEN), f"{row}: {test.group()} was not seen"
        assert [c for c in cells(line) if not c.startswith("test_")] == [c for c in cells(new[row]) if not c.startswith("test_")], row


def with_places(text):
    """The kept table with the files in which each row is implemented as the sources have them now."""
    key = lambda line: cells(line)[0] + cells(line)[1]
    now = {key(line): cells(line)[2] for line in table().splitlines() if line.startswith("|") and ".swift" in cells(line)[2]}
    lines = []
    for line in text.splitlines():
        if line.startswith("|") and (place := now.get(key(line))):
            row = cells(line)
            line = f"| {' | '.join([*row[:2], place, *row[3:]])} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(with_places(FILE.read_text()))
