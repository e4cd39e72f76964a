"""Run the local queue's command line, also as `python <this directory>`.

Started by its path it does not have the caller's directory on the module path, as `python -m` would:
commands run in working directories of jobs, and a file `json.py` there must not be imported.
"""

import sys

if not __package__:
    sys.path[0] = __file__.rsplit("/", 4)[0]

from cloudq.agent.localqueue.cli import main  # noqa: E402

sys.exit(main())
