"""The project's Debian packages, as the tests make them."""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: The release of the machine itself, from the mirror that debootstrap takes by default.
RELEASE = dict(line.split("=", 1) for line in open("/etc/os-release").read().splitlines() if "=" in line)["VERSION_CODENAME"]
#: A folder of programs that are built already; no setting of a server, so it is not handed on.
PROGRAMS = os.environ.pop("BERTH_PROGRAMS", "")


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{args}: {done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder):
    """Both packages, by their names."""
    run(ROOT / "scripts/package.sh", folder, env={**os.environ, "BERTH_PROGRAMS": PROGRAMS})
    return {p.name.split("_")[0]: p for p in folder.glob("*.deb")}


def later(package, folder, work):
    """The same package under a later version, in a folder."""
    run("dpkg-deb", "-R", package, work)
    control = work / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 99."))
    run("dpkg-deb", "--build", "--root-owner-group", work, folder / package.name.replace("_", "_99.", 1))
    shutil.rmtree(work)
