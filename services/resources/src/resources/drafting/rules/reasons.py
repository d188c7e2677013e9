"""Why a drafted tool is refused: stable codes, each with the sentence that explains it."""

from collections.abc import Mapping
from dataclasses import dataclass

# Changing a code breaks callers that act on it; the sentences may change.
CODES: Mapping[str, str] = {
    # The document as a whole.
    "too_dear": "takes longer to check than a check may take",
    "draft_too_large": "the draft is larger than 64 KiB",
    "not_json": "the draft is not one JSON document",
    "not_object": "the draft is not a JSON object",
    "too_nested": "objects and lists are nested too deep to read",
    "number_too_large": "a number is too large to be read exactly",
    "duplicate_member": "an object names a member twice",
    "unknown_member": "only name, description, parameters and fallback_content may be there",
    "missing_member": "name, description, parameters and fallback_content must all be there",
    "member_type": "name, description and fallback_content are strings, parameters is an object",
    # The name.
    "name_grammar": "must be 2 to 64 of a-z, 0-9 and _, beginning with a letter",
    "name_lookalike": "holds characters that only look like ASCII letters",
    "name_reserved": "is a word of the chat protocol itself",
    "name_builtin": "is, or can be taken for, a built-in tool",
    "name_taken": "is, or can be taken for, a tool that exists already",
    # Every text, wherever it stands.
    "text_empty": "must say something",
    "text_too_long": "is longer than allowed",
    "text_control": "holds a control character",
    "text_invisible": "holds a character that does not show",
    "text_bidi": "holds a character that turns the reading direction",
    "text_mixed_scripts": "mixes letters of several scripts in one word",
    "text_encoded": "holds encoded text",
    "text_link": "holds a link or an address",
    "text_markup": "holds HTML, Markdown links or images, or a comment",
    "text_code": "holds a command or template code",
    "hidden_override": "tells the reader to drop other instructions",
    "hidden_command": "tells the reader how to behave",
    "hidden_role": "imitates a message of another speaker",
    "hidden_template": "holds a token of a chat template",
    "hidden_persona": "tells the reader who to be",
    "hidden_secrecy": "tells the reader to keep something from the user",
    "hidden_steering": "tells the reader how to use other tools",
    "hidden_prompt": "asks about the instructions of the reader",
    "hidden_secret": "asks for secrets",
    "hidden_exfiltration": "asks for the conversation to be sent somewhere",
    # The schema.
    "schema_too_large": "is larger than 16 KiB",
    "schema_root": "must have the type object and properties",
    "schema_invalid": "is not a valid JSON Schema",
    "schema_keyword": "uses a keyword that is not allowed here",
    "schema_identifier": "renames itself or a part of itself",
    "schema_dialect": "names a dialect other than 2020-12 and draft-07",
    "schema_too_deep": "is nested deeper than 5 levels",
    "schema_too_wide": "has more than 20 properties in one place, or 60 in all",
    "schema_untyped": "must say what type it is",
    "property_name": "must be 1 to 64 ASCII letters, digits and _, not beginning with a digit",
    "property_secret": "asks for a secret, or for the conversation",
    "enum_too_large": "has more than 50 values",
    "enum_value": "has a value that is no string, number, boolean or null, or is longer than 100 characters",
    "payload_too_large": "is larger than 256 bytes",
    "ref_remote": "refers to something outside of $defs",
    "ref_recursive": "refers to itself",
    "ref_unresolved": "refers to something that is not there",
    "ref_expands": "becomes too large when its references are followed",
    "pattern_unsupported": "is no regular expression, or uses more than classes, groups and repetitions",
    "pattern_backtracks": "can take very long on some strings",
    "required_unknown": "requires what is not among the properties",
    "input_missing": "has no property for an input that was asked for",
    # The dry run.
    "sample_invalid": "no arguments could be made that the schema accepts",
    "sample_not_refused": "accepts arguments that are wrong",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One fault. `where` is a path into the draft, with nothing of the draft's own wording but plain names."""

    code: str
    where: str

    @property
    def message(self) -> str:
        """A sentence that a person, or the model that repairs the draft, can act on."""
        return f"{self.where}: {CODES[self.code]}."

    def body(self) -> dict[str, str]:
        """The reason as the API shows it."""
        return {"code": self.code, "message": self.message}
