"""Programs of the system that tests run. Where one is missing its tests are skipped, and fail under CI=true."""

import os
import shutil

import pytest


def program(package: str, *names: str) -> str:
    """Where it is.

    Args:
        package: of Debian and Ubuntu that has it.
        names: that it may have.
    """
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    missing = f"{names[0]} is not installed; apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
