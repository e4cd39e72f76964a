"""Bundles: the objects of each job and the markers beside them; the one place that builds object keys."""

from cloudq.bundle.agents import SignsOfLife
from cloudq.bundle.bundles import Bundles, Record, probe_folder
from cloudq.bundle.markers import Mail
from cloudq.bundle.names import (
    CANCEL,
    CANCEL_SIGNATURE,
    DATA,
    INPUT,
    JOB_SIGNATURE,
    LIVE,
    MANIFEST,
    OUTPUT,
    PROJECT,
    REQUEUE_SIGNATURE,
    RESOURCE,
    check_script_name,
    native_script_name,
    parse_segment_name,
    segment_name,
)
from cloudq.bundle.remote_file import RemoteFile

__all__ = [
    "CANCEL",
    "CANCEL_SIGNATURE",
    "DATA",
    "INPUT",
    "JOB_SIGNATURE",
    "LIVE",
    "MANIFEST",
    "OUTPUT",
    "PROJECT",
    "REQUEUE_SIGNATURE",
    "RESOURCE",
    "Bundles",
    "Mail",
    "Record",
    "RemoteFile",
    "SignsOfLife",
    "check_script_name",
    "native_script_name",
    "parse_segment_name",
    "probe_folder",
    "segment_name",
]
