"""The output folder of a call: unfinished results apart, and a record of each volume that is done.

OUT/.wcr-med/partial/   results of volumes in work; emptied before and after each call
OUT/.wcr-med/done/      a JSON file a finished volume: what it was made from and with, and its files
OUT/.wcr-med/lock       held while a call works here
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from wcr_med.errors import UserError
from wcr_med.files import explain_os_errors, read_json, sha256_of_file, write_json
from wcr_med.runtime.report import FAILURES, VOLUMES, SegmentedVolume
from wcr_med.runtime.sources import Source
from wcr_med.volumes import FileError

_HIDDEN = ".wcr-med"


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where results go.

    Attributes:
        out: the output folder.
        signature: what results depend on besides the images: the model file's hash, the threshold, the formats.
    """

    out: Path
    signature: Mapping[str, Any]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other calls out of the folder, and leave no unfinished results in it, nor those of a killed call.

        Raises:
            UserError: another call works here, or the folder cannot be written.
        """
        hidden = self.out / _HIDDEN
        with explain_os_errors(self.out):
            hidden.mkdir(parents=True, exist_ok=True)
            lock = (hidden / "lock").open("w")
        with lock:
            _take(lock, self.out)
            shutil.rmtree(self._partial, ignore_errors=True)
            with explain_os_errors(self.out):
                self._partial.mkdir()
                for unfinished in (hidden / "done").glob(".partial-*"):
                    unfinished.unlink()
            try:
                yield
            finally:
                shutil.rmtree(self._partial, ignore_errors=True)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """A folder for the files of one volume, gone afterwards."""
        with explain_os_errors(self.out):
            folder = Path(tempfile.mkdtemp(dir=self._partial))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def find(self, source: Source) -> SegmentedVolume | None:
        """A volume that is done: from the same images, with the same signature, and none of its files changed."""
        try:
            record = read_json(self._record(source.name))
            if record["signature"] != self.signature or record["inputs"] != source.state():
                return None
            if any(_changed(self.out / name, found) for name, found in record["files"].items()):
                return None
            values = record["volume"]
            names = values.pop("mask_files")
            if not names or not set(names) <= set(record["files"]):
                return None
            masks = tuple(self.out / name for name in names)
            return SegmentedVolume(**{**values, "mask_files": masks, "resumed": True})
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # no record, or a damaged one: it is done again

    def forget(self, name: str) -> None:
        """Remove the record of a volume and the files it names, so that no old result passes for a new one."""
        path = self._record(name)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            names = list(json.loads(path.read_text(encoding="utf-8"))["files"])
            path.unlink()
            for place in names:
                file = self.out / place
                if file.resolve().is_relative_to(self.out.resolve()):
                    file.unlink(missing_ok=True)
        with explain_os_errors(self.out):
            path.unlink(missing_ok=True)

    def check_names(self, files: Sequence[Path], stage: Path) -> None:
        """Refuse results that could not all have a place of their own in the output folder.

        Args:
            files: that will be written, in the stage.
            stage: the folder that `stage` gave.

        Raises:
            FileError: two results would have one name, or a name is too long for the file system, taken by a folder
                or by a table of the call, or leads out of the output folder.
        """
        seen: set[Path] = set()
        for path in files:
            name = path.relative_to(stage)
            target = self.out / name
            if path in seen:
                problem = "two results would have this name; rename one of the two images"
                raise FileError(target, "repeated-slice", problem)
            seen.add(path)
            if ".." in name.parts or name.parts[0] in (_HIDDEN, VOLUMES, FAILURES):
                raise FileError(target, "bad-name", "no name for a result; rename the volume")
            try:
                with contextlib.suppress(FileNotFoundError):
                    path.lstat()  # refuses long names by itself
            except OSError as error:
                problem = f"the result cannot have this name ({error.strerror}); shorten the volume's name"
                raise FileError(target, "bad-name", problem) from None
            if any(parent.is_file() for parent in target.parents[: len(name.parts) - 1]):
                raise FileError(target, "bad-name", "a file has the name of its folder; choose another --out")
            if target.is_dir():
                raise FileError(target, "bad-name", "a folder has the name of this result; choose another --out")

    def keep(
        self, source: Source, inputs: object, volume: SegmentedVolume, files: Sequence[Path], stage: Path
    ) -> SegmentedVolume:
        """Record a finished volume, and move its files from the stage to their places.

        Args:
            source: of the volume.
            inputs: `source.state()` before it was read.
            volume: its mask files lie in the stage.
            files: all that were written for it, in the stage.
            stage: the folder that `stage` gave.

        Raises:
            FileError: one of the files is not there.
        """
        for path in files:
            if not path.is_file():
                name = path.relative_to(stage)
                raise FileError(self.out / name, "missing-file", "was not written; give the volume again, alone")
        digests = {path.relative_to(stage).as_posix(): sha256_of_file(path) for path in sorted(files)}
        masks = [path.relative_to(stage).as_posix() for path in volume.mask_files]
        values = {**dataclasses.asdict(volume), "mask_files": masks}
        document = {"signature": dict(self.signature), "inputs": inputs, "volume": values, "files": digests}
        # First: of a call that is killed below, it tells what to remove.
        write_json(self._record(source.name), document)
        for place in digests:
            target = self.out / place
            with explain_os_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                (stage / place).replace(target)
        return dataclasses.replace(volume, mask_files=tuple(self.out / name for name in masks))

    @property
    def _partial(self) -> Path:
        return self.out / _HIDDEN / "partial"

    def _record(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self.out / _HIDDEN / "done" / f"{digest}.json"


def _changed(path: Path, found: object) -> bool:
    """Whether a result is another one than its record says: its SHA-256, or of an older version its size."""
    return (path.stat().st_size if isinstance(found, int) else sha256_of_file(path)) != found


def _take(lock: TextIO, out: Path) -> None:
    """Hold the lock until the file is closed, or the process ends."""
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{out}: another call writes its results here; wait for it, or choose another --out") from None
    except OSError:  # a file system without locks
        return
