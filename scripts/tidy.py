"""The source tree is under test: which target may import what, which calls are banned, how long a file may be."""
import pathlib
import re
import sys

import messages

ROOT = pathlib.Path(__file__).resolve().parents[1]
ALLOWED = {
    "BerthCore": set(),
    "BerthWire": {"BerthCore", "Crypto", "Foundation", "Synchronization"},
    "BerthDocs": {"BerthCore", "BerthWire"},
    "BerthScene": {"BerthCore", "BerthWire", "Foundation"},
    "BerthStore": {"BerthCore", "BerthWire", "CPostgres", "Crypto", "GRDB", "GRDBSQLite", "Foundation", "Synchronization"},
    "BerthLink": {"BerthWire", "CMosquitto", "CBerthPosix", "AsyncHTTPClient", "NIOCore", "NIOPosix", "NIOSSL", "Logging", "Foundation", "Synchronization"},
    "BerthServer": {"BerthCore", "BerthWire", "BerthDocs", "BerthScene", "BerthStore", "BerthLink", "CBerthPosix", "Crypto", "CryptoExtras", "AsyncHTTPClient", "X509", "SwiftASN1", "Hummingbird", "HummingbirdCore", "NIOHTTPTypes", "NIOHTTPTypesHTTP1", "NIOHTTPCompression", "NIOHTTP1", "HummingbirdTLS",
                    "HTTPTypes", "NIOConcurrencyHelpers", "NIOCore", "NIOPosix", "NIOSSL", "Configuration", "ServiceLifecycle", "UnixSignals", "Metrics", "Logging", "Foundation", "Synchronization"},
    "BerthWeb": {"BerthCore", "BerthWire", "BerthLink", "CQrencode", "Crypto", "CryptoExtras", "Hummingbird", "HTTPTypes", "Mustache", "NIOCore", "NIOPosix", "Logging",
                 "Foundation", "Synchronization"},
    "BerthGateway": {"BerthCore", "BerthWire", "BerthLink", "GRDB", "Hummingbird", "HTTPTypes", "NIOCore", "NIOHTTPTypes", "ServiceLifecycle", "Logging",
                     "Foundation", "Synchronization"},
    "BerthSimulator": {"BerthCore", "BerthWire", "BerthLink", "BerthGateway", "CBerthPosix", "Logging", "Foundation", "Synchronization"},
    "berth": {"ArgumentParser", "BerthWeb", "Hummingbird", "BerthDocs", "BerthSimulator", "BerthScene", "BerthLink", "BerthServer", "BerthWire", "Foundation", "Logging"},
    "berth-gateway": {"ArgumentParser", "BerthGateway", "BerthLink", "BerthWire", "CBerthPosix", "Foundation", "Logging"},
}
# pattern, why, files that may
BANNED = [
    (r"\bDate\(\)|clock_gettime|\bDate\.now", "the clock is read in SystemClock.swift only", {"BerthLink/SystemClock.swift"}),
    (r"\.random\(|randomElement\(|UUID\(\)|SystemRandomNumberGenerator", "randomness comes from SystemRandom.swift, or is the simulator's",
     {"BerthLink/SystemRandom.swift", "BerthSimulator/CityPlan.swift", "BerthSimulator/Drivers.swift", "BerthSimulator/CityRun.swift"}),
    (r"\btry!", "an error is a value", set()),
    (r"\bas!", "a cast that can fail is a question", set()),
    (r"\bfatalError\(", "a programmer's error is a precondition with a sentence", set()),
    (r"Task\.detached", "work belongs to a task group", {"BerthGateway/Gateway.swift"}),
    (r"JSONDecoder|JSONEncoder|JSONSerialization", "the wire's own JSON is strict and keeps order",
     {"BerthStore/Encoding/RowEncoding+Entities.swift"}),
    (r"\busleep\(|Thread\.sleep", "waiting is the supervisor's of child processes alone", {"BerthServer/Broker/EmbeddedBroker.swift", "BerthSimulator/CityRun.swift"}),
    (r"@unchecked Sendable", "only where the language cannot see it, with the reason beside it", {"BerthCore/Reservations/Reservation.swift", "BerthLink/MQTTReactor.swift", "BerthStore/Postgres/PostgresConnection.swift"}),
    (r"\b(TODO|FIXME|XXX)\b", "finish it, or file an issue", set()),
]
LINES_MAX = 620
#: A file of the core holds one subject.
CORE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
#: Functions that are one table or one list.
LONG_FUNCTIONS = {
    "BerthCore/City+Decide.swift carryOut", "BerthWire/Decode+Commands.swift command", "BerthWire/Dialect.swift init",
    "BerthServer/Composition/Server.swift run", "BerthServer/Composition/Settings.swift read",
}
#: Patterns that end the process, or that look at the disk under the city's lock.
CORE_BANNED = [(r"\blots\[[^\]]*\]!", "lots[known:] or a guard")]
LOCKED = re.compile(r"\b(locked|submit|withLockedValue|readUndurable|sequencer\.read)\b.*\{")
#: Look-ups in memory that bear the store's name.
LOCKED_MAY = {"store.knowsReply("}
#: Comments: people are the driver, the user, the operator, they; a sentence begins with its subject (house rules).
HEADLESS = re.compile(r"^\s*///? (?:- (?:Returns|Parameter \w+): )?(?:Who|What|Whoever|Whatever)\b|//.*[a-z)`][.:;] (?:Who|What|Whoever|Whatever) ")
PERSON = re.compile(r"//.*\b(?:he|him|his|himself)\b", re.I)
FUNCTION = re.compile(r"^(\s*)(?:(?:public|package|private|fileprivate|static|mutating|override|final|@\w+(?:\([^)]*\))?) )*(?:func (\w+)|(init)\b)")


def functions(lines):
    """Name, first line and length of each function; its end is the first line that closes it at its own indentation."""
    for start, line in enumerate(lines):
        found = FUNCTION.match(line)
        if not found or line.rstrip().endswith("}"):
            continue
        for end in range(start + 1, len(lines)):
            # A requirement of a protocol has no body.
            if FUNCTION.match(lines[end]) and not any(one.rstrip().endswith("{") for one in lines[start:end]):
                break
            if lines[end] == found.group(1) + "}":
                yield found.group(2) or "init", start + 1, end - start + 1
                break

def under_the_lock(lines):
    """Lines of a closure given to the sequencer that name the store: nothing under the city's lock asks the disk."""
    for start, line in enumerate(lines):
        if not LOCKED.search(line):
            continue
        indent = len(line) - len(line.lstrip())
        for number, inner in enumerate(lines[start + 1:], start + 2):
            if inner.strip() and len(inner) - len(inner.lstrip()) <= indent:
                break
            for call in re.findall(r"\bstore\.\w+\(", inner):
                if call not in LOCKED_MAY:
                    yield number, call

faults = []
for file in sorted((ROOT / "Sources").rglob("*.swift")):
    target, name = file.relative_to(ROOT / "Sources").parts[0], str(file.relative_to(ROOT / "Sources"))
    text = file.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*(?:@testable\s+)?(?:public\s+|internal\s+)?import\s+(?:struct\s+|class\s+|enum\s+|func\s+)?(\w+)", line)
        if found and found.group(1) not in ALLOWED[target]:
            faults.append(f"{name}:{number}: {target} may not import {found.group(1)}")
        code = line.split("//")[0]
        for pattern, why, files in BANNED:
            if re.search(pattern, code) and name not in files:
                faults.append(f"{name}:{number}: {why}: {line.strip()}")
        if target == "BerthCore":
            faults += [f"{name}:{number}: {why}: {line.strip()}" for pattern, why in CORE_BANNED if re.search(pattern, code)]
        if HEADLESS.search(line):
            faults.append(f"{name}:{number}: a comment begins with its subject: {line.strip()}")
        if PERSON.search(line):
            faults.append(f"{name}:{number}: people are the driver, the user, the operator, they: {line.strip()}")
    if target == "BerthServer":
        faults += [f"{name}:{number}: {call} under the city's lock" for number, call in under_the_lock(text.splitlines())]
    for function, number, length in functions(text.splitlines()):
        if length > FUNCTION_LINES_MAX and f"{name} {function}" not in LONG_FUNCTIONS:
            faults.append(f"{name}:{number}: {function} has {length} lines")
    if target == "BerthCore" and len(text.splitlines()) > CORE_LINES_MAX:
        faults.append(f"{name}: {len(text.splitlines())} lines; a file of the core holds one subject")
    if len(text.splitlines()) > LINES_MAX:
        faults.append(f"{name}: {len(text.splitlines())} lines; does it still tell one story?")
# What a document points at is there: files by link, and the tests that it names.
for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
    text = file.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", link) and not (file.parent / link).exists():
            faults.append(f"{file.relative_to(ROOT)}: {link} is not there")
    for test, case in re.findall(r"`(Tests/[\w./]+)(?:::(\w+))?`", text):
        if not (ROOT / test).exists() or case and f"def {case}(" not in (ROOT / test).read_text():
            faults.append(f"{file.relative_to(ROOT)}: {test} {case} is not there")
faults += messages.faults()
for fault in faults:
    print(fault)
print(f"tidy: {len(faults)} faults")
sys.exit(1 if faults else 0)
