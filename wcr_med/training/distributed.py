"""The processes that train one network together: as torchrun starts them, or one alone.

Every process takes its part of each batch. The loss is that of the whole batch, whatever it sums over, batch norms use
the whole batch's statistics, and gradients are those of the whole batch: so the number of processes changes results by
rounding alone.

Shape suffixes: N slices of a batch, C channels, h and w rows and columns of the network's grid.
"""

import contextlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store  # torch.distributed has them, and does not say so
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from wcr_med.documents import flatten
from wcr_med.errors import UserError

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)  # while the first process prepares slices, the others wait


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """What all processes have told each other before a step.

    Attributes:
        sizes: slices of each process's part, by rank.
        stop: whether any of them was asked to stop.
    """

    sizes: tuple[int, ...]
    stop: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of a training, seen from one of them; made by `join_group`. The default is one process alone.

    Attributes:
        rank: of this process, from 0.
        world: how many there are.
        local_world: how many of them run on this machine, and share its cores.
        talk: what the processes tell each other on the host goes through it; `None` for one alone.
    """

    rank: int = 0
    world: int = 1
    local_world: int = 1
    talk: "dist.ProcessGroup | None" = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def meet(self, n_slices: int, *, stop: bool) -> Meeting:
        """Before a step: the sizes of all parts, and whether to stop after it."""
        if self.world == 1:
            return Meeting(sizes=(n_slices,), stop=stop)
        said = torch.tensor([n_slices, int(stop)])
        heard = [torch.empty_like(said) for _ in range(self.world)]
        dist.all_gather(heard, said, group=self.talk)
        sizes, stops = torch.stack(heard).T.tolist()
        return Meeting(sizes=tuple(sizes), stop=any(stops))

    def tell(self, value: T) -> T:
        """What the main process gives; the others' argument is ignored."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.talk)
        return box[0]

    def sum_(self, values: Tensor) -> Tensor:
        """Add the values of all processes, in place; on the host."""
        if self.world > 1:
            dist.all_reduce(values, group=self.talk)
        return values

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process does the block, then all others do: files that it wrote are found by those that see them."""
        if not self.is_main:
            dist.barrier(group=self.talk)
        yield
        if self.world > 1 and self.is_main:
            dist.barrier(group=self.talk)

    def require_equal(self, settings: Mapping[str, Any]) -> None:
        """Refuse processes with different data or settings.

        Args:
            settings: nested, JSON-ready; "data" is the hash of the images.

        Raises:
            UserError: in every process alike; names the first setting that differs, and both values.
        """
        if self.world == 1:
            return
        own = flatten(settings)
        heard: list[Any] = [None] * self.world
        dist.all_gather_object(heard, own, group=self.talk)
        for rank, other in enumerate(heard):
            for name in sorted(heard[0].keys() | other.keys()):
                first, found = heard[0].get(name, "not there"), other.get(name, "not there")
                if first != found and name == "data":
                    raise UserError(
                        f"processes 0 and {rank} see different images or masks; give all the same data.root"
                    )
                if first != found:
                    raise UserError(
                        f"{name} is {first} in process 0 and {found} in process {rank}; start all with the same"
                        " configuration"
                    )

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """The whole batch from its parts, in rank order, along the first axis.

        Its gradient goes to this process's own part, `world` times: `DistributedDataParallel` takes the mean over
        processes, and what is wanted is the sum.

        Args:
            part: (n, ...); n is `sizes[rank]`.
            sizes: of all parts.
        """
        if self.world == 1:
            return part
        gathered: Tensor = _Gather.apply(part, self.rank, tuple(sizes))
        return gathered

    def share(self, model: nn.Module) -> nn.Module:
        """The network as it is called in a step: gradients are the mean over processes; alone, the model itself."""
        if self.world == 1:
            return model
        # Batch norms are synchronised: their running statistics are the same everywhere by themselves. The option that
        # spares telling them again has another name in newer versions.
        known = inspect.signature(DistributedDataParallel).parameters
        spare = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        share: Callable[..., nn.Module] = DistributedDataParallel
        return share(model, **{spare: False})


def is_launched() -> bool:
    """Whether torchrun, or another launcher that sets its variables, started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def join_group(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Group]:
    """Meet the processes that torchrun started with this one, for the length of a block; else one process alone.

    Args:
        device: of `training.device`; on CUDA each process of a machine takes one GPU of its own.

    Raises:
        UserError: there are more processes on this machine than GPUs.
    """
    if not is_launched():
        yield Group()
        return
    local_rank, local_world = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_cuda = device != "cpu" and torch.cuda.is_available()
    if on_cuda:
        n_gpus = torch.cuda.device_count()
        if local_world > n_gpus:
            raise UserError(
                f"{local_world} processes on a machine with {n_gpus} GPUs; give torchrun --nproc-per-node {n_gpus},"
                " or set training.device to cpu"
            )
        torch.cuda.set_device(local_rank)
    store, rank, world = next(rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(
        "nccl" if on_cuda else "gloo", store=_fresh(store), rank=rank, world_size=world, timeout=_PATIENCE
    )
    try:
        talk = dist.new_group(backend="gloo", timeout=_PATIENCE)
        assert isinstance(talk, dist.ProcessGroup)  # all processes are in it
        yield Group(rank=dist.get_rank(), world=dist.get_world_size(), local_world=local_world, talk=talk)
    finally:
        dist.destroy_process_group()


def _fresh(store: Store) -> Store:
    """The store in which processes find each other, without what an earlier attempt left in it.

    torchrun lends its own store, and starts processes again with the addresses of the dead still there. Its count of
    attempts tells them apart, as long as one torchrun starts all; several count each for itself.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        _LOG.warning(
            "processes on several machines may not find each other again after a restart: start them by"
            " `python -m wcr_med.launch`, or set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun"
        )
        return store
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


class _Gather(torch.autograd.Function):
    """The parts of all processes in one tensor; backwards, this process's part of the gradient times `world`."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rank: int, sizes: tuple[int, ...]) -> Tensor:
        """Pads to the largest part, since collectives want equal shapes."""
        ctx.begin, ctx.size, ctx.world = sum(sizes[:rank]), sizes[rank], len(sizes)
        largest = max(sizes)
        padded = part.new_zeros(largest, *part.shape[1:])
        padded[: sizes[rank]] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([other[:size] for other, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Of the gradient of the whole batch, the own part."""
        return gradients[0][ctx.begin : ctx.begin + ctx.size] * ctx.world, None, None
