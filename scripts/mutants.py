#!/usr/bin/env python3
"""Changes the core in small ways, one at a time, and asks whether the core's own tests notice.

    scripts/mutants.py [--count 60] [--seed 1] [--only TEXT] [--list]

The core and its tests are built in a package of their own, in a temporary folder; the checkout is not touched. A change that compiles and that no
test notices is printed, unless ACCEPTED says why no test can notice it; then the exit code is 1. Sixty changes take some half an hour on two cores.
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent
#: One side of a boundary becomes the other; a condition becomes its opposite; a sum becomes a difference.
CHANGES = [(" >= ", " > "), (" > ", " >= "), (" <= ", " < "), (" < ", " <= "), (" == ", " != "), (" && ", " || "), (" + ", " - "),
           (" += 1", " += 2"), ("guard !", "guard "), ("return false", "return true"), ("return true", "return false"), ("max(", "min("), ("min(", "max(")]
#: Changes that were made by hand once, and that no test of the core noticed then.
NAMED = [
    ("Reservations/Cancel.swift", "now >= reservation.terms.freeCancelUntil &&", "now > reservation.terms.freeCancelUntil &&",
     "a free cancel at the last moment"),
    ("Standing/Claims.swift", "$0.from < reservation.expectedLeave &&", "$0.from <= reservation.expectedLeave &&",
     "touching intervals of one plate"),
    ("Reservations/Waitlist.swift", "policy.dailyMaxPerUser,\n", "policy.dailyMaxPerUser + 1,\n", "a waiting user over the day's limit"),
    ("Reservations/Waitlist.swift", "policy.dailyMaxPerPlate }", "policy.dailyMaxPerPlate + 1 }", "a waiting plate over the day's limit"),
    ("Reservations/Waitlist.swift", "guard now < closes", "guard now <= closes", "the waitlist at its closing time"),
    ("Reservations/Waitlist.swift", "guard now < reservation.holdDeadline", "guard now <= reservation.holdDeadline",
     "a promotion at the closing time"),
    ("Reservations/Change.swift", "guard !reservation.isDelayed,", "guard", "a second delay"),
    ("Reservations/Change.swift", "reservation.plateChanges >= reservation.terms.plateChangesMax",
     "reservation.plateChanges > reservation.terms.plateChangesMax", "one change of the plate too many"),
]
#: Changes that no test can notice, by file and line as they stand there, with the reason.
ACCEPTED = {}
#: Lines whose change is no rule: what is printed, hashed, or only looked at for speed.
PASSED_OVER = re.compile(r"^\s*(///?|\*|import|precondition|case |@)|hasher|description|summary|reserveCapacity|->|<[A-Z]\w*>|generic")


def candidates():
    for file in sorted((ROOT / "Sources/BerthCore").rglob("*.swift")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if PASSED_OVER.search(line):
                continue
            code = line.split("//")[0]
            if code.count('"') > 2:
                continue
            for old, new in CHANGES:
                for found in re.finditer(re.escape(old), code):
                    yield str(file.relative_to(ROOT / "Sources/BerthCore")), number, found.start(), old, new


def package(folder):
    for name in ("Sources/BerthCore", "Tests/BerthCoreTests"):
        shutil.copytree(ROOT / name, folder / name)
    # A test compares the table of endings with the documents.
    (folder / "docs").mkdir()
    for file in (ROOT / "docs").glob("rules*.md"):
        shutil.copy(file, folder / "docs")
    (folder / "Package.swift").write_text('''// swift-tools-version: 6.2
import PackageDescription
let package = Package(name: "core", targets: [.target(name: "BerthCore"), .testTarget(name: "BerthCoreTests", dependencies: ["BerthCore"])],
    swiftLanguageModes: [.v6])
''')


def tests(folder, seconds=600):
    """Whether the tests of the core pass: True, False, or None for what does not compile."""
    built = subprocess.run(["swift", "build", "--build-tests", "-c", "release", "-Xswiftc", "-enable-testing"], cwd=folder, capture_output=True, text=True)
    if built.returncode:
        return None, built.stdout[-2000:] + built.stderr[-2000:]
    run = subprocess.Popen(["swift", "test", "--skip-build", "-c", "release"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           start_new_session=True)
    try:
        out, _ = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        return False, "does not end"
    return run.returncode == 0, out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only changes whose file and line contain this")
    parser.add_argument("--list", action="store_true", help="print the changes and make none")
    options = parser.parse_args()
    every = list(candidates())
    random.Random(options.seed).shuffle(every)
    work = []
    for name, old, new, why in NAMED:
        text = (ROOT / "Sources/BerthCore" / name).read_text()
        assert text.count(old) == 1, f"{name}: {old.strip()} stands there {text.count(old)} times"
        work.append((name, text[:text.index(old)].count("\n") + 1, text.replace(old, new), why))
    for name, number, column, old, new in every[:max(0, options.count - len(NAMED))]:
        lines = (ROOT / "Sources/BerthCore" / name).read_text().split("\n")
        line = lines[number - 1]
        lines[number - 1] = line[:column] + new + line[column + len(old):]
        work.append((name, number, "\n".join(lines), f"{line.strip()}   [{old.strip()} becomes {new.strip()}]"))
    work = [one for one in work if options.only in f"{one[0]}:{one[1]} {one[3]}"]
    if options.list:
        for name, number, _, why in work:
            print(f"{name}:{number}: {why}")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        package(folder)
        passed, out = tests(folder)
        assert passed, "the tests fail without any change:\n" + "\n".join(line for line in out.splitlines() if "✘" in line or "error:" in line)
        missed, caught, void = [], 0, 0
        for index, (name, number, text, why) in enumerate(work, 1):
            file = folder / "Sources/BerthCore" / name
            before, started = file.read_text(), time.time()
            file.write_text(text)
            passed, _ = tests(folder)
            file.write_text(before)
            reason = ACCEPTED.get((name, before.split("\n")[number - 1].strip()))
            word = {None: "does not compile", False: "caught"}.get(passed) or (f"accepted: {reason}" if reason else "NOT NOTICED")
            caught, void = caught + (passed is False), void + (passed is None)
            if passed and not reason:
                missed.append(f"{name}:{number}: {why}")
            print(f"{index}/{len(work)} {word:<16} {name}:{number}: {why}   ({time.time() - started:.0f} s)", flush=True)
        print(f"{caught} caught, {void} do not compile, {len(missed)} not noticed")
        return 1 if missed else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
