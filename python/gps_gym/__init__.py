"""Serves Gymnasium environments to guided policy search, one environment per process.

``python -m gps_gym`` speaks the protocol of Documentation/Python.md on its standard input and output; experiment files
that say ``system: {gymnasium: {id: …}}`` start it. NumPy and Gymnasium are all that it needs.
"""

from .environments import Environment
from .policies import Policy
from .server import serve

__all__ = ["Environment", "Policy", "serve"]
