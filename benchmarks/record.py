"""Results of benchmarks: kept as JSON with what they were measured on, shown as tables and pictures."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs"

_BAR, _ROW, _LEFT, _WIDTH = 12, 15, 130, 560
COLOURS = ("#2a6fb0", "#c8a04a", "#8a8a8a", "#b0624a", "#6a9a6a", "#9a7ab0", "#505050")


def machine() -> dict[str, object]:
    """Tell on what is measured; the load says how far seconds can be trusted."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0].strip() if names else ""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpus": os.cpu_count(),
        "cpu": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def version(argv: Sequence[str]) -> str:
    """Return the first line that a command prints about its version; empty if there is none."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[-1] if argv[0] == sys.executable and lines else lines[0] if lines else ""


def save(name: str, *, begun: Mapping[str, object], versions: Mapping[str, str], results: object) -> Path:
    """Write `results/NAME.json`: machine and load before and after, versions, results."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    about = {**begun, "load_at_end": [round(load, 1) for load in os.getloadavg()]}
    text = json.dumps({"machine": about, "versions": dict(versions), "results": results}, indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    return file


def median(values: Sequence[float]) -> float:
    """Return the median, to three digits that say something."""
    return float(f"{statistics.median(values):.3g}")


def cloudq_version() -> str:
    """Return the version of the CloudQ of this tree."""
    import cloudq

    return cloudq.__version__


def bars(
    title: str, groups: Mapping[str, Mapping[str, float]], unit: str, *, common_scale: bool = False
) -> str:
    """Draw horizontal bars, each group to its own scale or all to one; SVG."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    colours = dict(zip(names, COLOURS))
    most = max(value for group in groups.values() for value in group.values())
    height = 34 + sum(_ROW * len(group) + 26 for group in groups.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-weight="bold">{title}</text>',
    ]
    top = 40
    for label, group in groups.items():
        parts.append(f'<text x="8" y="{top}">{label}</text>')
        longest = most if common_scale else max(group.values())
        for name, value in group.items():
            top += _ROW
            length = _WIDTH * value / longest
            parts.append(
                f'<text x="{_LEFT - 6}" y="{top}" text-anchor="end">{name}</text>'
                f'<rect x="{_LEFT}" y="{top - _BAR + 2}" width="{length:.1f}" height="{_BAR}" '
                f'fill="{colours[name]}"/>'
                f'<text x="{_LEFT + length + 5:.1f}" y="{top}">{value:g} {unit}</text>'
            )
        top += 26
    return "\n".join([*parts, "</svg>", ""])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table in Markdown; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
