"""A model file as a function from images to lesion masks."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from wcr_med.errors import UserError
from wcr_med.model_metadata import INPUTS, METADATA_KEY, OUTPUTS, ModelMetadata
from wcr_med.native.sessions import ORT_ERRORS, reason, require_memory
from wcr_med.onnx_file import read_contents, require_openable
from wcr_med.plausibility import ImageStatistics, Look, doubts, look, nothing_to_see
from wcr_med.preprocess import Survey, binarise, predict_batches, survey
from wcr_med.runtime.result import Result, checked_spacing
from wcr_med.runtime.session import open_checked

Array = npt.NDArray[Any]
_LOG = logging.getLogger(__name__)


class Segmenter:
    """A network that is ready to segment. Make one with `Segmenter.from_file`.

        with Segmenter.from_file("pruned-90.onnx") as segment:
            result = segment(image_SHWC, spacing=(5.0, 0.9, 0.9))

    One segmenter may be used by many threads at once; all get the answer that one would. It keeps nothing between
    calls, and no setting of the process or of the caller's thread is changed; `ORT_DISABLE_TELEMETRY` apart, which
    importing this package sets.

    Attributes:
        metadata: what the file says about itself.
        source: the file's path, for messages.
    """

    def __init__(self, session: onnxruntime.InferenceSession, metadata: ModelMetadata, *, source: str) -> None:
        self.metadata = metadata
        self.source = source
        self._session: onnxruntime.InferenceSession | None = session
        self._statistics = (
            None
            if metadata.image_statistics is None
            else ImageStatistics.from_dict(metadata.image_statistics, source=source)
        )
        self._changed = threading.Condition()
        self._n_running = 0

    @classmethod
    def from_file(cls, path: Path | str, *, threads: int = 0) -> "Segmenter":
        """Load a model file and check that it is one of ours, before ONNX Runtime gets it or any image is read.

        Args:
            path: an ONNX file that `wcr-med export` wrote, portable or accelerated.
            threads: processor threads; 0 leaves the number to ONNX Runtime.

        Raises:
            UserError: no such file, truncated, not ONNX, not as its checksum says, without or with other metadata, of
                another task, a standalone file, with parts that no network of ours has, too large, with other inputs
                and outputs than the metadata promise, or accelerated where the accelerator was not built.
        """
        contents = read_contents(path)
        # Missing: the file has no metadata of ours.
        metadata = ModelMetadata.from_json(contents.metadata.get(METADATA_KEY), source=str(path))
        require_openable(contents, contents.inputs | metadata.slice_inputs)
        opened = open_checked(contents, threads=threads)
        _require_signature(opened, metadata, str(path))
        return cls(opened, metadata, source=str(path))

    def __enter__(self) -> "Segmenter":
        """The segmenter itself, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the network's memory back, once the calls that still run in other threads are finished.

        Calls that begin meanwhile are refused. An iterator of `batches` that was begun can be read to its end, which
        is not waited for. May be called again.
        """
        with self._changed:
            self._session = None
            self._changed.wait_for(lambda: self._n_running == 0)

    def __call__(
        self, image_SHWC: Array, spacing: tuple[float, float, float] | None = None, *, batch_size: int = 4
    ) -> Result:
        """Segment one whole volume.

        Args:
            image_SHWC: (slices, rows, columns, channels), channels in the order of training, any real dtype, finite.
                Statistics are taken over the volume, so a slice gives other numbers alone than among its neighbours.
            spacing: millimetres between slices, rows and columns, positive; only the result's millilitres need it.
            batch_size: slices a forward pass; bounds the memory.

        Raises:
            UserError: another number of channels or axes, NaN or infinite values, no slices, or no such spacing.
            ValueError: the segmenter is closed.
        """
        spacing_mm = checked_spacing(spacing)
        with self._running() as opened:
            known = self._survey(image_SHWC)
            seen = look(image_SHWC, known)
            warnings = doubts(seen, self._statistics, self.metadata.channels)
            if nothing_to_see(seen):
                warnings = (_nothing(seen), *warnings)
            for warning in warnings:
                _LOG.warning("the mask may be wrong: %s", warning)
            probability_SHW = self._probability(opened, image_SHWC, known, batch_size)
        return Result(
            mask=self.binarise(probability_SHW),
            probability=probability_SHW,
            threshold=self.metadata.threshold,
            spacing_mm=spacing_mm,
            warnings=warnings,
        )

    def survey(self, image_SHWC: Array) -> Survey:
        """What has to be known of a whole volume before its slices can be segmented; see `batches`.

        Raises:
            UserError: another number of channels or axes, NaN or infinite values, or no slices.
            ValueError: the segmenter is closed.
        """
        self._open_session()
        return self._survey(image_SHWC)

    def _survey(self, image_SHWC: Array) -> Survey:
        needed = self.metadata.in_channels
        if image_SHWC.ndim == 4 and image_SHWC.shape[3] != needed:
            names = self.metadata.channels
            which = f"; give them in this order: {', '.join(names)}" if names and needed > 1 else ""
            raise UserError(
                f"the image has {image_SHWC.shape[3]} channels, {self.source} takes {needed}"
                + (which or "; give the sequences that the network was trained with, in their order")
            )
        return survey(image_SHWC, self.metadata.preprocess)

    def doubts(self, image_SHWC: Array, known: Survey) -> tuple[str, ...]:
        """What speaks against the image: a line for each thing in which it is unlike those of the training.

        Preprocessing takes air to be about zero; that is checked always. Files that hold statistics of the training
        images let more be said: channels swapped, noise, another kind of image. See `wcr_med.plausibility`.

        Args:
            image_SHWC: one whole volume; may be a memory map.
            known: what `survey` found in it.

        Raises:
            UserError: no voxel is above zero, or every channel holds one value: there is nothing to segment.
        """
        seen = look(image_SHWC, known)
        if nothing_to_see(seen):
            raise UserError(_nothing(seen))
        return doubts(seen, self._statistics, self.metadata.channels)

    def batches(self, image_SHWC: Array, known: Survey, *, batch_size: int = 4) -> Iterator[tuple[slice, Array]]:
        """Foreground probability a batch of slices at a time, for volumes that are larger than memory.

        Args:
            image_SHWC: one whole volume; may be a memory map.
            known: what `survey` found in it.
            batch_size: slices a forward pass; bounds the memory.

        Yields:
            The place of the batch among the slices, and probability_SHW of it: float32 in [0, 1].

        Raises:
            UserError: the network's answer is not finite, or ONNX Runtime cannot run it.
            MemoryError: too little memory.
            ValueError: the segmenter is closed, when the first batch is asked for.
        """
        yield from self._batches(self._open_session(), image_SHWC, known, batch_size=batch_size)

    def _batches(
        self, opened: onnxruntime.InferenceSession, image_SHWC: Array, known: Survey, *, batch_size: int
    ) -> Iterator[tuple[slice, Array]]:
        return predict_batches(image_SHWC, known, partial(self._forward, opened), batch_size=batch_size)

    def probability(self, image_SHWC: Array, *, batch_size: int = 16) -> Array:
        """Foreground probability of every voxel, float32 in [0, 1], on the image's own grid. See `__call__`."""
        with self._running() as opened:
            return self._probability(opened, image_SHWC, self._survey(image_SHWC), batch_size)

    def _probability(
        self, opened: onnxruntime.InferenceSession, image_SHWC: Array, known: Survey, batch_size: int
    ) -> Array:
        probability_SHW = np.empty(image_SHWC.shape[:3], dtype=np.float32)
        for place, batch_SHW in self._batches(opened, image_SHWC, known, batch_size=batch_size):
            probability_SHW[place] = batch_SHW
        return probability_SHW

    def mask(self, image_SHWC: Array, *, batch_size: int = 16) -> Array:
        """Lesion mask of a volume at the file's own operating threshold; uint8, 0 and 1. See `__call__`."""
        return self.binarise(self.probability(image_SHWC, batch_size=batch_size))

    def binarise(self, probability: Array) -> Array:
        """The mask of a probability map at the file's own operating threshold; see `wcr_med.preprocess.binarise`."""
        return binarise(probability, self.metadata.threshold)

    def _forward(
        self, opened: onnxruntime.InferenceSession, image_Schw: Array, centre_C: Array, spread_C: Array
    ) -> Array:
        feed = dict(zip(INPUTS, (image_Schw, centre_C, spread_C), strict=True))
        try:
            probability_S1hw = opened.run([OUTPUTS[1]], feed)[0]
        except ORT_ERRORS as error:
            require_memory(error, self.source)
            raise UserError(f"{self.source}: ONNX Runtime cannot run it ({reason(error)}); export it again") from error
        grid = (len(image_Schw), 1, *image_Schw.shape[2:])
        if probability_S1hw.shape != grid:
            raise UserError(
                f"{self.source}: answers with an array of {probability_S1hw.shape} where its metadata promise {grid}; "
                "export the network again"
            )
        probability_Shw: Array = probability_S1hw[:, 0]
        return probability_Shw

    @contextlib.contextmanager
    def _running(self) -> Iterator[onnxruntime.InferenceSession]:
        """The session for the length of a call, which `close` waits for."""
        with self._changed:
            opened = self._open_session()
            self._n_running += 1
        try:
            yield opened
        finally:
            with self._changed:
                self._n_running -= 1
                self._changed.notify_all()

    def _open_session(self) -> onnxruntime.InferenceSession:
        opened = self._session
        if opened is None:
            raise ValueError(f"the segmenter of {self.source} is closed; open the file again")
        return opened


def _require_signature(session: onnxruntime.InferenceSession, metadata: ModelMetadata, path: str) -> None:
    settings, channels = metadata.preprocess, metadata.in_channels
    grid = (settings.height, settings.width)
    expected = dict(zip(INPUTS, ((None, channels, *grid), (channels,), (channels,)), strict=True))
    expected |= dict.fromkeys(OUTPUTS, (None, 1, *grid))
    found = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    if set(found) != set(expected):
        wrong = ", ".join(sorted(set(found) ^ set(expected)))
        raise UserError(f"{path}: graph inputs or outputs missing or unknown: {wrong}; export the network again")
    for name, shape in expected.items():
        value = found[name]
        if value.type != "tensor(float)" or not _fits(value.shape, shape):
            raise UserError(
                f"{path}: {name} is {value.type} {value.shape}, but its metadata promise tensor(float) {list(shape)}; "
                "export the network again"
            )


def _fits(found: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    """Same rank, and the same size wherever both are numbers."""
    return len(found) == len(expected) and all(
        not isinstance(have, int) or want is None or have == want for have, want in zip(found, expected, strict=True)
    )


def _nothing(seen: Look) -> str:
    return (
        f"nothing to segment: {seen.below_zero_C.mean():.0%} of the voxels are below zero and none stands out above it,"
        " or all have one value; give magnitude images, with air at about zero"
    )
