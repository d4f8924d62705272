"""The price of a booking in instructions, counted and not timed: the same on every machine, whatever else it does."""
import os
import pathlib
import re
import shutil
import subprocess

import berth

#: Instructions of one order.create from its bytes to its signed, durable reply (docs/benchmarks.md); a tenth above what was counted.
MOST = 510_000
FEW, MANY = 200, 800


def test_a_booking_costs_no_more_instructions_than_before(tmp_path):
    # Valgrind cannot read this compiler's debug information.
    program = tmp_path / "berth-count"
    subprocess.run(["strip", "-g", "-o", program, berth.BIN / "berth-count"], check=True)
    for resources in pathlib.Path(berth.BIN).glob("*.resources"):
        shutil.copytree(resources, tmp_path / resources.name)

    def counted(bookings):
        requests, folder = tmp_path / f"{bookings}.requests", tmp_path / f"{bookings}"
        folder.mkdir()
        subprocess.run([program, "make", requests, str(bookings)], check=True, timeout=60)
        # It takes a whole processor: the tests beside it go first.
        run = subprocess.run(["nice", "-n", "19", "valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}",
                              program, "play", requests, folder],
                             capture_output=True, text=True, timeout=600)
        assert run.returncode == 0 and f"{bookings} requests, 0 refused" in run.stdout, run.stdout + run.stderr[-2000:]
        return int(re.search(r"Collected : (\d+)", run.stderr).group(1))

    each = (counted(MANY) - counted(FEW)) / (MANY - FEW)
    print(f"{each:.0f} instructions a booking")
    assert 100_000 < each < MOST, f"{each:.0f} instructions a booking"
