"""What can go wrong between a client and a runtime. Each error is a sentence for the user."""

from mrmd_python.runtime import ServiceError


class RequestError(ServiceError):
    """The runtime has refused a request.

    Attributes:
        status: the HTTP status.
        code: MRP's word for the reason, such as "unknown_execution".
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RuntimeEndedError(ServiceError):
    """The runtime has ended or was restarted: what ran in it is gone."""


class ConnectionLostError(ServiceError):
    """The runtime does not answer."""
