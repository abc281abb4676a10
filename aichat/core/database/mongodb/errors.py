"""Says what an error of MongoDB's driver means. It comes as the cause of one of Django's errors, or bare (from a cursor)."""

from collections.abc import Iterator

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

# Codes of a server that is stopping, starting or changing its role:
# https://github.com/mongodb/specifications/blob/master/source/retryable-reads/retryable-reads.md
# and, of a server that has just started, for a cursor that was open before: not found, killed.
GONE = {6, 7, 89, 91, 94, 134, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436} | {43, 237}


def is_unavailable(error: BaseException) -> bool:
    """Whether the server could not be asked, or did not answer in time."""
    return any(
        isinstance(cause, ConnectionFailure)
        or (isinstance(cause, PyMongoError) and cause.timeout)
        or (isinstance(cause, OperationFailure) and not GONE.isdisjoint(_codes(cause)))
        for cause in _causes(error)
    )


def _codes(error: OperationFailure) -> set[int | None]:
    """The error's code, and the codes of writes that were done but not confirmed by enough members."""
    unconfirmed = (error.details or {}).get("writeConcernErrors") or []
    return {error.code, *(each.get("code") for each in unconfirmed)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and the errors that led to it: a failed rollback hides the failure that it should have undone."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_transient(error: BaseException) -> bool:
    """Whether another transaction caused this one to be rolled back, so that running it again may succeed.

    A lost connection carries the same label (TransientTransactionError), and is answered with False.
    """
    cause = error.__cause__ or error
    if not isinstance(cause, PyMongoError) or is_unavailable(error):
        return False
    return cause.has_error_label("TransientTransactionError")
