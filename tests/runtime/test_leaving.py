"""The last sentence of a process that something holds up."""

import subprocess
import sys

HELD_UP = """
import threading
from runtime.control import leaving
leaving.HELD_SECONDS = 0.05
leave_at_once = leaving.os._exit
def leave_late(code):
    threading.Event().wait(0.5)  # as on a machine with other work to do
    leave_at_once(code)
leaving.os._exit = leave_late
threading.Thread(target=threading.Event().wait, name="mine").start()
for _ in range(20):
    leaving.see_out(3)
"""


def test_whoever_else_sees_it_out_the_last_sentence_is_said_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HELD_UP], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.stderr == "tidegate: left without thread mine\n"
    assert ended.returncode == 3
