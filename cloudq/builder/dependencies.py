"""The packages of the extra `aws`, or one clear line where they are missing."""

from __future__ import annotations

from typing import Any

from cloudq.errors import CloudQError, ConfigError

HINT = "install them with: pip install 'cloudq[aws]'"


def load_yaml(text: str, source: str) -> Any:
    """Parse YAML.

    Raises:
        ConfigError: It is none; with the source and the line.
        CloudQError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise CloudQError("cloudqaws needs packages that are not installed (PyYAML)", hint=HINT) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {' '.join(str(error).split())}") from error


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML, members in their order."""
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, default_flow_style=False))
