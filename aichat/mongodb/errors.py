"""What an error of MongoDB's means. They arrive as the cause of one of Django's, or as themselves (from a cursor)."""

from pymongo.errors import ConnectionFailure, PyMongoError


def is_unavailable(error: BaseException) -> bool:
    """Whether the server could not be asked, or not in time."""
    cause = error.__cause__ or error
    return isinstance(cause, ConnectionFailure) or (isinstance(cause, PyMongoError) and cause.timeout)


def is_transient(error: BaseException) -> bool:
    """Whether the transaction was rolled back only because of somebody else's.

    A lost connection carries the same label; it is left to the caller, who can say so.
    """
    cause = error.__cause__ or error
    if not isinstance(cause, PyMongoError) or is_unavailable(error):
        return False
    return cause.has_error_label("TransientTransactionError")
