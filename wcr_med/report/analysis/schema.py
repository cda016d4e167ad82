"""The JSON Schema of the report's metrics.json, derived from the records; metrics.schema.json is what it gives.

python -m wcr_med.report.analysis.schema > wcr_med/report/analysis/metrics.schema.json
"""

import json
import re
import sys
from importlib import resources
from typing import Any

from wcr_med.report.analysis.document import SCHEMA_VERSION, Analysis

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)  # a line of a docstring's "Attributes"


def build_schema() -> dict[str, Any]:
    """The schema, draft 2020-12. Every field but the seal is required, no other allowed, any number may be null."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Analysis).json_schema(ref_template="#/$defs/{model}")
    described = _described(schema)
    described["required"] = ["schema_version", "notice", *described["required"]]
    described["properties"] = {
        "schema_version": {"const": SCHEMA_VERSION},
        "notice": {"type": "string"},
        "seal": {"type": "string", "description": "SHA-256 of the rest; only in the file, see docs/run_folder.md."},
        **described["properties"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def load_schema() -> dict[str, Any]:
    """The shipped metrics.schema.json."""
    text = (resources.files("wcr_med.report.analysis") / "metrics.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _described(node: Any) -> Any:
    """The same node as strict as the output is."""
    if isinstance(node, list):
        return [_described(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    made = {name: _described(entry) for name, entry in node.items() if name not in ("title", "default")}
    if "title" in node and isinstance(node["title"], dict):
        made["title"] = _described(node["title"])  # a field that is called so
    if made.get("type") == "number":
        made["type"] = ["number", "null"]
    if made.get("type") == "object" and "properties" in made:
        made["additionalProperties"] = False
        made["required"] = list(made["properties"])
    if isinstance(made.get("description"), str):
        for name, text in _ATTRIBUTE.findall(made["description"]):
            if name in made.get("properties", {}):
                made["properties"][name] = {"description": " ".join(text.split()), **made["properties"][name]}
        made["description"] = " ".join(made["description"].split("\n\n")[0].split())
    return made


if __name__ == "__main__":
    sys.stdout.write(json.dumps(build_schema(), indent=2) + "\n")
