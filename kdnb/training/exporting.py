"""Export a trained network to files for other programs; each is read back and compared first."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdnb import paths
from kdnb.data.forms import first_of, moved, samples_in
from kdnb.names import brief, nearest
from kdnb.progress import bar
from kdnb.training.answers import Output, ask, logits_of, not_taken, precision_of
from kdnb.training.borrowed import twin_of
from kdnb.training.first import cannot_take, check_module
from kdnb.training.int8 import converted, layers_of, prepared

if TYPE_CHECKING:
    import pandas as pd

Inputs = tuple[Tensor, ...]
Answer = Callable[..., Any]


class ExportError(RuntimeError):
    """A file could not be made, or its outputs differ from the network's; the message says which."""


def export(
    network: nn.Module,
    example: Any,
    folder: Path | str,
    *,
    formats: Sequence[str] | None = None,
    name: str = "student",
    output: Output = None,
) -> pd.DataFrame:
    """Write a trained network to files; each is read back and its outputs compared before it is kept.

    `state_dict` holds the weights (`.safetensors`, for `kdnb.nets.load_weights`). `torch_export` is the
    graph from `torch.export` (`.pt2`), `torchscript` that from `torch.jit.trace` (`.ts`): both run
    without the network's code. `onnx` needs the packages onnx and onnxscript. `int8` is a copy that computes
    in 8-bit integers on a CPU, its ranges taken from the example, as TorchScript (`.int8.ts`). If
    this loses too much accuracy, train with the rounding (`kdnb.methods.quantized.int8_distillation`)
    and pass its network "int8" here: it is written unchanged.

    Args:
        network: not changed; a copy in eval mode on the CPU is exported.
        example: a batch of two or more inputs, as the network takes them: a tensor, or a tuple of
            arguments. For `int8`, use some hundred training inputs.
        folder: where the files go; created if missing.
        formats: the formats to write; all that this machine can make if None.
        name: the name of the files, without extension.
        output: where the logits are in what the network returns, see `kdnb.distil`.

    Returns:
        One row per format: `file`; `kB`; `difference`, the largest difference of any logit between the
        network and the file read back; `agreement`, the share of the example with the same class;
        `batches`, the batch sizes that it takes; `note`, why there is no file.

    Raises:
        ExportError: if a named format cannot be made, or the outputs of any file differ when read
            back; then nothing is written.
        ValueError: for an unknown format, a name that is not a file name, an example of one input,
            one that the network cannot take or answers with NaN, or lazy weights.
    """
    import pandas as pd

    asked = _asked(network, formats, name)
    inputs = _inputs_of(example)
    folder = Path(folder).expanduser()
    plain = twin_of(network).cpu().eval()
    for parameter in plain.parameters():
        if parameter.is_leaf:  # those of a scripted module's copy are none
            parameter.requires_grad_(False)
    if own := precision_of(plain):
        inputs = tuple(one.to(own) if one.is_floating_point() else one for one in inputs)
    wanted = _answer(plain, inputs if len(inputs) > 1 else inputs[0], output)
    paths.check_writable(folder)
    rows: dict[str, dict[str, Any]] = {}
    with (
        paths.temporary_folder("kdnb-export-") as temporary,
        closing(bar(len(asked), 0, "format")) as progress,
        torch.no_grad(),
        _quietly(),
    ):
        for one in asked:
            target = temporary / f"{name}{ENDINGS[one]}"
            try:
                if missing := [package for package in NEEDS.get(one, ()) if not find_spec(package)]:
                    raise ExportError(f"needs {' and '.join(missing)}")
                made, read = MAKERS[one](plain, inputs, target)
            except Exception as error:  # libraries raise many kinds of errors here
                said = re.split(r"[.\n]\s", str(error).strip() or type(error).__name__)[0][:160]
                said = said.rstrip(".: ")
                if formats is not None:
                    raise ExportError(f"{one} cannot be made of this network: {said}.") from error
                rows[one] = {"note": said if missing else f"not possible: {said}"}
                continue
            answer = logits_of(read(*inputs), output).float()
            _check_same(
                one,
                answer,
                wanted if made is None else logits_of(made(*inputs), output).float(),
                own,
            )
            rows[one] = {
                "file": target.name,
                "kB": target.stat().st_size / 1000,
                "difference": float((answer - wanted).abs().max()),
                "agreement": float((_classes(answer) == _classes(wanted)).float().mean()),
                "batches": _batches(read, inputs),
            }
            progress.update()
        for row in rows.values():
            if "file" in row:
                paths.atomic_write(folder / row["file"], (temporary / row["file"]).read_bytes())
    columns = ["file", "kB", "difference", "agreement", "batches", "note"]
    frame = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    text = ["file", "batches", "note"]
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "")
    return frame.rename_axis("format")


def _asked(network: Any, formats: Sequence[str] | None, name: str) -> list[str]:
    """The formats, after checking them and the name."""
    check_module("the network that export writes", network, learns=False)
    if any(nn.parameter.is_lazy(one) for one in (*network.parameters(), *network.buffers())):
        raise ValueError(
            "the network that export writes has lazy modules without weights yet: train it, or call "
            "it once."
        )
    asked = list(MAKERS) if formats is None else list(formats)
    for one in asked:
        if one not in MAKERS:
            raise ValueError(f"there is no format {brief(one)} ({nearest(str(one), MAKERS)}).")
    if not name or Path(name).name != name or name in (".", ".."):
        raise ValueError(f"name is a file name without an ending; got {brief(name)}.")
    return asked


def _inputs_of(example: Any) -> Inputs:
    """The example as arguments, on the CPU."""
    inputs = example if isinstance(example, tuple) else (example,)
    if not all(isinstance(one, Tensor) for one in inputs) or samples_in(inputs) < 2:
        raise ValueError(
            "example is a batch of two or more inputs, a tensor or a tuple of tensors; got "
            f"{brief(example) if not isinstance(example, Tensor) else tuple(example.shape)}."
        )
    return moved(inputs, "cpu")


@torch.no_grad()
def _answer(plain: nn.Module, inputs: Any, output: Output) -> Tensor:
    """What the network answers to the example."""
    try:
        answer = ask(plain, inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        said = cannot_take("network", inputs, error, not_taken(plain, inputs))
        raise ValueError(
            f"{said} The example is inputs alone, as the network takes them."
        ) from error
    logits = logits_of(answer, output).float()
    if bool(logits.isnan().any()):
        raise ValueError(
            "the network answers the example with NaN: look at its weights and at the example."
        )
    return logits


def _classes(logits: Tensor) -> Tensor:
    """The predicted classes: the largest logit, or for a single logit its sign."""
    return logits > 0 if logits.ndim == 1 or logits.shape[1] == 1 else logits.argmax(1)


def _check_same(what: str, answer: Tensor, wanted: Tensor, own: torch.dtype | None) -> None:
    room = (1e-4 if own in (None, torch.float64) else 0.02) * (1 + float(wanted.abs().max()))
    if answer.shape != wanted.shape:
        shown = f"in shape, {tuple(answer.shape)} for {tuple(wanted.shape)}"
    elif float((answer - wanted).abs().max()) <= room:
        return
    else:
        shown = f"by {float((answer - wanted).abs().max()):.3g}"
    raise ExportError(
        f"what was read back of {what} answers otherwise than the network, {shown}: the files were "
        "not kept. Does the network draw random numbers in eval mode?"
    )


def _batches(read: Answer, inputs: Inputs) -> str:
    """The batch sizes that a file takes: any, or only that of the example."""
    try:
        read(*(first_of(one, samples_in(inputs) - 1) for one in inputs))
    except Exception:  # noqa: BLE001 - each library refuses a size in its own way
        return f"of {samples_in(inputs)}"
    return "any"


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the libraries' deprecation notices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- one function per format: (copy of the network, example, file) -> what should give the same outputs
# --- (None: the network itself), and what was read back ---------------------------------------------


def _state_dict(plain: nn.Module, inputs: Inputs, target: Path) -> tuple[None, Answer]:
    from safetensors.torch import load_model, save_model

    save_model(plain, str(target))
    other = twin_of(plain)
    for value in [*other.parameters(), *other.buffers()]:
        value.zero_()  # so that values missing in the file are noticed
    load_model(other, target)
    return None, other


def _torch_export(plain: nn.Module, inputs: Inputs, target: Path) -> tuple[None, Answer]:
    sizes = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
    few = tuple(first_of(one, 2).clone() for one in inputs)  # they are stored in the file
    torch.export.save(torch.export.export(plain, few, dynamic_shapes=sizes), target)
    return None, torch.export.load(target).module()


def _torchscript(plain: nn.Module, inputs: Inputs, target: Path) -> tuple[None, Answer]:
    torch.jit.trace(plain, inputs, strict=False, check_trace=False).save(str(target))
    return None, torch.jit.load(str(target))


def _onnx(plain: nn.Module, inputs: Inputs, target: Path) -> tuple[None, Answer]:
    import onnx

    sizes = tuple({0: torch.export.Dim.AUTO} for _ in inputs)
    torch.onnx.export(
        plain, inputs, str(target), dynamo=True, dynamic_shapes=sizes, external_data=False,
        verbose=False,
    )  # fmt: skip
    if find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(
            target.read_bytes(), providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_inputs()]
    else:
        from onnx.reference import ReferenceEvaluator

        session = ReferenceEvaluator(onnx.load(str(target)))
        names = list(session.input_names)

    def read(*given: Tensor) -> Tensor:
        fed = {name: one.numpy() for name, one in zip(names, given, strict=True)}
        return torch.as_tensor(session.run(None, fed)[0])

    return None, read


def _int8(plain: nn.Module, inputs: Inputs, target: Path) -> tuple[Answer, Answer]:
    made = plain
    if not any(layers_of(plain)):
        watching = prepared(plain, inputs, learns=False)
        watching(*inputs)
        made = converted(watching)
    torch.jit.trace(made, inputs, strict=False, check_trace=False).save(str(target))
    return made, torch.jit.load(str(target))


MAKERS: dict[str, Callable[[nn.Module, Inputs, Path], tuple[Answer | None, Answer]]] = {
    "state_dict": _state_dict,
    "torch_export": _torch_export,
    "torchscript": _torchscript,
    "onnx": _onnx,
    "int8": _int8,
}
ENDINGS = {
    "state_dict": ".safetensors", "torch_export": ".pt2", "torchscript": ".ts", "onnx": ".onnx",
    "int8": ".int8.ts",
}  # fmt: skip
NEEDS = {"onnx": ("onnx", "onnxscript")}
