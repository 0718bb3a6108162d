"""The one way out: HTTP requests to URLs that users name, kept away from internal addresses.

Every module that fetches for a user goes through this package. It knows neither Django nor torch.
"""

from workers.outbound.addresses import (
    AllowList,
    check_url,
    operator_allow_list,
    operator_proxy,
    require_https,
)
from workers.outbound.download import Download, download, fetch
from workers.outbound.errors import AddressRefused, AnswerRefused, OutboundError, describe_status, explain
from workers.outbound.sending import post
from workers.outbound.transport import Caps, OutboundTransport

__all__ = [
    "AddressRefused", "AllowList", "AnswerRefused", "Caps", "Download", "OutboundError", "OutboundTransport",
    "check_url", "describe_status", "download", "explain", "fetch", "operator_allow_list", "operator_proxy",
    "post", "require_https",
]  # fmt: skip
