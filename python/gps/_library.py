"""The library, through ctypes: what ``Sources/CInterface`` exports."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Any, Mapping

_PACKAGE = Path(__file__).resolve().parent
_NAME = "libGuidedPolicySearchC.so"

_text = ctypes.c_void_p  # not c_char_p, which would lose the address that is to be given back
_handle = ctypes.c_void_p
_address = ctypes.c_void_p

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "gps_version": (_text, []),
    "gps_free": (None, [_text]),
    "gps_release": (None, [_handle]),
    "gps_configure_heap": (None, []),
    "gps_policy_load": (_handle, [ctypes.c_char_p, ctypes.POINTER(_text)]),
    "gps_policy_describe": (_text, [_handle]),
    "gps_policy_act": (None, [_handle, ctypes.c_ssize_t, _address, _address, _address]),
    "gps_run_start": (_handle, [ctypes.c_char_p] * 3 + [ctypes.c_ssize_t, ctypes.c_bool, ctypes.POINTER(_text)]),
    "gps_run_next": (ctypes.c_int32, [_handle, ctypes.c_double, ctypes.POINTER(_text)]),
    "gps_run_stop": (None, [_handle]),
    "gps_environment_make": (_handle, [ctypes.c_char_p] * 2 + [ctypes.c_ssize_t] * 2 + [ctypes.POINTER(_text)]),
    "gps_environment_describe": (_text, [_handle]),
    "gps_environment_advance": (None, [_handle] + [_address] * 7),
}


class GPSError(Exception):
    """What the library says is wrong: an experiment, a policy, a run."""


def _load() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    place = os.environ.get("GPS_LIBRARY") or str(_PACKAGE / "lib" / _NAME)
    try:
        # Twice: the first lets go of Python's lock for as long as a call takes, the second keeps it for calls that
        # take less time than that.
        libraries = ctypes.CDLL(place), ctypes.PyDLL(place)
    except OSError as error:
        raise ImportError(f"{error}; install the wheel of scripts/wheel, or let GPS_LIBRARY name {_NAME}") from None
    for library in libraries:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    return libraries


library, quick = _load()


def taken(text: int | None) -> str:
    """A text of the library's, given back to it."""
    if not text:
        return ""
    value = ctypes.string_at(text).decode()
    library.gps_free(text)
    return value


def described(text: int | None) -> dict[str, Any]:
    """What the library says in JSON."""
    return json.loads(taken(text))


class Owned:
    """A handle that is given back when nobody has it any more."""

    def __init__(self, function: str, *arguments: Any):
        problem = _text()
        self.handle = getattr(library, function)(*arguments, ctypes.byref(problem))
        if not self.handle:
            raise GPSError(taken(problem.value))

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            library.gps_release(self.handle)
            self.handle = None


def experiment_file(name: str | os.PathLike[str]) -> str:
    """The file of an experiment: a path, or the name of one that comes with the package."""
    text = os.fspath(name)
    if "/" in text or text.endswith((".yaml", ".yml")):
        return text
    file = _experiments() / text / "experiment.yaml"
    if not file.exists():
        raise GPSError(f'no experiment is called "{text}" (there are {", ".join(tasks())}; a file\'s name ends in .yaml)')
    return str(file)


def tasks() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(file.parent.name for file in _experiments().glob("*/experiment.yaml"))


def _experiments() -> Path:
    return Path(os.environ.get("GPS_EXPERIMENTS") or _PACKAGE / "experiments")


def assignments(settings: Mapping[str, Any] | None) -> bytes:
    """Settings as "key.path=value", one a line."""
    return "\n".join(f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()).encode()


def version() -> str:
    """The version of the library."""
    return taken(library.gps_version())
