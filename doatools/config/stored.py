"""Values that were written to files and are read again, checked against a declared schema.

A schema is a subclass of ``Stored`` with typed fields; what is read has these attributes. Keys without a field are left
out.
"""

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from doatools.errors import UserError

LARGEST = 200_000_000  # bytes of a JSON file; those of an evaluation have a few hundred thousand


class Stored(BaseModel):
    """The base of all schemas: values keep their types, and numbers are finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


def read_json(path, kind, remedy):
    """The content of a JSON file.

    Parameters
    ----------
    kind : a schema, or any type that consists of schemas and plain types, such as list[Row]
    remedy : what to do about a file with other content

    Raises
    ------
    UserError
        Naming the file: it is missing, too large, no JSON, or does not conform.
    """
    try:
        if os.stat(path).st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST} bytes; {remedy}")
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; {remedy}") from None
    return parse_json(text, kind, path, remedy)


def parse_json(text, kind, origin, remedy):
    """The same of a text; ``origin`` names where it stands."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise UserError(f"{origin}: its JSON is nested too deeply; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{origin}: not valid JSON ({error!s:.100}); {remedy}") from None
    return conforming(value, kind, origin, remedy)


def conforming(value, kind, origin, remedy):
    """A plain value as ``kind``; UserError that names ``origin`` and the key that does not conform."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        where = f"'{where:.80}' " if where else ""
        what = "is missing" if first["type"] == "missing" else f"is {first['input']!r:.60} ({first['msg']:.100})"
        raise UserError(f"{origin}: {where}{what}; {remedy}") from None
    except RecursionError:
        raise UserError(f"{origin}: its values are nested too deeply; {remedy}") from None
