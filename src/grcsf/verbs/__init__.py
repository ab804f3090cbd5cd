"""One command a file: what the command line calls and what Python users import."""
