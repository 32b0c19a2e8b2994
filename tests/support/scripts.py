"""Scripts of deploy/ that are no modules of a package, as modules that a test can call."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TOP = Path(__file__).parents[2]


def script(path: str) -> ModuleType:
    """The module in the file `path`, below the top of the checkout."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(f"deploy_script_{name}", TOP / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
