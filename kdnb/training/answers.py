"""The outputs of networks and teachers as logits: output forms, ensembles, functions, single logits."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data.forms import mapped
from kdnb.losses import ensemble_log_probabilities
from kdnb.losses.checks import at_least_float32, check_choice, check_temperature
from kdnb.losses.ensemble import Mean
from kdnb.training.identity import of_function

Output = Callable[[Any], Tensor] | str | int | None
Weigh = Callable[[list[Tensor]], Tensor]  # weights of teachers, computed from their outputs


def ask(network: Callable[..., Any], inputs: Any, like: Any = None) -> Any:
    """Call a network or a function on a batch's inputs, whatever their form.

    A tuple or list is passed as arguments and a dict as keywords if the forward accepts that number
    or these names; else as one argument. Floating-point inputs are converted to the network's own
    precision, in which it then computes.

    Args:
        like: the network whose forward and precision decide this, if `network` is a wrapper.
    """
    like = network if like is None else like
    if getattr(like, "takes_whole", False):
        return network(inputs)
    own = precision_of(like)
    if own is None:
        arguments, named = _spread(like, inputs)
        return network(*arguments, **named)
    inputs = mapped(lambda one: one.to(own) if one.is_floating_point() else one, inputs)
    arguments, named = _spread(like, inputs)
    device = next(like.parameters()).device.type
    with torch.autocast(device, enabled=False):
        return network(*arguments, **named)


def not_taken(network: Any, inputs: Any) -> str:
    """Why a dict, tuple or list of inputs was passed as one argument; empty if it was not."""
    if not isinstance(inputs, (Mapping, tuple, list)) or getattr(network, "takes_whole", False):
        return ""
    arguments, named = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
    try:
        called = network.forward if isinstance(network, nn.Module) else network
        inspect.signature(called).bind(*arguments, **named)
    except TypeError as error:
        form = "dict" if isinstance(inputs, Mapping) else type(inputs).__name__
        return f"the {form} came as one argument, since as several it does not fit: {error}"
    except ValueError:
        pass
    return ""


def precision_of(network: Any) -> torch.dtype | None:
    """The floating-point type of a network's weights if it is not float32, else None."""
    if not isinstance(network, nn.Module):
        return None
    kinds = (p.dtype for p in network.parameters() if p.is_floating_point())
    found = next(kinds, torch.float32)
    return None if found == torch.float32 else found


def _spread(network: Any, inputs: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Inputs as the arguments and the keywords of a call."""
    if isinstance(inputs, Tensor) or not isinstance(inputs, (tuple, list, Mapping)):
        return (inputs,), {}
    arguments, named = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
    try:
        called = network.forward if isinstance(network, nn.Module) else network
        inspect.signature(called).bind(*arguments, **named)
    except (TypeError, ValueError):  # takes one argument, or has no readable signature
        return (inputs,), {}
    return arguments, named


def logits_of(answer: Any, output: Output = None) -> Tensor:
    """The logits in what a network returns.

    A tensor itself; else `.logits`, the entry "logits" of a dict, or the first entry of a tuple.

    Args:
        output: where to find them instead: a function of the output, or the name of an attribute, a
            key or a position.

    Raises:
        TypeError: if there are none; names the type of the output.
    """
    if isinstance(output, tuple):
        raise TypeError(
            f"output={output!r} is a pair, which kdnb.distil takes for student and teacher: give one "
            "name, position or function."
        )
    found = _named(answer, output) if output is not None else _usual(answer)
    if isinstance(found, Tensor) and not found.ndim:
        raise TypeError(
            f"a network returned {_kind(answer)}, and one number stands where kdnb looks for logits, "
            "such as a loss before them: say where they are by output=, such as output=1."
        )
    if not isinstance(found, Tensor):
        where = "" if output is None else f", and output={output!r} finds no tensor in it"
        raise TypeError(
            f"a network returned {_kind(answer)}, in which kdnb finds no logits{where}: "
            'say where they are by output=, such as output=lambda answer: answer["scores"].'
        )
    if not found.is_floating_point():
        raise TypeError(
            f"a network returned logits of {found.dtype}, and losses take real floating-point "
            "numbers: say what is made of them by output=, such as output=lambda z: z.float()."
        )
    return found


def outputs_of(output: Any) -> tuple[Output, Output]:
    """Where to find the logits of student and teacher: one value for both, or a pair.

    Raises:
        ValueError: for a tuple of another length.
    """
    if not isinstance(output, tuple):
        return output, output
    if len(output) != 2:
        raise ValueError(
            f"output is one for both networks, or a pair (the student's, the teacher's); got a tuple "
            f"of {len(output)}."
        )
    return output


def words_for(output: Output) -> str:
    """An `output` as text that distinguishes it from others."""
    return of_function(output) if callable(output) else repr(output)


def _usual(answer: Any) -> Any:
    if isinstance(answer, Tensor):
        return answer
    if isinstance(getattr(answer, "logits", None), Tensor):
        return answer.logits
    if isinstance(answer, Mapping):
        return answer.get("logits")
    if isinstance(answer, (tuple, list)) and answer:
        return _usual(answer[0])
    return None


def _named(answer: Any, output: Any) -> Any:
    if callable(output):
        return output(answer)
    if isinstance(output, str) and hasattr(answer, output):
        return getattr(answer, output)
    try:
        return answer[output]
    except (KeyError, IndexError, TypeError):
        return None


def _kind(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"a {type(answer).__name__} with {', '.join(map(repr, answer)) or 'nothing'}"
    return f"a {type(answer).__name__}"


class Ensemble(nn.Module):
    r"""Several teachers as one: its softmax at the temperature T is the mean of theirs.

    .. math:: v = T \log \sum_k w_k\, \mathrm{softmax}(v_k / T)

    Hinton, Vinyals and Dean 2015 distil ensembles this way, by the arithmetic mean of the members'
    softened outputs; Chebotar and Waters 2016 and Cui et al. 2017 weight the members.

        kdnb.distil(student, Ensemble(teachers, weights=[2, 1, 1]), data, temperature=4)

    Args:
        members: one or more.
        temperature: T, at which the outputs are averaged. If None, `kdnb.distil` uses that of its
            method, and elsewhere it is 1.
        output: where the logits are in what each member returns.
        weights: one number for each member, or a function of a list of the members' softened
            logits, (positions, classes) each, that returns weights (K,) or (K, positions), such as
            :func:`kdnb.losses.certainty_weights`. Equal weights if None.
        mean: "arithmetic", or "geometric": the mean of the logits.

    Raises:
        TypeError: for a member that is not a module.
        ValueError: for no member, or invalid weights or a wrong number of them.
    """

    takes_whole = True  # each member unpacks the inputs itself

    def __init__(
        self,
        members: Sequence[nn.Module],
        temperature: float | None = None,
        output: Output = None,
        *,
        weights: Sequence[float] | Weigh | None = None,
        mean: Mean = "arithmetic",
    ) -> None:
        super().__init__()
        if not isinstance(members, (list, tuple, nn.ModuleList)):
            raise TypeError(f"an ensemble takes a list of modules; got a {type(members).__name__}.")
        for one in members:
            if not isinstance(one, nn.Module):
                raise TypeError(f"a member of an ensemble is a module; got a {type(one).__name__}.")
        if not len(members):
            raise ValueError("an ensemble has at least one member; got none.")
        if temperature is not None:
            check_temperature(temperature)
            temperature = float(temperature)
        check_choice(("arithmetic", "geometric"), mean=mean)
        self.members = nn.ModuleList(members)
        self.temperature, self.output, self.mean = temperature, output, mean
        self.weigh = weights if callable(weights) else None
        given = None if weights is None or callable(weights) else torch.as_tensor(weights).float()
        if given is not None:  # refuse invalid weights now, not at the first batch
            ensemble_log_probabilities([torch.zeros(1, 2)] * len(self.members), given)
        self.register_buffer("weights", given)

    def at(self, temperature: float) -> Ensemble:
        """The same members averaged at this temperature; returns itself if it has its own."""
        if self.temperature is not None:
            return self
        weights = self.weigh if self.weights is None else self.weights.tolist()
        members = list(self.members)
        return Ensemble(members, temperature, self.output, weights=weights, mean=self.mean)

    def forward(self, inputs: Any) -> Tensor:
        """Logits of the members' shape: (batch, classes), maps, sequences, or one logit."""
        answers = [at_least_float32(logits_of(ask(m, inputs), self.output)) for m in self.members]
        shape = tuple(answers[0].shape)
        binary = len(shape) == 2 and shape[1] == 1
        flat = [two_logits(one) if binary else rows(one) for one in answers]
        temperature = 1.0 if self.temperature is None else self.temperature
        softened = [one / temperature for one in flat]
        weights = self.weights if self.weigh is None else self.weigh(softened)
        mean = temperature * ensemble_log_probabilities(softened, weights, self.mean)
        if binary:
            return mean[:, 1:] - mean[:, :1]
        if len(shape) >= 4:
            return mean.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
        return mean.view(shape)

    def extra_repr(self) -> str:
        """Everything that a stored output depends on besides the members."""
        temperature = 1.0 if self.temperature is None else self.temperature
        said = [f"temperature={temperature}"]
        if self.mean != "arithmetic":
            said.append(f"mean={self.mean}")
        if self.weigh is not None:
            said.append(f"weights={of_function(self.weigh)}")
        if self.output is not None:
            said.append(f"output={words_for(self.output)}")
        return ", ".join(said)


class Called(nn.Module):
    """A teacher that is a plain function of the inputs: called in every step, never cached.

    Raises:
        ValueError: if it calls a network in train mode, the mode in which most libraries return
            them: its answers would change with the batch or with random numbers.
    """

    takes_whole = True

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        for name, network in _networks_in(function).items():
            part = next((one for one in network.modules() if _has_modes(one)), None)
            if network.training and part is not None:
                raise ValueError(
                    f"the teacher is a function that calls {name!r} in train mode, in which its "
                    f"{type(part).__name__} makes its answers change: call its eval() before, or give "
                    "the network itself."
                )
        self.function = function

    def forward(self, inputs: Any) -> Any:
        """Whatever the function returns."""
        return ask(self.function, inputs)


def _has_modes(part: nn.Module) -> bool:
    """Whether a part in train mode answers by the batch, or by random numbers."""
    norms, drops = nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd
    drawing = isinstance(part, nn.RReLU) or isinstance(part, drops) and part.p > 0
    tracking = isinstance(part, norms) and part.track_running_stats
    return part.training and (drawing or tracking)


def _networks_in(function: Any, depth: int = 2) -> dict[str, nn.Module]:
    """The networks that a function refers to, by its names for them, as far as inspection finds them."""
    if isinstance(function, functools.partial):
        return {
            **_networks_in(function.func, depth),
            **_networks_among({str(n): one for n, one in enumerate(function.args)}, depth),
            **_networks_among(function.keywords, depth),
        }
    owner = getattr(function, "__self__", function)
    if isinstance(owner, nn.Module):
        return {type(owner).__name__: owner}
    if isinstance(function, types.FunctionType):
        try:
            held = inspect.getclosurevars(function)
        except ValueError:  # a name that has no value yet
            return {}
        return _networks_among({**held.globals, **held.nonlocals}, depth)
    called = getattr(function, "__func__", inspect.getattr_static(owner, "__call__", None))
    names = getattr(getattr(called, "__code__", None), "co_names", ())
    own = getattr(owner, "__dict__", {})
    return _networks_among({name: own[name] for name in names if name in own}, depth)


def _networks_among(values: Mapping[str, Any], depth: int) -> dict[str, nn.Module]:
    found = {name: value for name, value in values.items() if isinstance(value, nn.Module)}
    kinds = types.FunctionType, types.MethodType, functools.partial
    for value in values.values() if depth else ():
        if isinstance(value, kinds):
            found |= _networks_in(value, depth - 1)
    return found


def teacher_of(teacher: Any, temperature: float = 1.0, output: Output = None) -> nn.Module:
    """A teacher as one module: a module, a list of modules, or any function of a batch's inputs.

    An `Ensemble` without a temperature gets this one.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(teacher, Ensemble):
        return teacher.at(temperature)
    several = nn.ModuleList, nn.ModuleDict
    if isinstance(teacher, nn.Module) and not isinstance(teacher, several):
        return teacher
    if isinstance(teacher, (list, tuple, nn.ModuleList)) and len(teacher):
        if all(isinstance(member, nn.Module) for member in teacher):
            return Ensemble(list(teacher), temperature, output)
    elif callable(teacher) and not isinstance(teacher, several):
        return Called(teacher)
    empty = isinstance(teacher, (list, tuple, nn.ModuleList)) and not len(teacher)
    got = "an empty list" if empty else f"a {type(teacher).__name__}"
    raise TypeError(
        f"a teacher is a module, a list of modules or a function of a batch's inputs; got {got}."
    )


def two_logits(logits: Tensor) -> Tensor:
    """One logit of a binary task (batch, 1) as two, [0, z]: the same probabilities by a softmax."""
    return F.pad(logits, (1, 0))


def rows(logits: Tensor) -> Tensor:
    """The logits of every position as rows (positions, classes).

    Maps (batch, classes, height, width), volumes, which have a depth as well, and sequences (batch,
    tokens, classes) become rows in the order of their labels; (batch, classes) is unchanged. One logit
    per sample, (batch,), becomes (batch, 1).
    """
    if logits.ndim == 1:
        return logits[:, None]
    if logits.ndim >= 4:
        logits = logits.movedim(1, -1)
    return logits.flatten(0, -2) if logits.ndim > 2 else logits


def places(logits: Tensor) -> tuple[int, ...]:
    """The shape of the labels that belong to logits: (batch,), (batch, height, width), ..."""
    shape = tuple(logits.shape)
    if len(shape) == 1:
        return shape
    return (shape[0], *shape[2:]) if len(shape) >= 4 else shape[:-1]


def in_float32(answer: Any) -> Any:
    """Convert half precision in an output to float32, as Fabric does."""
    from lightning_utilities.core.apply_func import apply_to_collection

    if isinstance(answer, Tensor):
        return answer.float()
    return apply_to_collection(
        answer, Tensor, lambda value: value.float() if torch.is_floating_point(value) else value
    )
