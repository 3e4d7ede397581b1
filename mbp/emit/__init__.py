"""From programs to source files: one printer for each target, the file's shape in a template."""

from mbp.emit.files import load, write
from mbp.emit.text import emit_text

__all__ = ["emit_text", "load", "write"]
