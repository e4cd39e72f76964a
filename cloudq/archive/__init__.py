"""ZIP archives of job files: packed on one side, unpacked on the other, neither trusting the other."""

from cloudq.archive.names import check_name, check_plain_name, shown
from cloudq.archive.packing import Found, Member, pack_blocks, survey, tree_size
from cloudq.archive.placing import make_place
from cloudq.archive.unpacking import list_members, unpack

__all__ = [
    "Found",
    "Member",
    "check_name",
    "check_plain_name",
    "list_members",
    "make_place",
    "pack_blocks",
    "shown",
    "survey",
    "tree_size",
    "unpack",
]
