"""A folder into which a hospital drops files: taken once, whole, and each answered by a receipt."""

from services.his_bridge.sources.files.source import FileDrop

__all__ = ["FileDrop"]
