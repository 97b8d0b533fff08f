"""HL7 v2 (2.1 to 2.8.2): charges, account and visit updates, merges, results. Opens no socket."""

from services.his_bridge.dialects.hl7v2.admission import Hl7Reading
from services.his_bridge.dialects.hl7v2.bills import MessageReader
from services.his_bridge.dialects.hl7v2.results import ResultReader

__all__ = ["Hl7Reading", "MessageReader", "ResultReader"]
