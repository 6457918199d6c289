"""Arguments, messages, exit codes; nothing else.

0: a clean stop. 1: the run failed. 2: usage or configuration. 3: another run has the state. Every
message is one sentence on stderr; a traceback appears only at --log-level debug.
"""

from runtime.cli.main import main

__all__ = ["main"]
