"""What a result may be made of: values, of any library, but none of the machinery around them.

A worker has the trust of the strategy, whose code it runs, so this is no wall against an enemy. It
keeps what would act while it is unpickled (start a process, open a file, evaluate text, reach into
the runtime) from acting in the process that trades.
"""

import pickle

import runtime
from feeds import events

OURS = ("runtime", "feeds", "strategies")
VALUES = frozenset(runtime.__all__) | {name for name in vars(events) if name[0].isupper()}
"""Names of ours that are values."""
MACHINERY = frozenset(
    {
        "_posixsubprocess", "_thread", "_winapi", "asyncio", "code", "codeop", "ctypes", "fcntl",
        "gc", "importlib", "inspect", "io", "marshal", "mmap", "multiprocessing", "nt", "os", "pdb",
        "pickle", "posix", "pty", "runpy", "sched", "shutil", "signal", "site", "socket",
        "subprocess", "sys", "tempfile", "threading", "timeit", "trace", "types", "webbrowser",
    }
)  # fmt: skip
BUILTINS = frozenset(
    {
        "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "exit", "globals", "help",
        "input", "locals", "open", "print", "quit", "setattr", "vars",
    }
)  # fmt: skip
ALLOWED = frozenset({("types", "SimpleNamespace"), ("types", "MappingProxyType")})


def check_allowed(module: str, name: str) -> None:
    """Let what makes values pass.

    Raises:
        pickle.UnpicklingError: it is machinery.
    """
    top = module.partition(".")[0]
    if top in OURS:
        good = name in VALUES or top == "strategies"
    elif module in {"builtins", "__builtin__"}:
        good = name not in BUILTINS
    else:
        good = top not in MACHINERY or (module, name) in ALLOWED
    if not good:
        raise pickle.UnpicklingError(
            f"it names {module}.{name}, and a result is made of values only"
        )
