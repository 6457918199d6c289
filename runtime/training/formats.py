"""Models as bytes: for each kind a format that runs no code when it is read; pickle by choice only.

Plain data and numpy are msgpack, scikit-learn is skops with a fixed list of trusted types, LightGBM
its own text, torch tensors safetensors with the class named. Whoever reads makes sure first that
the bytes are whole: some of these readers end the process on damaged ones. Heavy libraries are
imported here, and only where a model of theirs is there.
"""

import contextlib
import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec
import numpy as np

from runtime.training.plain import NotPlain, decode_plain, encode_plain

Storage = Literal["safe", "pickle"]
Build = Callable[[], Any]


class Format(StrEnum):
    """How a part is written."""

    PLAIN = "msgpack"
    SKOPS = "skops"
    LIGHTGBM = "lightgbm text"
    SAFETENSORS = "safetensors"
    PICKLE = "pickle"


class Unstorable(ValueError):
    """Why an object cannot be written, in words that follow "because"."""


class Unreadable(ValueError):
    """Why bytes cannot be read, in words that follow a file's name."""


class Part(msgspec.Struct, frozen=True):
    """One object: `kind` is its class, `libraries` those that can read it, with their versions."""

    format: Format
    data: bytes
    kind: str
    libraries: dict[str, str] = {}


class Encoded(msgspec.Struct, frozen=True):
    """A model and its companions."""

    model: Part
    extras: dict[str, Part] = {}

    @property
    def formats(self) -> dict[str, str]:
        """What each part is written in; the model's own is under ""."""
        parts = {"": self.model, **self.extras}
        return {name: str(part.format) for name, part in parts.items()}


GIVE_BUILD = "so the slot has to know how to make it: ModelSlot(..., build=...)"
TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "numpy.mean",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn._loss.link.HalfLogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
"""What scikit-learn and LightGBM put into fitted models beyond what skops trusts by itself."""


def encode(
    model: object, extras: Mapping[str, object], storage: Storage, *, has_build: bool = True
) -> Encoded:
    """Write a model and its companions.

    Args:
        model: what serves.
        extras: its companions, by name.
        storage: how far it may go.
        has_build: whether who reads it will know how to make an empty torch module for it.

    Raises:
        Unstorable: no format takes one of them; with storage "pickle", not even pickle does. Or it
            could not be read again.
    """
    parts = {}
    if not has_build:
        _check_made(model)
    for name, what in extras.items():
        try:
            _check_made(what)
            parts[name] = _encode(what, storage)
        except Unstorable as error:
            raise Unstorable(f"its extra {name!r}: {error}") from None
    return Encoded(_encode(model, storage), parts)


def decode(encoded: Encoded, build: Build | None = None) -> tuple[Any, dict[str, Any]]:
    """Read a model and its companions. What is a pickle runs code: the caller knows who wrote it.

    Raises:
        Unreadable: another version of a library wrote it, a library or class is missing, or the
            bytes are not what they say.
    """
    model = decode_part(encoded.model, build)
    return model, {name: decode_part(part, None) for name, part in encoded.extras.items()}


def decode_part(part: Part, build: Build | None = None) -> Any:
    """Read one object.

    Raises:
        Unreadable: as `decode`.
    """
    _check_libraries(part)
    try:
        match part.format:
            case Format.PLAIN:
                return decode_plain(part.data)
            case Format.SKOPS:
                return load_skops(part.data)
            case Format.LIGHTGBM:
                return load_booster(part.data)
            case Format.SAFETENSORS:
                return _load_tensors(part, build)
            case Format.PICKLE:
                return pickle.loads(part.data)  # noqa: S301  # see `decode`
    except Unreadable:
        raise
    except ImportError as error:
        raise Unreadable(f"needs {error.name}: install tidegate[models]") from None
    except Exception as error:  # noqa: BLE001  # what a foreign format may raise has no end
        said = " ".join(str(error).split())[:200]
        raise Unreadable(f"is no {part.format} of {part.kind}: {said}") from None


def warm(formats: Iterable[str]) -> None:
    """Import what these formats need, so that reading them need not; what is missing is left."""
    for name in formats:
        with contextlib.suppress(ImportError):
            match name:
                case Format.SKOPS:
                    import skops.io  # noqa: F401, PLC0415
                case Format.LIGHTGBM:
                    import lightgbm  # noqa: F401, PLC0415


# ---- writing -------------------------------------------------------------------------------------


def _encode(what: object, storage: Storage) -> Part:
    kind = f"{type(what).__module__}:{type(what).__qualname__}"
    writers: list[Callable[[object, str], Part | None]] = [_tensors, _booster, _plain, _skops]
    why = f"{type(what).__name__} has no safe format here"
    for write in writers:
        try:
            part = write(what, kind)
        except Unstorable as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  # a model that cannot be written still serves
            why = f"{type(what).__name__} could not be written: {error!r:.200}"
        else:
            if part is not None:
                return part
    if storage != "pickle":
        raise Unstorable(f"{why}; ModelSlot(..., storage='pickle') stores it as a signed pickle")
    root = kind.partition(".")[0].partition(":")[0]
    try:
        return Part(Format.PICKLE, pickle.dumps(what, 5), kind, _versions(root, "numpy"))
    except Exception as error:  # noqa: BLE001  # so has what an object may raise
        raise Unstorable(f"{type(what).__name__} cannot be pickled: {error!r:.200}") from None


def _check_made(what: object) -> None:
    """Refuse a network whose class cannot be made without arguments, to be filled when read."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(what, torch.nn.Module):
        return
    try:
        inspect.signature(type(what)).bind()
    except TypeError:
        name = type(what).__qualname__
        raise Unstorable(f"class {name} needs arguments, {GIVE_BUILD}") from None


def _plain(what: object, kind: str) -> Part:
    try:
        return Part(Format.PLAIN, encode_plain(what), kind)
    except NotPlain as error:
        raise Unstorable(f"{error} has no safe format here") from None


def _booster(what: object, kind: str) -> Part | None:
    lightgbm = sys.modules.get("lightgbm")
    if lightgbm is None or not isinstance(what, lightgbm.Booster):
        return None
    data = what.model_to_string(num_iteration=-1).encode()
    return Part(Format.LIGHTGBM, data, kind, _versions("lightgbm"))


def _skops(what: object, kind: str) -> Part | None:
    """scikit-learn's and what holds it; nothing of either is possible before it was imported."""
    if "sklearn" not in sys.modules or isinstance(what, str | bytes | int | float | np.ndarray):
        return None
    try:
        import skops.io  # noqa: PLC0415
    except ImportError:
        raise Unstorable(f"{type(what).__name__} needs skops: install tidegate[models]") from None
    data = skops.io.dumps(what)
    strange = set(skops.io.get_untrusted_types(data=data)) - TRUSTED
    if kind.replace(":", ".") in strange:
        raise Unstorable(f"{kind} has no safe format here")
    if strange:
        raise Unstorable(f"{', '.join(sorted(strange))[:200]} is not a type that skops may load")
    libraries = _versions("sklearn", *(["lightgbm"] if b"lightgbm" in data else []))
    return Part(Format.SKOPS, data, kind, libraries)


def _tensors(what: object, kind: str) -> Part | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    tensors: Any = what
    if isinstance(what, torch.nn.Module):
        tensors = what.state_dict()
    elif not (
        isinstance(what, dict)
        and what
        and all(isinstance(name, str) for name in what)
        and all(isinstance(value, torch.Tensor) for value in what.values())
    ):
        return None
    try:
        from safetensors.torch import save  # noqa: PLC0415
    except ImportError:
        raise Unstorable("torch needs safetensors: install tidegate[models]") from None
    mode = "train" if getattr(what, "training", False) else "eval"
    # Copies: two names of one tensor, as of tied weights, are not taken.
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    return Part(Format.SAFETENSORS, save(whole, {"mode": mode}), kind, _versions("torch"))


# ---- reading -------------------------------------------------------------------------------------


def load_skops(data: bytes) -> Any:
    """Read scikit-learn's models.

    Raises:
        Unreadable: it holds types that are not trusted.
    """
    import skops.io  # noqa: PLC0415

    found = set(skops.io.get_untrusted_types(data=data))
    if strange := found - TRUSTED:
        names = ", ".join(sorted(strange))[:200]
        raise Unreadable(f"holds {names}, which is not a type that skops may load")
    return skops.io.loads(data, trusted=sorted(found))


def load_booster(data: bytes) -> Any:
    """Read LightGBM's text. Damaged text ends the process: it must be known to be whole."""
    import lightgbm  # noqa: PLC0415

    return lightgbm.Booster(model_str=data.decode())


def _load_tensors(part: Part, build: Build | None) -> Any:
    from safetensors.torch import load  # noqa: PLC0415

    tensors = load(part.data)
    if part.kind in {"builtins:dict", "collections:OrderedDict"} and build is None:
        return tensors
    model = build() if build is not None else _construct(part.kind)
    model.load_state_dict(tensors)
    header = int.from_bytes(part.data[:8], "little")
    mode = msgspec.json.decode(part.data[8 : 8 + header])["__metadata__"]["mode"]
    model.train(mode == "train")
    return model


def _construct(kind: str) -> Any:
    """Make an empty network of a class that the strategy has defined or imported."""
    module, _, name = kind.partition(":")
    found: Any = sys.modules.get(module)
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    if not isinstance(found, type):
        raise Unreadable(f"is of class {kind}, which is not there")
    try:
        return found()
    except TypeError:
        raise Unreadable(f"is of class {name}, which needs arguments, {GIVE_BUILD}") from None


def _versions(*names: str) -> dict[str, str]:
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in names}
    # Some libraries have a class of their own for it, which is written as the text that it is.
    return {name: str(version) for name, version in found.items() if isinstance(version, str)}


def _check_libraries(part: Part) -> None:
    """Refuse what another version of a library has written, where its format depends on that."""
    if part.format not in {Format.SKOPS, Format.PICKLE}:
        return
    for name, stored in part.libraries.items():
        try:
            here = str(__import__(name).__version__)
        except (ImportError, AttributeError):
            raise Unreadable(f"needs {name} {stored}, which is not installed") from None
        if here.split(".")[:2] != stored.split(".")[:2]:
            raise Unreadable(f"was written by {name} {stored}, and {here} is installed")
