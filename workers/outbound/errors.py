"""Errors of outbound requests. Their texts never quote what a server sent."""

from __future__ import annotations

import socket

import httpx2


class OutboundError(httpx2.TransportError):
    """A request that Groove did not send, or an answer that it did not read to the end."""


class AddressRefused(OutboundError):
    """The URL leads to an address that the operator has not allowed."""


class AnswerRefused(OutboundError):
    """The answer is larger, slower or of another form than allowed."""


REMEDIES = {
    401: "Check the key.",
    403: "Check what the key may use.",
    404: "Check the base URL and the model's name.",
    429: "Lower the limits, or raise them at the provider.",
}


def describe_status(name: str, status: int) -> str:
    """Say what an endpoint's status means, and what to do."""
    if status in range(300, 400):
        return f"{name} redirects to another URL (status {status}). Give that URL."
    remedy = REMEDIES.get(status, "Its server or Groove's request is at fault.")
    return f"{name} answered with status {status}. {remedy}"


def explain(error: BaseException) -> str:
    """Say why a connection failed, in words of our own: a library's may quote the server's bytes."""
    if isinstance(error, OutboundError):
        return str(error)
    if isinstance(error, httpx2.ConnectTimeout):
        return "it did not accept the connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    if isinstance(error, httpx2.ConnectError):
        return _explain_connection(error)
    if isinstance(error, httpx2.ProtocolError):
        return "it did not answer in HTTP, or broke off"
    return "the connection failed"


def _explain_connection(error: BaseException) -> str:
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(each, socket.gaierror) for each in causes):
        return "its host name does not resolve"
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return "connection refused"
    if any("CERTIFICATE_VERIFY_FAILED" in str(each) for each in causes):
        return "its TLS certificate cannot be verified"
    return "no connection was made"
