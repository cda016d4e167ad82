"""What is exported is what the runtime opens: its check, on a file that has not taken its name yet."""

from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.model_metadata import ModelMetadata
from wcr_med.onnx_file import MAX_FILE_BYTES, TooMuchMemoryError, read_contents, require_openable


def require_loadable(written: Path, metadata: ModelMetadata, *, target: Path) -> None:
    """Stop a file that `wcr-med infer` would refuse.

    Args:
        written: the file.
        metadata: what it says about itself.
        target: the name that it is to take, for the message.

    Raises:
        UserError: it is larger than model files may be, would need too much memory to load or to run, or has parts or
            operators that the runtime does not take.
    """
    try:
        contents = read_contents(written)
        require_openable(contents, contents.inputs | metadata.slice_inputs)
    except UserError as error:
        why = str(error).removeprefix(f"{written}: ").rsplit("; ", 1)[0]
        remedy = "train a smaller network, or another one (model.name, model.features, model.encoder)"
        if isinstance(error, TooMuchMemoryError):
            remedy = (
                "if the weights take it, export with --storage dense, which needs the least to load; if a slice does,"
                f" make the grid smaller (preprocess.height, preprocess.width); or {remedy}"
            )
        elif written.stat().st_size > MAX_FILE_BYTES:
            remedy = f"prune further, export with --storage rice, or {remedy}"
        raise UserError(f"{target}: not written, since `wcr-med infer` would not take it: {why}; {remedy}") from error
