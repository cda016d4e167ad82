"""`python -m wcr_med.onnx_file seal FILE...`: a new checksum for model files that were rewritten on purpose."""

import argparse
import sys
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.onnx_file.checksum import seal_file


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m wcr_med.onnx_file", description=__doc__)
    parser.add_argument("what", choices=["seal"])
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    try:
        for path in parser.parse_args().files:
            seal_file(path)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
