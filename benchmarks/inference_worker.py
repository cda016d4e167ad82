"""One model file in one engine, timed on request: a process of its own, so that load time and memory are its own.

Needs NumPy and the engine alone, so that it runs in the environment of an engine that does not fit ours. Reads lines
from standard input and answers each with a line of JSON: "load", "run N", "quit".
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]


def onnxruntime_engine(path: str, threads: int, feed: dict[str, Any]) -> Run:
    """ONNX Runtime as it comes, all optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["logits"], feed)


def accelerated_engine(path: str, threads: int, feed: dict[str, Any]) -> Run:
    """ONNX Runtime with the accelerator."""
    from wcr_med.runtime import session

    opened = session(path, threads=threads)
    return lambda: opened.run(["logits"], feed)


def openvino_engine(path: str, threads: int, feed: dict[str, Any]) -> Run:
    """OpenVINO in float32, as its own benchmark sets it for latency."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda: request.infer(feed)


def deepsparse_engine(path: str, threads: int, feed: dict[str, Any]) -> Run:
    """DeepSparse, inputs in the order of the graph."""
    import deepsparse

    engine = deepsparse.Engine(path, batch_size=1, num_cores=threads)
    inputs = [np.ascontiguousarray(feed[name]) for name in engine.input_names]
    return lambda: engine.run(inputs)


ENGINES = {
    "onnxruntime": onnxruntime_engine,
    "accelerated": accelerated_engine,
    "openvino": openvino_engine,
    "deepsparse": deepsparse_engine,
}


def peak_mb() -> float:
    """The most memory this process has held so far, megabytes; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Answer requests until told to quit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("--feed", required=True, help="a .npz file with the inputs")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    answers = sys.stdout
    sys.stdout = sys.stderr  # engines greet their users there
    logging.disable(logging.INFO)
    feed = dict(np.load(arguments.feed))
    run: Run | None = None
    for line in sys.stdin:
        request = line.split()
        if request[0] == "quit":
            return
        answer: dict[str, Any] = {}
        if request[0] == "load":
            __import__("onnxruntime" if arguments.engine == "accelerated" else arguments.engine)
            before, start = peak_mb(), time.perf_counter()
            run = ENGINES[arguments.engine](arguments.model, arguments.threads, feed)
            answer["load_ms"] = 1e3 * (time.perf_counter() - start)
            run()
            answer["peak_mb"] = peak_mb() - before
        else:
            assert run is not None
            times = []
            run()  # the caches are another process's
            for _ in range(int(request[1])):
                start = time.perf_counter()
                run()
                times.append(1e3 * (time.perf_counter() - start))
            answer["ms"] = times
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
