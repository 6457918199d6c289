"""A strategy file becomes a Strategy object: loaded by its place, under a private name.

Its folder is not put on the import path, so a file beside it cannot shadow the standard library.
"""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from runtime.callbacks import describe, require_plain_callbacks
from runtime.errors import ConfigError, Stopped, StrategyError
from runtime.strategy import Strategy

PRIVATE = "_tidegate_strategy_"
"""How the names of modules begin that are loaded by their place."""


def load_strategy(reference: str) -> Strategy:
    """Return a new instance of the strategy that `FILE.py` or `FILE.py:Class` names.

    Raises:
        ConfigError: the file or class does not exist, or the choice is not clear.
        StrategyError: the file has a syntax error, or raised while it was imported or constructed,
            or has a callback that would never run.
    """
    file, _, name = reference.partition(":")
    path = Path(file)
    if not path.is_file():
        what = "is not a file" if file and path.exists() else "does not exist"
        shown = file or "''"
        raise ConfigError(f"{shown} {what}: name a strategy as FILE.py or FILE.py:Class")
    if path.suffix != ".py":
        raise ConfigError(
            f"{file} is not a Python file: name a strategy as FILE.py or FILE.py:Class"
        )
    module = import_file(path, f"{PRIVATE}{path.stem}")
    strategy = _choose(module, file, name)
    try:
        made = strategy()
    except Stopped:
        raise
    except BaseException as error:  # an author's __init__ may raise anything
        within = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        raise StrategyError(f"{strategy.__name__}() raised {describe(within)}", "load") from error
    require_plain_callbacks(made)
    return made


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file as the module `name`; from then on modules beside it can be imported, too.

    Raises:
        ConfigError: it is no Python file.
        StrategyError: it has a syntax error, or raised.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # Registered, so that pickle and dataclasses find the module by its name.
    sys.modules[name] = module
    # What lies beside it can be imported, and hides nothing that is installed.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        file = Path(error.filename or path)  # it may be one that the file imports
        where = f" in line {error.lineno}" if error.lineno else ""
        who = path if file.name == path.name else file.name
        raise StrategyError(f"{who} has a syntax error{where}: {error.msg}", "load") from error
    except ModuleNotFoundError as error:
        raise StrategyError(
            f"{path} imports {error.name}, which is not installed: install it, or the extra "
            "tidegate[examples] for the examples' libraries",
            "load",
        ) from error
    except Stopped:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit included
        raise StrategyError(f"{path} raised {describe(error)} while loading", "load") from error
    return module


def _choose(module: ModuleType, file: str, name: str) -> type[Strategy]:
    found = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    }
    names = ", ".join(sorted(found)) or "none"
    if name:
        if name not in found:
            raise ConfigError(f"{file} has no strategy class {name}: it defines {names}")
        return found[name]
    if len(found) != 1:
        raise ConfigError(
            f"{file} defines {len(found)} strategies ({names}): "
            + ("choose one as FILE.py:Class" if found else "subclass runtime.Strategy")
        )
    return next(iter(found.values()))
