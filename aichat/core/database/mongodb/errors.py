"""What an error of MongoDB's means. They arrive as the cause of one of Django's, or as themselves (from a cursor)."""

from collections.abc import Iterator

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

# What a server says that is stopping, starting or changing its role:
# https://github.com/mongodb/specifications/blob/master/source/retryable-reads/retryable-reads.md
# and, when it has just started, of a cursor that the one before it had open: not found, killed.
GONE = {6, 7, 89, 91, 94, 134, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436} | {43, 237}


def is_unavailable(error: BaseException) -> bool:
    """Whether the server could not be asked, or not in time."""
    return any(
        isinstance(cause, ConnectionFailure)
        or (isinstance(cause, PyMongoError) and cause.timeout)
        or (isinstance(cause, OperationFailure) and not GONE.isdisjoint(_codes(cause)))
        for cause in _causes(error)
    )


def _codes(error: OperationFailure) -> set[int | None]:
    """Its code; of a list of writes that was done but not confirmed, the codes of why not."""
    unconfirmed = (error.details or {}).get("writeConcernErrors") or []
    return {error.code, *(each.get("code") for each in unconfirmed)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it: a failed rollback hides the failure it was to undo."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_transient(error: BaseException) -> bool:
    """Whether the transaction was rolled back only because of somebody else's.

    A lost connection carries the same label; it is left to the caller, who can say so.
    """
    cause = error.__cause__ or error
    if not isinstance(cause, PyMongoError) or is_unavailable(error):
        return False
    return cause.has_error_label("TransientTransactionError")
