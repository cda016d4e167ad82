"""Which parts of a graph become fused nodes, and the model that holds them."""

from wcr_med.export.partition.assembly import KernelEncoder, Kinds, assemble, profile_output, smallest
from wcr_med.export.partition.emission import Subgraph
from wcr_med.export.partition.graph import Partitioned, partition

__all__ = [
    "KernelEncoder",
    "Kinds",
    "Partitioned",
    "Subgraph",
    "assemble",
    "partition",
    "profile_output",
    "smallest",
]
