"""The commands that export and share a policy."""

import json
from pathlib import Path
from typing import Annotated

import typer

from residual_rl.cli.console import Json, show


def export(
    run: Annotated[Path, typer.Argument(help="The directory of a finished run.")],
    out: Annotated[Path, typer.Argument(help="The bundle's folder; new or empty.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write the policy as ONNX; needs the onnx extra.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's policy as a bundle that runs with NumPy alone."""
    from residual_rl.api import export as export_

    exported = export_(run, out, onnx=onnx)
    print(json.dumps(exported.to_json()) if as_json else exported)


def push(
    bundle: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
    to: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub, or a folder: /..., ./..., ~/..., file:...")],
    public: Annotated[bool, typer.Option("--public", help="Make a newly created repository public.")] = False,
) -> None:
    """Upload a bundle to the Hugging Face Hub, or copy it to a folder, with a model card."""
    from residual_rl.bundles.hub import push as push_

    show(f"push    {push_(bundle, to, public=public)}")


def pull(
    source: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub, or a folder, as for push.")],
    out: Annotated[Path, typer.Argument(help="The folder to keep it in; new or empty.")],
    revision: Annotated[str | None, typer.Option(help="A commit, branch or tag.", show_default="main")] = None,
) -> None:
    """Download a bundle; none of its code is run."""
    from residual_rl.bundles.hub import pull as pull_

    policy = pull_(source, out, revision=revision)
    decision = "promoted" if policy.promoted else "not promoted; the policy is the base until its scale is set"
    show(f"pull    {out}: {decision}")
