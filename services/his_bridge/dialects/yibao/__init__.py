"""Messages of a hospital to the national 医保 platform, with the platform's answers. Sans-I/O."""

from services.his_bridge.dialects.yibao.message import Identified as Identified
from services.his_bridge.dialects.yibao.message import identified as identified
from services.his_bridge.dialects.yibao.readers import MessageReader as MessageReader
from services.his_bridge.dialects.yibao.reckoning import Reckoning as Reckoning
