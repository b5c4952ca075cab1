"""Values that were written to files and are read again, checked against a declared schema.

A schema is a subclass of ``Stored`` with typed fields; what is read has these attributes. Keys without a field are left
out.
"""

import json

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from doatools.errors import UserError, shown
from doatools.files import read_text


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
        text = read_text(path, "this", "a JSON file")
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
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
        what = "is missing" if first["type"] == "missing" else f"is {shown(first['input'], 60)} ({first['msg']:.100})"
        raise UserError(f"{origin}: {where}{what}; {remedy}") from None
    except RecursionError:
        raise UserError(f"{origin}: its values are nested too deeply; {remedy}") from None
