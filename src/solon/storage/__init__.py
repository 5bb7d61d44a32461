"""The ground floor: what keeps things on disk, and names them. Everything above may use it, and it knows nothing.

`files` writes whole or not at all, `locks` keeps a second process out, `digests` names content and derives seeds,
`failpoints` are where a test may end the process, `closing` ends what is open.
"""

from solon.storage.closing import Closing
from solon.storage.digests import content_digest, derive_seed, file_digest, list_files, path_digest
from solon.storage.failpoints import pass_point, watch_points
from solon.storage.files import read_object, read_text, replace_file, replace_folder
from solon.storage.locks import take_lock

__all__ = [
    "Closing",
    "content_digest",
    "derive_seed",
    "file_digest",
    "list_files",
    "pass_point",
    "path_digest",
    "read_object",
    "read_text",
    "replace_file",
    "replace_folder",
    "take_lock",
    "watch_points",
]
