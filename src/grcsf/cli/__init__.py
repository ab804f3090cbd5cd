"""The command line: one module a group of commands; each parses, builds settings and calls one verb."""

from grcsf.cli.commands import app, main

__all__ = ["app", "main"]
