"""GGUF files, the form in which quantised models are passed around: read into checkpoint folders, written from them.

A GGUF file is data, as a folder is: a table of facts, a vocabulary, tensors. Nothing in one is ever run. A file that
says something of its model that would be lost is refused, since the folder would hold another model than the file.
"""

from solon.nets.gguf.reading import describe_origin, import_gguf
from solon.nets.gguf.writing import export_gguf

__all__ = ["describe_origin", "export_gguf", "import_gguf"]
