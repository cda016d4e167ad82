"""Exact removal of channels that do nothing.

`working` holds the graph, `roles` says what each operator means for channels, `constants` finds constant channels,
`liveness` decides what stays and asks `choice` where one of several must, `rewrite` carries it out, `remove` repeats
that until nothing changes.
"""

from wcr_med.export.channels.remove import LayerChannels, Removed, remove_dead_channels

__all__ = ["LayerChannels", "Removed", "remove_dead_channels"]
