"""The flags for programs that speak OpenFeature (https://openfeature.dev/specification/sections/providers).

The SDK is imported here and nowhere else, and the server does not import this module: only who wants it pays for it.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.view import FlagView

T = TypeVar("T")

_KNOWN = {flag.value: flag for flag in Flag}


class FlagsProvider(AbstractProvider):
    """Flags as a node's view of them knows them. All are booleans, with the variants `on` and `off`.

    The project is the context's attribute `project` or, without one, its targeting key; it is needed only while a flag
    is on for a share of projects.
    """

    def __init__(self, view: FlagView) -> None:
        super().__init__()
        self._view = view

    def get_metadata(self) -> Metadata:
        """Its name."""
        return Metadata("sessioncast")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """The flag, with the reason `DEFAULT` (never changed), `STATIC` (the same for all) or `SPLIT` (by project).

        Errors are told in the result: `FLAG_NOT_FOUND`, and `TARGETING_KEY_MISSING` where a project is needed.
        """
        flag = _KNOWN.get(flag_key)
        if flag is None:
            return _error(default_value, ErrorCode.FLAG_NOT_FOUND, f"There is no flag {flag_key!r}.")
        decided = self._view.decided(flag)
        if decided is not None:
            reason = Reason.DEFAULT if self._view.state(flag).updated_at is None else Reason.STATIC
            return _details(decided, reason)
        project = _project(evaluation_context)
        if project is None:
            missing = f"{flag_key} is on for a share of projects: a targeting key, the project's id, is needed."
            return _error(default_value, ErrorCode.TARGETING_KEY_MISSING, missing)
        return _details(self._view.enabled(flag, project), Reason.SPLIT)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  the SDK's signature
    ) -> FlagResolutionDetails[str]:
        """`TYPE_MISMATCH`."""
        return _mismatch(flag_key, default_value)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  the SDK's signature
    ) -> FlagResolutionDetails[int]:
        """`TYPE_MISMATCH`."""
        return _mismatch(flag_key, default_value)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  the SDK's signature
    ) -> FlagResolutionDetails[float]:
        """`TYPE_MISMATCH`."""
        return _mismatch(flag_key, default_value)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  the SDK's signature
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """`TYPE_MISMATCH`."""
        return _mismatch(flag_key, default_value)


def _project(context: EvaluationContext | None) -> str | None:
    if context is None:
        return None
    project = context.attributes.get("project")
    return project if isinstance(project, str) and project else context.targeting_key or None


def _details(value: bool, reason: Reason) -> FlagResolutionDetails[bool]:
    return FlagResolutionDetails(value, reason=reason, variant="on" if value else "off")


def _mismatch(flag_key: str, default_value: T) -> FlagResolutionDetails[T]:
    if flag_key not in _KNOWN:
        return _error(default_value, ErrorCode.FLAG_NOT_FOUND, f"There is no flag {flag_key!r}.")
    return _error(default_value, ErrorCode.TYPE_MISMATCH, f"{flag_key} is a boolean.")


def _error(default_value: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(default_value, error_code=code, error_message=message, reason=Reason.ERROR)
