"""Compile a configuration by ParallelCluster's CDK, as `create-cluster` does, and print all its resources.

    V/bin/python compile.py NAME cluster.yaml

The command itself compiles only what it then makes: its `--dryrun` ends after the validators.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from aws_cdk.core import App
from pcluster.models.cluster import Cluster
from pcluster.templates.cluster_stack import ClusterCdkStack


def compiled(name: str, text: str) -> dict[str, Any]:
    """Return what a cluster's stack and its nested stacks hold: logical id -> resource."""
    cluster = Cluster(name, text)
    cluster._add_tags()
    cluster._generate_artifact_dir()
    resources: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        app = App(outdir=folder)
        ClusterCdkStack(app, name, name, cluster.config, cluster.bucket, None)
        app.synth()
        for file in sorted(Path(folder).glob("*.template.json")):
            resources.update(json.loads(file.read_text(encoding="utf-8"))["Resources"])
    return resources


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = compiled(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"))
    print(json.dumps(found))
