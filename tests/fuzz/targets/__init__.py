"""The targets by name, each to be entered before it is used."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tests.fuzz.target import Target
from tests.fuzz.targets.config import Configuration
from tests.fuzz.targets.decoder import Decoder
from tests.fuzz.targets.defenses import Defenses
from tests.fuzz.targets.identity import IdentityHeaders
from tests.fuzz.targets.proxy import admin_port, request_path
from tests.fuzz.targets.tfrecord import Captured, LiveWindow
from tests.fuzz.targets.wire import Wire

TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "decoder": lambda: nullcontext(Decoder()),
    "defenses": lambda: nullcontext(Defenses()),
    "config": lambda: nullcontext(Configuration()),
    "identity": lambda: nullcontext(IdentityHeaders()),
    "tfrecord": lambda: nullcontext(Captured()),
    "observed": lambda: nullcontext(LiveWindow()),
    "wire": lambda: nullcontext(Wire()),
    "proxy": request_path,
    "admin": admin_port,
}
