"""What the service room says when it cannot do what was asked."""


class ServiceError(Exception):
    """A fault with one or two lines for the person: what happened, to what, and what to do next."""
