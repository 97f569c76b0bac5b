"""Records, dataclasses of pydantic, as JSON values and back."""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from residual_rl.errors import RunError

Record = TypeVar("Record")


def to_json(record: Any) -> Any:
    """A record as plain JSON values."""
    return TypeAdapter(type(record)).dump_python(record, mode="json")


def record_of(kind: type[Record], values: Any, source: object) -> Record:
    """What `to_json` made of a record.

    Raises:
        RunError: it is damaged; names `source`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise RunError(f"{source} is damaged: {explained(error)}") from error


def explained(error: ValidationError) -> str:
    """What is wrong, field by field, without pydantic's links."""
    return "; ".join(
        ": ".join(filter(None, (".".join(str(part) for part in detail["loc"]), f"{detail['msg']}, got {detail['input']!r}")))
        for detail in error.errors()
    )
