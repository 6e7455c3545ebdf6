"""A Python environment of a script's own, made on first use where the system's Python lacks a package.

It is ${XDG_CACHE_HOME:-~/.cache}/gps/NAME-venv; the system is left as it is.
"""

import os
import shutil
import subprocess
import sys
import unicodedata

EXIT_USAGE, EXIT_UNAVAILABLE = 64, 69  # EX_USAGE and EX_UNAVAILABLE of sysexits.h
IN_VENV, BASE_PYTHON = "GPS_IN_VENV", "GPS_BASE_PYTHON"  # for a script's second start


def visible(text, limit=2000):
    """A text on one line in which nothing moves a cursor, colours a terminal or turns the direction of writing; what is
    too long loses its middle."""

    def is_plain(character):
        return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")

    text = "".join(c if is_plain(c) else f"\\u{{{ord(c):X}}}" for c in text)
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def fail(name, code, *lines):
    for line in lines:
        print(visible(f"{name}: {line}"), file=sys.stderr)
    sys.exit(code)


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "gps")


def make_venv(name, venv, package, requirements):
    """Makes the private environment under another name and renames it: cut short, it never looks finished."""
    remedy = [
        f"scripts/{name} needs {package}, and could not install it for itself.",
        f"When online, run it again. Or install Debian's package: apt-get install python3-{package}",
    ]
    draft = f"{venv}.{os.getpid()}"
    base = os.environ.get(BASE_PYTHON, sys.executable)  # never a stale environment's own, which has no pip
    print(f"{name}: installing {package} for this script alone (once)", file=sys.stderr)
    try:
        os.makedirs(os.path.dirname(venv), exist_ok=True)
        # --without-pip: Debian ships the pip that venv wants in a package of its own. The system's pip serves.
        steps = [
            [base, "-m", "venv", "--without-pip", draft],
            [base, "-m", "pip", "--python", os.path.join(draft, "bin", "python"), "install", "--quiet"]
            + ["--disable-pip-version-check", "--retries", "2", "--timeout", "30", "--only-binary=:all:", *requirements],
        ]
        for step in steps:
            done = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                said = [line for line in done.stdout.splitlines() if line.strip()][-2:]
                if "connection broken" in done.stdout:  # where pip's last words are that there is no such version
                    said = ["pip has no connection to the Python package index."]
                fail(name, EXIT_UNAVAILABLE, *remedy, *(f"    {line}" for line in said))
        shutil.rmtree(venv, ignore_errors=True)
        os.rename(draft, venv)
    except OSError as error:
        # Another call may have finished the same work first.
        if not os.path.exists(os.path.join(venv, "bin", "python")):
            fail(name, EXIT_UNAVAILABLE, *remedy, f"    {error}")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def run_in_venv(name, package, requirements):
    """Starts this script again with the private environment's Python."""
    venv = os.path.join(cache_folder(), f"{name}-venv")
    python = os.path.join(venv, "bin", "python")
    if os.environ.get(IN_VENV) == "again":
        fail(name, EXIT_UNAVAILABLE, f"the environment in {venv} is broken. Delete that folder and run this again.")
    # Once the environment is there and fails, it is stale (say, Python was upgraded under it) and made anew.
    stale = os.environ.get(IN_VENV) == "once"
    if stale or not os.access(python, os.X_OK):
        make_venv(name, venv, package, requirements)
    os.environ[IN_VENV] = "again" if stale else "once"
    os.environ.setdefault(BASE_PYTHON, sys.executable)
    os.execv(python, [python, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
