"""Begin a strategy: `tidegate new`."""

import json
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from runtime.cli.app import app
from runtime.cli.options import Json
from runtime.control.state import NAME
from runtime.errors import ConfigError

FILES = {
    "strategy.py.txt": "{}.py",
    "test.py.txt": "test_{}.py",
    "tidegate.toml.txt": "tidegate.toml",
}


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="of the strategy, such as momentum")],
    at: Annotated[Path | None, typer.Option(help="the folder to make; ./NAME by default")] = None,
    as_json: Json = False,
) -> None:
    """Begin a strategy: a folder with a model that trains and trades, its test, and its settings.

    Examples:
    tidegate new momentum

    cd momentum && python -m pytest && tidegate run momentum.py --config tidegate.toml
    """
    module = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip(
        "_"
    )
    if not NAME.fullmatch(name) or not module.isidentifier() or keyword.iskeyword(module):
        raise ConfigError(
            f"{name!r} cannot name a strategy: a letter first, then letters, digits, '-' and '_' "
            "are allowed, at most 64, and no word of Python's"
        )
    title = "".join(part.capitalize() for part in module.split("_"))
    words = {"NAME": name, "MODULE": module, "CLASS": title, "TITLE": title}
    folder = Path(name) if at is None else at
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if taken := sorted(path.name for path in folder.iterdir()):
            raise ConfigError(
                f"{folder} is not empty: it has {', '.join(taken[:3])}; name another --at"
            )
        for source, target in FILES.items():
            template = files("runtime").joinpath("assets", "new", source).read_text("utf-8")
            path = folder / target.format(module)
            path.write_text(Template(template).substitute(words), encoding="utf-8")
            made.append(str(path))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from None
    if as_json:
        typer.echo(json.dumps({"name": name, "class": title, "files": made}))
        return
    typer.echo(f"made {', '.join(made)}")
    typer.echo(f"next: cd {folder} && tidegate run {module}.py --config tidegate.toml")
