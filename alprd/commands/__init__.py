"""The commands of the command line, one module each.

Every module offers `add_parser(commands)`, which describes the command and sets `run`, a function
from the parsed arguments to the exit code. Nothing heavy is imported before `run` is called.
"""
