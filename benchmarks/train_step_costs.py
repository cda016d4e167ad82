"""What augmentation costs a slice, and where the time of a step goes: parts of `train_step.py`."""

import statistics
import time

import numpy as np
import torch
import train_step_worker as worker

from wcr_med.augment import Augmentation, noise_bank
from wcr_med.config import Config
from wcr_med.data.cache import SliceCache
from wcr_med.training.augment_on_device import apply_changes, batch_changes
from wcr_med.training.processor import choose_processor


def costs(config: Config, cache: SliceCache, *, rounds: int) -> str:
    """What a slice costs to draw, and to change on the host and on the device; one thread, medians of rounds."""
    augmentation, device = Augmentation(config.augment), choose_processor(config.training).device
    batch = np.arange(min(config.training.batch_size, len(cache)))
    images_NChw = cache.images_NChw[batch].astype(np.float32)
    images_NhwC, masks_Nhw = np.ascontiguousarray(images_NChw.transpose(0, 2, 3, 1)), cache.masks_Nhw[batch]
    images = torch.from_numpy(images_NhwC).to(device).permute(0, 3, 1, 2)
    masks = torch.from_numpy(masks_Nhw)[:, None].float().to(device)
    noise = torch.from_numpy(noise_bank(images_NhwC[0].size)).to(device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # as many as OpenCV has in a loader process
    times: dict[str, list[float]] = {"drawn": [], "changed by OpenCV": [], f"changed by torch on {device.type}": []}
    for number in range(rounds + 1):
        stamps = [time.perf_counter()]
        changes = [augmentation.draw(images_NhwC.shape[1:], number * len(batch) + i) for i in range(len(batch))]
        stamps.append(time.perf_counter())
        for image_hwC, mask_hw, change in zip(images_NhwC, masks_Nhw, changes, strict=True):
            augmentation.apply(image_hwC, mask_hw, change)
        stamps.append(time.perf_counter())
        together = batch_changes(changes, columns=images_NhwC.shape[2]).to(device)
        apply_changes(images, masks, together, noise)[0].sum().item()  # waits for the device
        stamps.append(time.perf_counter())
        for name, seconds in zip(times, np.diff(stamps), strict=True):
            times[name].append(1e3 * seconds / len(batch))
    parts = [f"{name} {statistics.median(values[1:]):.3f} ms" for name, values in times.items()]
    return f"a slice is augmented: {', '.join(parts)}"


def profile(request: worker.Request, n_steps: int) -> str:
    """A table of torch.profiler over steps of the real loop, in this process."""
    with worker.open_loop(request) as (processor, steps):
        worker.run(steps, worker.LEAD_IN, processor.device)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if processor.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as profiler:
            worker.run(steps, n_steps, processor.device)
    return str(profiler.key_averages().table(sort_by=f"self_{processor.device.type}_time_total", row_limit=25))
