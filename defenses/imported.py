"""A user's own defense, named by import path: `{kind: import, path: package.module:Class, settings: {...}}`."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr


class Imported(BaseModel):
    """A class from a package that is installed beside the proxy, made with `settings` as keyword arguments.

    The class is loaded when the configuration is read, so that a wrong path or setting is told there and then. Its
    instances have what the built-in defenses of the same place have: `defenses.input.InputDefense` or
    `defenses.output.AnswerDefense`. What `settings` may hold is the class's own affair.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["import"] = "import"
    path: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:Class")
    settings: dict[str, Any] = Field(default_factory=dict)
    _made: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        del context
        self._made = _defense(self.path, self.settings)

    @property
    def defense(self) -> Any:
        """The instance."""
        return self._made


def loaded(step: Any, attributes: Sequence[str]) -> Any:
    """The step itself, or what an `Imported` stands for, after a look at whether it has all that its place needs.

    Raises:
        ValueError: naming the path and what is missing.
    """
    if not isinstance(step, Imported):
        return step
    missing = [name for name in attributes if not hasattr(step.defense, name)]
    if missing:
        raise ValueError(f"{step.path!r} is no such defense: its instances lack {', '.join(missing)}")
    return step.defense


def imported(path: str) -> Callable[..., Any]:
    """The class that an import path names.

    Raises:
        ValueError: there is none, or its module cannot be imported.
    """
    module_name, _, class_name = path.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise ValueError(f"{path!r} cannot be imported ({error}); install its package beside the proxy") from None
    except AttributeError:
        raise ValueError(f"{module_name!r} has no {class_name!r}; write package.module:Class") from None
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ValueError(f"{path!r} cannot be imported ({type(error).__name__}: {error}); repair it") from None
    return found


def made(path: str, settings: dict[str, Any]) -> Any:
    """An instance of the class that an import path names.

    Raises:
        ValueError: there is no such class, or it does not take the settings.
    """
    found = imported(path)
    try:
        return found(**settings)
    except Exception as error:  # whatever a foreign class does
        raise ValueError(f"{path!r} does not take these settings: {error}") from None


def _defense(path: str, settings: dict[str, Any]) -> Any:
    defense = made(path, settings)
    if not callable(defense):
        raise ValueError(f"{path!r} makes no defense: its instances cannot be called")
    return defense
