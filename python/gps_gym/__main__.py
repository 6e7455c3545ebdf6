"""The program that experiments start."""

import os
import sys


def main() -> None:
    # What an environment prints belongs on standard error: standard output is the program's that started this one.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # The folder of the experiment file, for classes of one's own.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        from .server import serve
    except ImportError as error:
        sys.exit(f"{error}: {sys.executable} needs it: pip install numpy 'gymnasium[mujoco]'")
    serve(os.fdopen(0, "rb"), answers)


main()
