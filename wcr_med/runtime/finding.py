"""What the user points at -> the volumes to segment, before any of them is opened."""

import glob
import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.runtime.dicom_studies import dicom_files, join_studies
from wcr_med.runtime.slices import MASK_END, is_mask, missing_slices, natural, require_one_file_each, unread
from wcr_med.runtime.sources import Failure, Found, Source
from wcr_med.runtime.wanted import Wanted, wanted_files
from wcr_med.volumes import FileError
from wcr_med.volumes.choice import Channels
from wcr_med.volumes.names import TIFF_SUFFIXES, is_dicom, is_image, is_nifti, is_unicode, own_name

_SLICE_NAME = re.compile(r".+_\d+(_mask)?\.tiff?", re.IGNORECASE)  # the kaggle_3m layout


def find_sources(
    inputs: Sequence[Path], *, channel_files: Sequence[str] | None = None, channels: Channels | None = None
) -> Found:
    """Tell by names what each input is.

    - A folder with `<name>_<number>.tif` files is a kaggle_3m patient; masks in it are ignored.
    - A folder with other PNG or TIFF files is one volume, its slices in natural order (2 before 10); `*_mask.*` are
      ignored.
    - A folder with NIfTI files is one volume if each channel has one file, by its pattern or by what the name says. If
      none has, each file is a volume; but a network of one channel that is known takes no file that nothing speaks for.
      Where there is but one pattern, each file that it matches is a volume.
    - A folder with DICOM files (`*.dcm`, or without suffix) is a volume; folders with series of one study together are
      one, named by the folder that holds them. `*.seg.dcm` are ignored.
    - Folders in it are searched too, at any depth, and named by their path from there; hidden ones are not.
    - PNG and TIFF files given by name form one volume for each folder they lie in, in the order given.
    - A NIfTI file given by name is a volume; but if those of a folder match each pattern once, they are one volume.
    - A name with `*`, `?` or `[` that is no file is a pattern, `**` any number of folders: all files and folders that
      match, in natural order, named by their path from the first folder with such a sign in it.

    Args:
        inputs: paths.
        channel_files: file patterns of the sequences of a NIfTI patient, in the network's order; `None`: the model file
            names none.
        channels: what the network takes, and what the user said of it; `None`: not known.
    """
    sources: list[Source] = []
    failures: list[Failure] = []
    wanted = wanted_files(channel_files, channels)
    for group, base in _grouped(inputs):
        _collect(group, base, wanted, sources, failures)
    unique: dict[str, Source] = {}
    for source in sources:
        if not is_unicode(source.name):
            problem = "the name is not valid UTF-8, which tables and reports need; rename it"
            failures.append(source.failure(problem))
            continue
        first = unique.setdefault(source.name, source)
        if not _same(first, source):
            message = (
                f"{source.place}: a volume named {source.name} also comes from {first.place}; give one of them alone,"
                " or the folder that holds both, or rename one"
            )
            failures.append(Failure(name=source.name, message=message))
    known = tuple(replace(source, channels=channels) for source in unique.values())
    return Found(sources=known, failures=tuple(failures))


def _same(one: Source, other: Source) -> bool:
    """Whether two sources are one, perhaps by two spellings of its path."""
    if one == other:
        return True
    places = ([path.resolve() for path in (source.folder, *source.files)] for source in (one, other))
    return one.kind == other.kind and next(places) == next(places)


def _grouped(inputs: Sequence[Path]) -> Iterator[tuple[list[Path], Path | None]]:
    """Slices of one folder come together, and NIfTI files, where the first stood; all else alone, with its base."""
    groups: dict[tuple[str, Path, Path | None], dict[Path, None]] = {}
    for given in inputs:
        for path, base in _expanded(given):
            kind = "folder" if path.is_dir() else "nifti" if is_nifti(path) else "slice" if is_image(path) else "other"
            place = path.parent if kind in ("nifti", "slice") else path
            groups.setdefault((kind, place, base), {})[path] = None
    for (_, _, base), group in groups.items():
        yield [path for path in group if not _is_mask_of_another(path, group)], base


def _expanded(given: Path) -> Iterator[tuple[Path, Path | None]]:
    """What a pattern matches, and the folder before its first sign; anything else as it is.

    A pattern with `..` behind that sign matches real paths; those beyond the folder have their own names alone.
    """
    if given.exists() or not glob.has_magic(str(given)):
        yield given, None
        return
    fixed = next(place for place, part in enumerate(given.parts) if glob.has_magic(part))
    base: Path | None
    base = top = Path(*given.parts[:fixed])
    found = {Path(name) for name in glob.glob(str(given), recursive=True)}  # noqa: PTH207  (Path.glob ends `**` elsewhere)
    if ".." in given.parts[fixed:]:  # names come from the base on, and `..` is none
        found = {path.resolve() for path in found}
        top = top.resolve()
        base = top if all(path.is_relative_to(top) for path in found) else None
    folders = {path for path in found if path.is_dir()}
    folders |= {path.parent for path in found - folders if is_dicom(path)}
    files = {path for path in found - folders if is_image(path) or is_nifti(path)}
    # A folder stands for all that it holds, which `**` matches again.
    outer = [path for path in folders | files if folders.isdisjoint(path.parents)]
    if not outer:
        yield given, None
    for path in sorted(outer, key=lambda path: [natural(part) for part in path.parts]):
        yield path, base


def _is_mask_of_another(path: Path, group: Container[Path]) -> bool:
    """Of the kaggle_3m layout, where `*.tif` gives images and masks."""
    stem = path.stem
    return is_mask(path) and path.with_name(stem[: -len(MASK_END)] + path.suffix) in group


def _collect(
    group: list[Path],
    base: Path | None,
    wanted: Wanted,
    sources: list[Source],
    failures: list[Failure],
) -> None:
    """Add what one group holds; what cannot be used does not take the others with it."""
    if group[0].is_dir():
        _collect_tree(group[0], base, wanted, sources, failures)
        return
    try:
        parts = _parts(group, base, wanted)
    except UserError as error:
        failures.append(Failure(name=group[0].parent.name, message=str(error)))
        return
    for files, left_out in parts:
        try:
            source = _source_of_files(files, base)
        except UserError as error:
            failures.append(Failure(name=files[0].name, message=str(error)))
            continue
        doubt = wanted.doubt(files[0]) if is_nifti(files[0]) else ""
        sources.append(replace(source, left_out=left_out, doubt=doubt))


def _parts(group: list[Path], base: Path | None, wanted: Wanted) -> list[tuple[list[Path], tuple[str, ...]]]:
    """The files of each volume among those of one folder, and the names of files that were left out.

    What a pattern of the user matched is like a folder; files given one by one are all meant.

    Raises:
        UserError: none of the files that a pattern matched fits the network.
    """
    if not is_nifti(group[0]):
        return [(group, ())]
    found = wanted.by_channel(group)
    by_channel = [fitting[0] for fitting in found if len(fitting) == 1]
    if len(found) > 1 and len(by_channel) == len(found) == len(set(by_channel)):
        rest = [path for path in group if path not in by_channel]
        if base:  # the pattern matches reference masks too
            return [(by_channel, _names(rest))]
        return [(by_channel, ()), *(([path], ()) for path in rest)]
    if base and wanted.strict:
        taken = found[0]
        if not taken:
            raise wanted.nothing_fits(group[0].parent, group)
        rest = [path for path in group if path not in taken]
        return [([path], _names(rest)) for path in taken]
    return [([path], ()) for path in group]


def _collect_tree(
    root: Path,
    base: Path | None,
    wanted: Wanted,
    sources: list[Source],
    failures: list[Failure],
) -> None:
    n_before = len(sources) + len(failures)

    def unlisted(error: OSError) -> None:
        place = Path(error.filename or root)
        message = f"{place}: cannot be listed ({error.strerror}); check the permissions"
        failures.append(Failure(name=_name_of(place, base or root), message=message))

    found: list[Source] = []
    for folder in _tree(root, unlisted):
        try:
            failures.extend(_broken_links(folder, base or root))
            found.extend(_in_folder(folder, base or root, wanted))
        except UserError as error:
            failures.append(Failure(name=_name_of(folder, base or root), message=str(error)))
        except OSError as error:
            unlisted(error)
    sources.extend(join_studies(found, lambda folder: _name_of(folder, base or root)))
    if len(sources) + len(failures) == n_before:
        message = (
            f"{root}: holds no TIFF, PNG, NIfTI or DICOM (.dcm) images; give a patient's folder, or a folder of such"
        )
        failures.append(Failure(name=_name_of(root, base), message=message))


def _source_of_files(group: list[Path], base: Path | None) -> Source:
    first = group[0]
    for path in group:
        if not path.exists():
            problem = "no image or folder matches" if glob.has_magic(str(path)) else "no such file or folder"
            raise UserError(f"{path}: {problem}; give images to segment")
    if is_image(first):
        require_one_file_each(group)
        name = _prefix(first.parent, base) + first.stem if len(group) == 1 else _name_of(first.parent, base)
        return Source(name=name, kind="images", folder=first.parent, files=tuple(group))
    if is_nifti(first):
        if len(group) == 1:
            return _nifti_file(first, base)
        return Source(name=_name_of(first.parent, base), kind="nifti", folder=first.parent, files=tuple(group))
    if is_dicom(first):
        raise UserError(f"{first}: a single DICOM file; give the folder of the whole series")
    raise UserError(
        f"{first}: not an image this program reads; give TIFF, PNG or NIfTI (.nii, .nii.gz),"
        " or a folder of DICOM images (.dcm)"
    )


def _tree(root: Path, unlisted: Callable[[OSError], None]) -> Iterator[Path]:
    """The folder and all below it in natural order, without hidden ones; links are followed, but never twice."""
    seen: set[Path] = set()
    for name, folders, _ in os.walk(root, followlinks=True, onerror=unlisted):
        folder = Path(name)
        place = folder.resolve()
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted((entry for entry in folders if not entry.startswith(".")), key=natural)
        yield folder


def _in_folder(folder: Path, base: Path, wanted: Wanted) -> list[Source]:
    entries = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = sorted(entries, key=lambda path: natural(path.name))
    if nifti := [path for path in files if is_nifti(path)]:
        found = _nifti_sources(folder, base, nifti, wanted)
        beside = unread(files, nifti)
        return [replace(source, left_out=(*source.left_out, *beside)) for source in found]
    name = _name_of(folder, base)
    if dicom := dicom_files(files):
        return [Source(name=name, kind="dicom", folder=folder, files=dicom, left_out=unread(files, dicom))]
    images = [path for path in files if is_image(path)]
    if any(_SLICE_NAME.fullmatch(path.name) for path in images):
        tiffs = [path for path in images if path.suffix.lower() in TIFF_SUFFIXES]
        doubt = missing_slices([path for path in tiffs if not is_mask(path)])
        beside = unread(files, tiffs)
        return [Source(name=name, kind="kaggle_3m", folder=folder, files=(), left_out=beside, doubt=doubt)]
    slices = tuple(path for path in images if not is_mask(path))
    if not slices:
        return []
    require_one_file_each(slices)
    beside, doubt = unread(files, slices), missing_slices(slices)
    return [Source(name=name, kind="images", folder=folder, files=slices, left_out=beside, doubt=doubt)]


def _broken_links(folder: Path, base: Path) -> list[Failure]:
    """Links that point to nothing: a volume, or a part of one, that is not there.

    Raises:
        FileError: a slice is such a link, so that the volume of this folder is not whole.
    """
    failures = []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.is_symlink() and not path.exists():
            fault = FileError(path, "missing-file", "a link to nothing; restore what it points to, or remove it")
            if is_image(path) and not is_mask(path):
                raise fault
            failures.append(Failure(name=_name_of(path, base), message=str(fault)))
    return failures


def _nifti_sources(folder: Path, base: Path, files: list[Path], wanted: Wanted) -> list[Source]:
    fitting = wanted.by_channel(files)
    taken = fitting[0] if wanted.one_file and len(fitting[0]) > 1 else list(wanted.one_each(folder, files))
    if not taken:
        if wanted.strict:
            raise wanted.nothing_fits(folder, files)
        return [_nifti_file(path, base) for path in files]
    left_out = _names([path for path in files if path not in taken])
    if wanted.one_file:  # each holds all channels, so each is a volume
        name = _name_of(folder, base) if len(taken) == 1 else None
        sources = [_nifti_file(path, base) for path in taken]
        return [replace(source, name=name or source.name, left_out=left_out) for source in sources]
    name = _name_of(folder, base)
    return [Source(name=name, kind="nifti", folder=folder, files=tuple(taken), left_out=left_out)]


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.name for path in paths)


def _nifti_file(path: Path, base: Path | None) -> Source:
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return Source(name=_prefix(path.parent, base) + stem, kind="nifti", folder=path.parent, files=(path,))


def _name_of(folder: Path, base: Path | None) -> str:
    """The path from the base, or the folder's own name where it is the base."""
    return own_name(folder) if base is None or base == folder else folder.relative_to(base).as_posix()


def _prefix(folder: Path, base: Path | None) -> str:
    return "" if base is None or base == folder else f"{_name_of(folder, base)}/"
