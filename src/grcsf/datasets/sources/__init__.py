"""One file per source of data sets as they are downloaded; ``registry`` recognises them. Import the modules."""

from __future__ import annotations

__all__: list[str] = []
