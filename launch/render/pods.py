"""What pods have in common: image, resources, volumes, variables; and how their words are written.

Field names are those of Kubernetes' core/v1 API.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from launch.jobs.knobs import load_knobs
from launch.render.around import Repeated, check_positive, environment_of, stage_words
from launch.render.quoting import exports, quote
from limbeck.config.errors import UsageError

__all__ = ["PodSettings", "container", "literal", "pod"]

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")

# The user of our images (launch/containers).
USER_ID = 1000


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """What every pod of a job gets."""

    image: str = ""
    """Container image, such as `python -m launch image` builds; needed."""
    name: str = "limbeck"
    """The job's name."""
    namespace: str = ""
    """Namespace; default: that of whoever submits."""
    gpus: int = 0
    """GPUs of each pod (nvidia.com/gpu)."""
    cpu: str = "4"
    """CPUs of each pod."""
    memory: str = "16Gi"
    """Memory of each pod, shared memory and scratch in memory included."""
    claim: Annotated[Repeated, tyro.conf.arg(metavar="NAME:DIR")] = ()
    """A PersistentVolumeClaim that every pod sees at a directory; may be repeated. The run's
    directory has to be on one that all nodes may write."""
    scratch: Annotated[str, tyro.conf.arg(metavar="SIZE:DIR")] = ""
    """Node-local disk for staged data (an emptyDir of that size), such as 500Gi:/scratch."""
    shm: str = "2Gi"
    """Size of /dev/shm, which ranks of one pod talk through."""
    directory: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Where the command runs; default: where the image has this package, /opt/limbeck."""
    stage: Annotated[Repeated, tyro.conf.arg(metavar="ARGUMENTS")] = ()
    """In each pod before the command: `python -m launch stage ARGUMENTS`, one string that is split
    as a shell does; may be repeated."""
    node_selector: Annotated[Repeated, tyro.conf.arg(metavar="LABEL=VALUE")] = ()
    """A label that the nodes must have; may be repeated."""
    env: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """A variable that every rank gets; may be repeated."""
    knobs: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """YAML file of Horovod's settings, as `launch run` takes it."""
    set: Annotated[Repeated, tyro.conf.arg(metavar="KNOB=VALUE")] = ()
    """One of those settings, such as cycle_time_ms=5; may be repeated."""

    def check(self) -> None:
        """Refuses what Kubernetes would not take.

        Raises:
          UsageError: no image, a name or quantity of another form, or a number out of range.
        """
        if not _IMAGE.fullmatch(self.image):
            raise UsageError(
                f"--image {quote(self.image)}: give the container image of the pods, such as "
                "registry.example/limbeck:1; `python -m launch image cpu` builds one"
            )
        for option in ("name", "namespace"):
            value = getattr(self, option)
            if (value or option == "name") and not (_NAME.fullmatch(value) and len(value) <= 50):
                raise UsageError(
                    f"--{option} {quote(value)}: Kubernetes takes at most 50 small letters, digits "
                    "and -, a letter first"
                )
        for option in ("cpu", "memory", "shm"):
            _check_quantity(option, getattr(self, option))
        check_positive("gpus", self.gpus, least=0)
        if self.directory and not self.directory.startswith("/"):
            raise UsageError(f"--directory {quote(self.directory)}: expected an absolute path")
        exports(self.variables())
        stage_words(self.stage)
        _volumes(self)
        _labels(self.node_selector)

    def variables(self) -> dict[str, str]:
        """Returns the variables that every rank gets."""
        return environment_of(self.env, load_knobs(self.knobs or None, self.set))


def literal(words: Sequence[str]) -> list[str]:
    """Returns words so that a container gets exactly these.

    Kubernetes replaces `$(NAME)` in commands and variables, and reads `$$` as `$`.

    Raises:
      UsageError: a word holds what neither YAML nor a program can be given.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{word!r}: not UTF-8, which Kubernetes' files are") from None
        quote(word)
    return [word.replace("$", "$$") for word in words]


def container(
    settings: PodSettings,
    command: Sequence[str],
    *,
    name: str,
    extra: Mapping[str, str] | None = None,
    resources: bool = True,
) -> dict[str, Any]:
    """Returns a container of a pod.

    Args:
      settings: what every pod gets.
      command: what it runs.
      name: of the container.
      extra: variables beside those of the settings.
      resources: whether it needs what the settings say; else little, for one that only starts
        others.
    """
    variables = {**settings.variables(), **(extra or {})}
    limits: dict[str, Any] = {"cpu": "1", "memory": "2Gi"}
    if resources:
        limits = {"cpu": settings.cpu, "memory": settings.memory}
        limits |= {"nvidia.com/gpu": settings.gpus} if settings.gpus else {}
    names, values = list(variables), literal(list(variables.values()))
    found: dict[str, Any] = {"name": name, "image": settings.image, "command": literal(command)}
    if variables:
        found["env"] = [{"name": n, "value": v} for n, v in zip(names, values, strict=True)]
    if settings.directory:
        found["workingDir"] = settings.directory
    found["resources"] = {"requests": dict(limits), "limits": limits}
    found["volumeMounts"] = [
        {"name": volume["name"], "mountPath": place} for volume, place in _volumes(settings)
    ]
    return found


def pod(
    settings: PodSettings, main: Mapping[str, Any], *, staged: bool, **more: Any
) -> dict[str, Any]:
    """Returns the specification of a pod.

    Args:
      settings: what every pod gets.
      main: its container.
      staged: whether data is brought to its scratch before that starts.
      **more: further fields.
    """
    found: dict[str, Any] = dict(more)
    found["securityContext"] = {"runAsUser": USER_ID, "runAsNonRoot": True, "fsGroup": USER_ID}
    if settings.node_selector:
        found["nodeSelector"] = _labels(settings.node_selector)
    if staged and settings.stage:
        found["initContainers"] = [
            container(
                settings,
                words,
                name=f"stage-{number}",
                resources=False,
            )
            for number, words in enumerate(stage_words(settings.stage), start=1)
        ]
    found["containers"] = [dict(main)]
    found["volumes"] = [volume for volume, _ in _volumes(settings)]
    return found


def _volumes(settings: PodSettings) -> list[tuple[dict[str, Any], str]]:
    """Returns each volume and where it is mounted."""
    memory = {"medium": "Memory", "sizeLimit": settings.shm}
    volumes: list[tuple[dict[str, Any], str]] = [({"name": "shm", "emptyDir": memory}, "/dev/shm")]
    for number, text in enumerate(settings.claim, start=1):
        claim, place = _at_directory("claim", text, form="NAME:DIR")
        if not _CLAIM.fullmatch(claim):
            raise UsageError(
                f"--claim {quote(text)}: a claim's name has small letters, digits, - ."
            )
        source = {"claimName": claim}
        volumes.append(({"name": f"claim-{number}", "persistentVolumeClaim": source}, place))
    if settings.scratch:
        size, place = _at_directory("scratch", settings.scratch, form="SIZE:DIR")
        _check_quantity("scratch", size)
        volumes.append(({"name": "scratch", "emptyDir": {"sizeLimit": size}}, place))
    places = [place for _, place in volumes]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place}: two volumes cannot be at one directory")
    return volumes


def _at_directory(option: str, text: str, *, form: str) -> tuple[str, str]:
    name, _, place = text.partition(":")
    if not name or not place.startswith("/") or ":" in place:
        raise UsageError(f"--{option} {quote(text)}: expected {form}, DIR an absolute path")
    return name, place


def _check_quantity(option: str, text: str) -> None:
    if not _QUANTITY.fullmatch(text) or not re.search("[1-9]", text):
        raise UsageError(
            f"--{option} {quote(text)}: not a quantity of Kubernetes, such as 4, 500m or 16Gi"
        )


def _labels(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*=[A-Za-z0-9._-]*", text):
            raise UsageError(f"--node-selector {quote(text)}: expected LABEL=VALUE")
    return dict(text.split("=", 1) for text in texts)
