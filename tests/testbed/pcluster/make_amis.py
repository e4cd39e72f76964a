"""Write the file by which moto knows the official images of ParallelCluster.

    python make_amis.py amis.json

Run it with the Python that has aws-parallelcluster. moto reads the file (MOTO_AMIS_PATH) once, when it is
imported, so write it before the server starts.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from pcluster.constants import OS_TO_IMAGE_NAME_PART_MAP
from pcluster.utils import get_installed_version

_AMAZON = "247102896272"


def images() -> list[dict[str, Any]]:
    """Return an image for each system and architecture; pcluster looks for them by name and owner."""
    return [
        _image(system, part, architecture)
        for system, part in sorted(OS_TO_IMAGE_NAME_PART_MAP.items())
        for architecture in ("x86_64", "arm64")
    ]


def _image(system: str, part: str, architecture: str) -> dict[str, Any]:
    name = f"aws-parallelcluster-{get_installed_version()}-{part}-{architecture}"
    return {
        "ami_id": f"ami-{hashlib.sha256(f'{system}-{architecture}'.encode()).hexdigest()[:17]}",
        "name": f"{name}-202601010000",
        "description": f"stand-in for the ParallelCluster image of {system}, {architecture}",
        "owner_id": _AMAZON,
        "public": True,
        "virtualization_type": "hvm",
        "architecture": architecture,
        "state": "available",
        "creation_date": "2026-01-01T00:00:00.000Z",
        "platform": None,
        "image_type": "machine",
        "image_location": f"amazon/{name}",
        "hypervisor": "xen",
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "sriov": "simple",
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(images(), indent=1), encoding="utf-8")
