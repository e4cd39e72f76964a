"""ZIP archives of job files: `pack` on one side, `unpack` on the other, neither trusting the other."""

from cloudq.archive.names import check_name, check_plain_name, shown
from cloudq.archive.packing import pack, pack_blocks, tree_size
from cloudq.archive.placing import make_place
from cloudq.archive.unpacking import list_members, unpack

__all__ = [
    "check_name",
    "check_plain_name",
    "list_members",
    "make_place",
    "pack",
    "pack_blocks",
    "shown",
    "tree_size",
    "unpack",
]
