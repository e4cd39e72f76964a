"""Meta scripts: shell scripts with portable directives, parsed, checked and translated for one system."""

from cloudq.metascript.directives import Directives, Image
from cloudq.metascript.names import check_names
from cloudq.metascript.parse import MetaScript, parse_meta_script
from cloudq.metascript.peek import peek_run_on
from cloudq.metascript.rewrite import with_directives, with_values
from cloudq.metascript.translate import Placement, container_program, site_templates, translate

__all__ = [
    "Directives",
    "Image",
    "MetaScript",
    "Placement",
    "check_names",
    "container_program",
    "parse_meta_script",
    "peek_run_on",
    "site_templates",
    "translate",
    "with_directives",
    "with_values",
]
