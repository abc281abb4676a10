"""Log lines as JSON, by python-json-logger."""

import json
from typing import Any

from pythonjsonlogger.orjson import OrjsonFormatter


class JsonFormatter(OrjsonFormatter):
    """With orjson, an eighth of the time of the standard library's; which writes what that refuses: half of a surrogate
    pair, a number beyond 64 bits."""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except TypeError:
            return json.dumps(log_data, default=str)
