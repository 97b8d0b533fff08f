"""Rows of a hospital's view or middle table, with columns as its profile names them. Sans-I/O."""

from services.his_bridge.dialects.sql_rows.readers import BillRowReader as BillRowReader
from services.his_bridge.dialects.sql_rows.readings import ReadingRowReader as ReadingRowReader
