"""How parameters are declared and checked: immutable sections of typed fields with a unit, a range and choices.

The parameters themselves are in schema.py. Messages do not name the parameter; schema.checked puts its name in front.
"""

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from doatools.errors import nearest, shown

TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "a word", tuple: "numbers"}


def parameter(default, about, *, unit="", within=None, choices=None, name=None, required=False):
    """Declare a parameter.

    Parameters
    ----------
    default : its type is the parameter's type; lists are tuples
    about : str, one line for help and tables
    unit : str
    within : (smallest, largest) value, or None; holds for each number of a list
    choices : the permitted words: a tuple, a Registry, or ``OrEmpty``
    name : its flat name, where that is not the name of the field
    required : whether the empty word is refused
    """
    return Field(default, alias=name, description=about, json_schema_extra={
        "unit": unit, "within": within, "choices": choices, "required": required})


class OrEmpty:
    """The names in a Registry or ''. Components that are registered later are included."""

    def __init__(self, registry):
        self.registry = registry

    def __iter__(self):
        return iter(("", *self.registry))

    def __contains__(self, value):
        return value == "" or value in self.registry


class Section(BaseModel):
    """Parameters that belong together: immutable, type-checked, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _converted(cls, value, info: ValidationInfo):
        """The harmless conversions: 3.0 is a whole number, 3 and '1e-3' (as YAML reads it) are numbers, a list is a
        tuple, and a number can be a word (a name such as 2024)."""
        default = cls.model_fields[info.field_name].default
        wanted = type(default)
        if wanted is int and type(value) is float and value.is_integer():
            return int(value)
        if wanted is float and type(value) is int and abs(value) < 1e300:
            return float(value)
        if wanted is float and type(value) is str:
            return _as_number(value)
        if wanted is str and type(value) in (int, float):
            return str(value)
        if wanted is tuple and isinstance(value, (list, tuple)):
            return tuple(float(v) if type(v) is int and type(default[0]) is float and abs(v) < 1e300 else v
                         for v in value)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _permitted(cls, value, info: ValidationInfo):
        """ValueError for a value outside of its range or choices."""
        field = cls.model_fields[info.field_name]
        rules = field.json_schema_extra
        choices, within = rules["choices"], rules["within"]
        if choices is not None and value not in choices:
            raise ValueError(f"is one of {', '.join(choice or repr('') for choice in choices)}, not {shown(value)}."
                             f"{nearest(value, choices)}")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("must not contain the character 0")
        if rules["required"] and not value:
            raise ValueError("must not be empty")
        if value == ():
            raise ValueError(f"takes numbers such as {list(field.default)}, not an empty list")
        if within is not None:
            low, high = within
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(low <= number <= high for number in numbers):  # NaN is outside as well
                raise ValueError(f"must be from {low:.10g} to {high:.10g}{_unit(rules)}, not {shown(value)}")
        return value


def problem(error, field):
    """What is wrong, in words: the first error of a ValidationError of one field (a FieldInfo)."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    default, value = field.default, first["input"]
    wanted = type(default)
    kind = TYPES[wanted]
    if wanted is tuple and isinstance(value, float) and type(default[0]) is int:
        kind = "whole numbers"
    has_example = wanted is not bool and default != ""
    example = f" such as {list(default) if wanted is tuple else default!r}" if has_example else ""
    return f"takes {kind}{example}, not {shown(value)}"


def limits(field):
    """The range or the choices of a field (a FieldInfo), in words; '' where there are none."""
    rules = field.json_schema_extra
    if rules["choices"] is not None:
        return " | ".join(choice or repr("") for choice in rules["choices"])
    return "{:.10g} to {:.10g}".format(*rules["within"]) if rules["within"] is not None else ""


def _as_number(text):
    try:
        return float(text)
    except ValueError:
        return text


def _unit(rules):
    return f" {rules['unit']}" if rules["unit"] else ""
