"""The manifest: the one place that knows the JSON members of a job's record."""

from cloudq.manifest.members import MEMBERS, NO_SYSTEM, is_time_member
from cloudq.manifest.parsing import MAX_BYTES, MAX_HOLD_IDS, MAX_INPUT_BLOBS, parse_manifest, parse_members
from cloudq.manifest.rendering import (
    check_room,
    manifest_members,
    next_revision,
    program_members,
    render_manifest,
    signed_members,
)
from cloudq.manifest.times import format_time, parse_time

__all__ = [
    "MAX_BYTES",
    "MAX_HOLD_IDS",
    "MAX_INPUT_BLOBS",
    "MEMBERS",
    "NO_SYSTEM",
    "check_room",
    "format_time",
    "is_time_member",
    "manifest_members",
    "next_revision",
    "parse_manifest",
    "parse_members",
    "parse_time",
    "program_members",
    "render_manifest",
    "signed_members",
]
