"""Bundles: the objects of each job and the markers beside them; the one place that builds object keys."""

from cloudq.bundle.bundles import Bundles, Record, probe_folder
from cloudq.bundle.names import (
    CANCEL,
    INPUT,
    LIVE,
    MANIFEST,
    OUTPUT,
    PROJECT,
    RESOURCE,
    check_script_name,
    native_script_name,
    parse_segment_name,
    segment_name,
)

__all__ = [
    "CANCEL",
    "INPUT",
    "LIVE",
    "MANIFEST",
    "OUTPUT",
    "PROJECT",
    "RESOURCE",
    "Bundles",
    "Record",
    "check_script_name",
    "native_script_name",
    "parse_segment_name",
    "probe_folder",
    "segment_name",
]
