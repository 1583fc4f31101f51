"""Says where this Python has its files, as JSON."""

import json
import os
import site
import sys
import sysconfig

paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
paths.update(p for p in sys.path if os.path.isabs(p))
paths.update(sysconfig.get_paths().values())
paths.add(os.path.dirname(sys.executable))
paths.add(os.path.dirname(os.path.realpath(sys.executable)))
# A prefix such as "/" or "/usr" says nothing more than what every job may read.
# A person's own packages, which a virtual environment does not have.
user = site.getusersitepackages() if sys.prefix == sys.base_prefix else ""
user = user if os.path.isdir(user) else ""
paths.add(user)
kept = sorted(p for p in paths if p and p != os.sep and os.path.exists(p))
print(
    json.dumps(
        {
            "executable": sys.executable,
            "version": list(sys.version_info[:3]),
            "paths": kept,
            "user": user,
        }
    )
)
