"""The first process of a container: it starts the command once more, and stays to look after it.

To process 1 the kernel hands every orphan, and no signal that it has no handler for. So it does two
things only, and they are simple: it passes signals on, and it reaps whatever ends.
"""

import os
import signal
import sys

PASSED_ON = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


def stand_aside() -> None:
    """As process 1, run the same command in a child and leave with its exit code; else return.

    The child has a process group of its own, so that a Ctrl-C reaches it once. One that a signal
    has killed is told as a shell would: 128 and the signal's number.
    """
    if os.getpid() != 1:
        return
    # Handlers and a pipe, not a mask: numpy's threads, which are there already, would not have it.
    heard, say = os.pipe()
    os.set_blocking(say, False)
    signal.set_wakeup_fd(say, warn_on_full_buffer=False)
    before = {each: signal.signal(each, _noted) for each in (*PASSED_ON, signal.SIGCHLD)}
    command = [sys.executable, *sys.orig_argv[1:]]
    child = os.posix_spawn(
        sys.executable, command, os.environ, setpgroup=0, setsigdef=before.keys()
    )
    while True:
        for number in os.read(heard, 4096):
            if number == signal.SIGCHLD:
                _reap(child)
            else:
                os.kill(child, number)


def _noted(_: int, __: object) -> None:
    """Do nothing: the byte in the pipe says it."""


def _reap(child: int) -> None:
    """Take in all that has ended; with the child, leave."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            return
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
