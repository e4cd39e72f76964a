"""ZIP archives of job files: `pack` on one side, `unpack` on the other, neither trusting the other."""

from cloudq.archive.names import check_name
from cloudq.archive.packing import pack, pack_blocks, tree_size
from cloudq.archive.unpacking import make_place, unpack

__all__ = ["check_name", "make_place", "pack", "pack_blocks", "tree_size", "unpack"]
