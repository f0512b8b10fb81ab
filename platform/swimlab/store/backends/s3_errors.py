"""What an error of S3 means: whether waiting can mend it, and what a user can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore import exceptions as aws
from fsspec.exceptions import FSTimeoutError

# Credentials that are renewed, or a clock that is set, while a sweep runs.
RENEWABLE = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed"}
_PASSING = RENEWABLE | {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestLimitExceeded",
    "TooManyRequests",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "RequestTimeout",
    "RequestTimeoutException",
    "OperationAborted",
    # Another conditional write was in flight and both may have failed; S3 asks to retry.
    "ConditionalRequestConflict",
    "409",
    "429",
}
# 501: not implemented; 505: HTTP version; 507: storage is full, as MinIO says it.
_LASTING_STATUS = {501, 505, 507}
_UNREACHABLE = (
    aws.ConnectionError,  # refused, no such host
    aws.HTTPClientError,  # reset, closed, timeouts
    aws.IncompleteReadError,
    aws.ResponseStreamingError,
    FSTimeoutError,
    ConnectionError,
    TimeoutError,
)
_CUT = ("ClientPayloadError", "ResponseParserError", "IncompleteRead", "ServerDisconnectedError")
_UNRENEWED = (
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.TokenRetrievalError,
    aws.UnauthorizedSSOTokenError,
)


def code(error: BaseException) -> str:
    """The server's error code, "" where it sent none."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def is_missing_object(error: BaseException) -> bool:
    """Whether there is no such object, in a bucket that exists."""
    return isinstance(error, FileNotFoundError) and code(error) != "NoSuchBucket"


def awaited(error: BaseException) -> str | None:
    """What to wait for, with the server's words; None for an error that waiting cannot mend."""
    name, status = code(error), _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if name in RENEWABLE:
        return f"credentials or clock ({name}: {error})"
    if name in _PASSING or (status >= 500 and status not in _LASTING_STATUS):
        return f"the server ({name or status}: {error})"
    for cause in _causes(error):
        if "certificate verify failed" in str(cause).lower():
            return None
        if isinstance(cause, _UNRENEWED):
            return f"credentials ({cause})"
        if isinstance(cause, _UNREACHABLE) or _is_cut(cause):
            return f"the server ({type(cause).__name__}: {cause})"
    return None


def renewable(error: BaseException) -> bool:
    """Whether new credentials would help."""
    return code(error) in RENEWABLE or any(isinstance(cause, _UNRENEWED) for cause in _causes(error))


def advice(error: Exception) -> str:
    """What a user can do about an error."""
    name, kind = code(error), type(error).__name__
    if name == "NoSuchBucket":
        return "create the bucket, or check its name and AWS_ENDPOINT_URL"
    if name == "RequestTimeTooSkewed":
        return "set this machine's clock (for example with NTP): S3 refuses requests that are minutes off"
    if renewable(error):
        return (
            "the credentials have expired: renew them (for example with `aws sso login`); keys in environment "
            "variables count for commands that are started afterwards, so run the same command again"
        )
    if name in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"):
        return "the bucket is in another region: set AWS_DEFAULT_REGION to the bucket's, or AWS_ENDPOINT_URL"
    if name in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"):
        return "the server does not know these keys: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
    if "Credentials" in kind:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role"
    if isinstance(error, PermissionError):
        return "these credentials need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix"
    if any(type(cause).__name__ == "FlexibleChecksumError" for cause in _causes(error)):
        return "what arrived is not what was stored: something between here and the server changed it; try again"
    if any(isinstance(cause, _UNREACHABLE) or _is_cut(cause) for cause in _causes(error)):
        return "check AWS_ENDPOINT_URL and the network"
    if awaited(error):
        return "the server is overloaded or failing: run the same command again later"
    return "check the bucket, AWS_ENDPOINT_URL and the credentials"


def described(error: Exception) -> str:
    """The error in a line: its code rather than the number that s3fs puts in its place."""
    return f"{code(error) or type(error).__name__}: {' '.join(str(error).split())}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _response(error: BaseException) -> dict[str, Any]:
    # s3fs turns the server's answer into an OSError and keeps the original as the cause.
    return next((response for cause in _causes(error) if (response := getattr(cause, "response", None))), {})


def _is_cut(error: BaseException) -> bool:
    """Whether the answer ended early or was none of S3's, as a proxy's page is: the classes are of packages below
    botocore."""
    return type(error).__name__ in _CUT
