"""The accelerator: a library with the operator of accelerated model files, for ONNX Runtime.

It is built from C++ when the package is installed. Where no compiler was at hand it is absent, and only portable model
files can be opened. `wcr_med.runtime.session` registers it by itself; other programs pass `get_library_path()` to
`onnxruntime.SessionOptions.register_custom_ops_library`, or its like in another language.
"""

import sys
from pathlib import Path

from wcr_med.errors import UserError

DOMAIN = "wcr_med"
"""The operator's domain."""

OPERATOR = "Network"
"""The operator: one fused network; see `src/program.h` for its inputs and attributes."""

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_LIBRARY = Path(__file__).with_name(f"libwcr_med_ops{_SUFFIX}")

__all__ = ["DOMAIN", "OPERATOR", "get_library_path", "is_available"]


def is_available() -> bool:
    """Whether the accelerator was built."""
    return _LIBRARY.is_file()


def get_library_path() -> Path:
    """The library, ready to be registered with ONNX Runtime.

    Raises:
        UserError: it was not built.
    """
    if not is_available():
        raise UserError(
            f"the accelerator was not built ({_LIBRARY} is absent); install a C++17 compiler (g++ or clang++) and "
            "install wcr-med again, or use the portable model file"
        )
    return _LIBRARY
