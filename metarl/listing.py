"""What `metarl list` shows: the known task families and algorithms."""

from typing import Any

from metarl.algorithms import ALGORITHMS
from metarl.tasks.registry import family_class, names


def as_json() -> dict[str, Any]:
    """Families (parameters, horizon, first line of the contract) and algorithms."""
    algorithms = [{"name": n, "summary": a.summary} for n, a in sorted(ALGORITHMS.items())]
    return {"families": [_family(name) for name in names()], "algorithms": algorithms}


def as_text() -> str:
    """One line for each."""
    content = as_json()
    lines = ["families"]
    for family in content["families"]:
        parameters = ", ".join(f"{n} ~ {r}" for n, r in family["parameters"].items())
        lines.append(f"  {family['name']:26} {family['summary']} [{parameters}]")
    lines.append("algorithms")
    lines += [f"  {a['name']:26} {a['summary']}" for a in content["algorithms"]]
    return "\n".join(lines)


def _family(name: str) -> dict[str, Any]:
    family = family_class(name)
    contract = (family.__doc__ or "").strip()
    return {
        "name": name,
        "summary": contract.splitlines()[0] if contract else "",
        "parameters": {key: str(value) for key, value in family.parameters.items()},
        "ood_parameters": {key: str(value) for key, value in family.ood_parameters.items()},
        "horizon": family.horizon,
        "contract": contract,
    }
