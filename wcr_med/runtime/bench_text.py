"""What was measured, as lines for a person."""

from collections.abc import Iterator

from wcr_med.runtime.bench import BenchReport
from wcr_med.runtime.info_text import megabytes


def bench_text(report: BenchReport) -> str:
    """A table with a row for each file and number of threads, then the ratios."""
    return "\n".join(_lines(report))


def _lines(report: BenchReport) -> Iterator[str]:
    files = [report.model, *([report.against] if report.against else [])]
    rows, columns = report.grid
    slices = "1 slice" if report.batch_size == 1 else f"{report.batch_size} slices"
    yield f"{report.processor}; {slices} of {rows} x {columns} a run, {report.input}"
    yield ""
    width = max(len(file.file) for file in files)
    names = ("size", "threads", "p50 ms", "p95 ms", "slices/s", "load ms", "memory", "runs")
    yield f"{'file':{width}}" + "".join(f"{name:>11}" for name in names)
    for file in files:
        for row in file.timings:
            memory = "unknown" if row.peak_memory_bytes is None else megabytes(row.peak_memory_bytes)
            times = (f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}", f"{row.slices_per_s:.1f}", f"{row.load_ms:.0f}")
            cells = (megabytes(file.size_bytes), str(row.threads), *times, memory, str(row.n_runs))
            yield f"{file.file:{width}}" + "".join(f"{cell:>11}" for cell in cells)
    if report.against is not None:
        yield ""
        yield f"{report.model.file} against {report.against.file}: {_share(report)} of the size"
        for speedup in report.speedups:
            threads = "1 thread" if speedup.threads == 1 else f"{speedup.threads} threads"
            yield f"  {threads}: {speedup.ratio.words}"


def _share(report: BenchReport) -> str:
    assert report.against is not None
    return f"{100 * report.model.size_bytes / report.against.size_bytes:.1f} %"
