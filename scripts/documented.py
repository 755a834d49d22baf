#!/usr/bin/env python3
"""Runs the command blocks of the documentation in their order, and compares what they print with what is printed there.

    LEVADA=target/debug/levada PYTHON=python3 scripts/documented.py README.md docs/events.md

Every page gets a server of its own on free ports; the ports in the page are replaced by those. A block between ``` lines:

- commands, with the lines that follow them as what they must print, in that order: `…` stands for anything, and an id,
  position or delivery for whatever it is this time. What a command has printed in the place of a delivery is what later
  commands of the page are given.
- a first line `# NAME` where NAME ends in .properties or .toml: a file of that name
- ```python: a program

An HTML comment before a block says that something else runs it, and that is looked for: <!-- run by compat/secured -->
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEVADA = str(Path(os.environ["LEVADA"]).resolve())
PYTHON = os.environ.get("PYTHON", sys.executable)

# What a line of a command begins with; every other line is output.
COMMANDS = re.compile(r"^(\$ |curl |levada( |$)|echo |kcat |cd |mkdir |python |\./run|cp |promtool |systemd|[A-Z_]+=\S+ levada)")
# Commands that go on until they are told to stop: after their first line of output they are.
ENDLESS = re.compile(r"^levada (consume (?!.*(--until-end|--count))|events tail (?!.*--until-end))")
# Commands that serve: until they are ready.
SERVES = re.compile(r"^([A-Z_]+=\S+ )*levada( serve\b| --| *$)")
# What differs each time.
VARIABLE = [
    (re.compile(r"\d+\.\d+\.\d+\.[A-Za-z0-9_-]{11}\b"), r"\d+\.\d+\.\d+\.[A-Za-z0-9_-]{11}"),
    (re.compile(r"1~[\w~.-]+"), r"1~[\w~.-]+"),
]


class Failed(Exception):
    pass


def blocks(text):
    """Line, language, marker and lines of each block."""
    marker, found, lines = "", None, text.splitlines()
    for number, line in enumerate(lines, 1):
        if found is not None:
            if line.strip() == "```":
                yield found
                found, marker = None, ""
            else:
                found[3].append(line)
        elif line.strip().startswith("```"):
            found = (number, line.strip()[3:], marker, [])
        elif line.startswith("<!-- run by "):
            marker = line[len("<!-- run by ") : -len(" -->")]
        elif line.strip():
            marker = ""


def commands(lines):
    """Each command with the lines that it must print."""
    all, lines = [], list(lines)
    while lines:
        line = lines.pop(0)
        if COMMANDS.match(line):
            command = line.removeprefix("$ ")
            while command.endswith("\\"):
                command += "\n" + lines.pop(0)
            all.append((command, []))
        elif line.strip():
            if not all:
                raise Failed(f"`{line}` is no command: name it in COMMANDS, or say what runs the block")
            all[-1][1].append(line)
    return all


def pattern(expected):
    """A line of the page as a regular expression, with a group for each thing that differs."""
    spans = sorted((m.start(), m.end(), value) for known, value in VARIABLE for m in known.finditer(expected))
    text, at = "", 0
    for start, end, value in spans:
        text += re.escape(expected[at:start]) + f"({value})"
        at = end
    text += re.escape(expected[at:])
    return re.compile(text.replace("…", ".*"), re.I), [expected[start:end] for start, end, _ in spans]


class Page:
    def __init__(self, path, work):
        self.path, self.work, self.known = path, Path(work), {}
        self.cwd = self.work / "cwd"
        self.cwd.mkdir()
        for name in ["crates", "docs", "compat"]:
            (self.cwd / name).symlink_to(ROOT / name)
        self.server, self.kafka, self.http = self.start(["--data-dir", str(self.work / "data")])
        shim = self.work / "bin"
        shim.mkdir()
        (shim / "levada").symlink_to(LEVADA)
        # Not a link: Python finds its packages by the place it was started from.
        (shim / "python").write_text(f'#!/bin/sh\nexec "{PYTHON}" "$@"\n')
        (shim / "python").chmod(0o755)
        url = f"http://{self.http}"
        self.env = os.environ | {"PATH": f"{shim}:{os.environ['PATH']}", "LEVADA_BOOTSTRAP": self.kafka, "LEVADA_URL": url}

    def start(self, flags, env=None):
        doors = ["--kafka-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log-format", "json"]
        server = subprocess.Popen([LEVADA, "serve", *doors, *flags], stderr=subprocess.PIPE, text=True, cwd=self.cwd, env=env)
        said = []
        for line in server.stderr:
            said.append(line)
            if line.startswith("{") and json.loads(line).get("message") == "ready":
                ready = json.loads(line)
                # What it says from now on is not needed, and must not stop it.
                subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
                self.wait_open(ready["http"])
                return server, ready["kafka"], ready["http"]
        raise Failed(f"it does not start: {''.join(said)}")

    def wait_open(self, http):
        asked = ["curl", "-fsS", "--retry", "50", "--retry-delay", "1", "--retry-all-errors", "-o", "/dev/null"]
        subprocess.run([*asked, f"http://{http}/v1/categories"], check=True, stderr=subprocess.DEVNULL)

    def stop(self, server):
        server.send_signal(signal.SIGTERM)
        server.wait(30)

    def here(self, text):
        for page, real in [("localhost:8080", self.http), ("127.0.0.1:8080", self.http), ("127.0.0.1:9092", self.kafka)]:
            text = text.replace(page, real)
        for page, real in self.known.items():
            text = text.replace(page, real)
        return text

    def run(self, command, expected):
        if command == "./run":
            # The server of this page stands for it; that it builds and starts is what scripts/try-bare shows.
            assert os.access(ROOT / "run", os.X_OK)
            return
        command = self.here(command)
        if SERVES.match(command):
            return self.serve(command)
        if ENDLESS.match(command):
            return self.first_line(command)
        done = subprocess.run(["bash", "-euc", command], cwd=self.cwd, env=self.env, capture_output=True, text=True, timeout=120)
        said = done.stdout + done.stderr
        if done.returncode != 0 or '"type":"urn:levada:problem:' in said:
            raise Failed(f"{command}\nended with {done.returncode}: {said}")
        lines = iter(said.splitlines())
        for line in expected:
            wanted, names = pattern(self.here(line))
            found = next((match for match in map(wanted.search, lines) if match), None)
            if found is None:
                raise Failed(f"{command}\nwas to print, in this order: {line}\nand printed: {said}")
            self.known |= dict(zip(names, found.groups()))

    def first_line(self, command):
        process = subprocess.Popen(["bash", "-euc", f"exec {command}"], cwd=self.cwd, env=self.env, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        if not line:
            raise Failed(f"{command}\nprinted nothing and ended with {process.returncode}")

    def serve(self, command):
        words = command.split()
        variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        flags = [word for word in words[len(variables) + 1 :] if word != "serve"]
        with tempfile.TemporaryDirectory(dir=self.work) as data:
            server, *_ = self.start([*flags, "--data-dir", f"{data}/data"], os.environ | variables)
            self.stop(server)

    def block(self, language, lines):
        name = re.match(r"# (\S+\.(properties|toml))$", lines[0]) if lines else None
        if name:
            (self.cwd / name[1]).write_text("\n".join(lines) + "\n")
            return 0
        if language == "python":
            subprocess.run([PYTHON, "-c", self.here("\n".join(lines))], cwd=self.cwd, env=self.env, check=True, timeout=60)
            return 1
        all = commands(lines)
        for command, expected in all:
            self.run(command, expected)
        return len(all)


def main(paths):
    failed = 0
    for path in paths:
        count = 0
        with tempfile.TemporaryDirectory() as work:
            page = Page(path, work)
            try:
                for number, language, marker, lines in blocks((ROOT / path).read_text()):
                    try:
                        if marker:
                            assert (ROOT / marker).exists(), f"{marker} is to run it, and is not there"
                            continue
                        count += page.block(language, lines)
                    except (Failed, AssertionError, subprocess.SubprocessError) as why:
                        failed += 1
                        print(f"FAIL {path}:{number}: {why}")
            finally:
                page.stop(page.server)
        print(f"{path}: {count} commands run")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
