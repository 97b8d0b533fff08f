"""A hospital's view or middle table (中间库) as a source: read only, by keyset."""

from services.his_bridge.sources.sql.source import SqlSource as SqlSource
