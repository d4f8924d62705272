"""Writes a manual page (mdoc) from a program's own description of its commands.
   manual.py PROGRAM VERSION > PROGRAM.1"""
import json
import subprocess
import sys

program, version = sys.argv[1:3]
tool = json.loads(subprocess.run([program, "--experimental-dump-help"], check=True, capture_output=True, text=True).stdout)["command"]
name = tool["commandName"]


def text(value):
    """A line that begins with a dot or an apostrophe would be a request."""
    lines = [line.strip() for line in (value or "").replace("\\", "\\e").split("\n")]
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line or ".Pp" for line in lines).strip()


def options(command):
    out = []
    for argument in command.get("arguments", []):
        if not argument.get("shouldDisplay", True) or argument["kind"] == "positional" and not argument.get("valueName"):
            continue
        names = [("--" if n["kind"] == "long" else "-") + n["name"] for n in argument.get("names", [])]
        value = "" if argument["kind"] == "flag" else f" Ar {argument.get('valueName', 'value')}"
        label = " , ".join(f"Fl {n[1:]}" for n in names) if names else ""
        out.append(f".It {label}{value}".replace(".It  ", ".It "))
        out.append(text(argument.get("abstract") or ""))
        if argument.get("defaultValue"):
            out.append(f"The default is {text(argument['defaultValue'])}.")
    return ([".Bl -tag -width Ds"] + [o for o in out if o] + [".El"]) if out else []


def section(command, path):
    out = [f".Ss {' '.join(path)}", text(command.get("abstract")), text(command.get("discussion"))]
    out += options(command)
    for sub in command.get("subcommands", []):
        if sub["commandName"] != "help":
            out += section(sub, path + [sub["commandName"]])
    return [line for line in out if line]


page = [f".Dd November 2026", f".Dt {name.upper()} 1", f".Os Berth {version}", ".Sh NAME", f".Nm {name}", f".Nd {text(tool.get('abstract'))}",
        ".Sh SYNOPSIS", f".Nm", ".Ar command", ".Op Ar options", ".Sh COMMANDS"]
for sub in tool.get("subcommands", []):
    if sub["commandName"] != "help":
        page += section(sub, [sub["commandName"]])
page += [".Sh EXIT STATUS", "0 on success, 1 when the command was refused or failed, 64 for a wrong command line."]
print("\n".join(page))
