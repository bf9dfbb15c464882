"""``allowlist.json``: from JSON to the records of ``model``, with every mistake at once. As ``schema`` is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, post_load, validates_schema

from metamcp.config import names
from metamcp.config.crosschecks import pattern_problem, shadowed_rules
from metamcp.config.document import Problem, config_invalid, flatten, read_json
from metamcp.config.fields import Choice, Flag, Items, Number, Record, Size, Strict, Text, Worded, loaded, raise_all
from metamcp.config.images import is_digest, parse_pattern
from metamcp.config.model import SEVERITIES, Allowance, Allowlist, Cosign, ImageRule, Scan


class AllowanceSchema(Strict):
    network = Flag(doc="`--network` with a network of your own; still not `host` and not another container's.")
    cap_add = Items(
        Text(check=names.capability),
        data_key="capAdd",
        doc="Capabilities for `--cap-add`, such as `SYS_ADMIN`; with or without `CAP_`.",
    )
    shm_size = Size(
        1,
        "1 byte",
        data_key="shmSize",
        unset="the engine's 64 MiB",
        doc="The most that `--shm-size` may ask for.",
    )
    devices = Items(Text(check=names.device_path), shape="paths below `/dev/`", doc="Devices for `--device`.")
    gpus = Flag(doc="`--gpus`.")
    ports = Flag(doc="`-p` and `-P`.")
    binds = Items(
        Text(check=names.absolute_path),
        shape="absolute paths",
        doc="Further bind roots for this image alone.",
    )
    writable = Flag(doc="A root file system that can be written.")
    user = Flag(doc="`--user` and the server's `user`; `false`: the image has to run as the user that it names itself.")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Allowance:
        if "cap_add" in data:
            data["cap_add"] = tuple(name.removeprefix("CAP_") for name in data["cap_add"])
        return Allowance(**data)


class CosignSchema(Strict):
    key = Text(doc="The public key: a path, or a URI of a key service, as cosign's `--key`.")
    identity = Text(doc="Without a key: who signed (`--certificate-identity`), exactly.")
    issuer = Text(doc="Without a key: who vouches for that (`--certificate-oidc-issuer`), exactly.")
    program = Text(doc="Name or path of the program.")
    tlog = Flag(
        doc="`false`: the signature need not be in the transparency log, as with a key of your own and no network.",
    )
    seconds = Number(1, 3600, doc="How long it may take.")

    @validates_schema
    def one_signer(self, data: Mapping[str, Any], **_: Any) -> None:
        keyless = "identity" in data and "issuer" in data
        if ("key" in data) == ("identity" in data or "issuer" in data) or ("key" not in data and not keyless):
            raise_all({"key": ["is needed, or identity and issuer instead of it"]})
        if any(str(value).startswith("-") for value in data.values()):
            raise_all({"key": ["no text here may begin with -: cosign would take it for an option"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Cosign:
        return Cosign(**data)


class ScanSchema(Strict):
    command = Items(
        Text(),
        doc="The scanner and its arguments, without a shell; `{image}` becomes the id of the image.",
    )
    block_at = Choice(
        SEVERITIES[1:],
        data_key="blockAt",
        unset="nothing is refused",
        doc=(
            "Findings from this severity on refuse the image: rule `image-vulnerabilities` for what the scanner told, "
            "`image-findings` for what the gateway found."
        ),
    )
    required = Flag(
        doc=(
            "`true`: an image that could not be scanned is refused (rule `image-scan`); `false`: that is told, and it "
            "runs."
        ),
    )
    contents = Flag(doc="`true`: the files of the image are looked through, too.")
    seconds = Number(1, 3600, doc="How long the scanner, and likewise looking through the files, may take.")

    @validates_schema
    def command_names_the_image(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("command") and not any("{image}" in word for word in data["command"][1:]):
            raise_all({"command": ["must have {image} in one of its arguments: the image to scan"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Scan:
        return Scan(**data)


class ImageSchema(Strict):
    image = Text(required=True, check=pattern_problem, doc="[A pattern](#patterns).")
    digest = Text(
        check=lambda text: None if is_digest(text) else "must be sha256: and 64 hexadecimal digits",
        shape="`sha256:` and 64 hexadecimal digits",
        doc="Only the image with this digest, whatever the tag points to by then; the pattern then has no `*`.",
    )
    allow = Record(
        AllowanceSchema,
        unset="nothing more than the default policy",
        doc="[How far](#widening-the-policy-for-one-image) containers of this image may leave the default policy.",
    )
    user = Text(
        check=names.container_user,
        shape="`USER` or `USER:GROUP`",
        unset="the server's `user`, else `--user`, else the image's",
        doc="Who every container of this image runs as, whatever the servers say.",
    )
    pin = Flag(doc="Only the image that the reference named [when it was first used](#tags-that-name-another-image).")
    dry_run = Flag(
        data_key="dryRun",
        doc="What `pin`, `cosign` and `scan` would refuse of this rule's images is [only told](#trying-rules-out).",
    )
    cosign = Record(
        CosignSchema,
        unset="that of the whole file",
        doc="[Whose signature](#signatures) images of this rule must carry.",
    )
    scan = Record(ScanSchema, unset="that of the whole file", doc="[How](#scans) images of this rule are looked into.")

    @validates_schema
    def digest_belongs_to_one_image(self, data: Mapping[str, Any], **_: Any) -> None:
        pattern = parse_pattern(data["image"])
        if "digest" in data and pattern.wild:
            raise_all({"digest": ["belongs to one image: write image without *"]})
        if "digest" in data and pattern.digest not in (None, data["digest"]):
            raise_all({"digest": ["contradicts the digest in image: keep one of them"]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> ImageRule:
        pattern = data.pop("image")
        digest = data.pop("digest", None) or parse_pattern(pattern).digest
        return ImageRule(pattern, digest, **data)


class ImageEntry(Worded):
    """A pattern, or an object with ``image``."""

    def read(self, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return ImageSchema().load({"image": value})
            except ValidationError as invalid:
                raise ValidationError([text for _, text in flatten(invalid.messages)]) from None
        if not isinstance(value, Mapping):
            raise ValidationError('must be a pattern such as "ghcr.io/example/*", or an object with "image"')
        return ImageSchema().load(value)


class AllowlistSchema(Strict):
    images = Items(ImageEntry(), doc="[Rules](#a-rule): patterns as texts, or objects.")
    bind_roots = Items(
        Text(check=names.absolute_path),
        data_key="bindRoots",
        shape="absolute paths",
        doc=(
            "Directories of the host whose content any allowed image may mount; symbolic links are followed before the "
            "path is compared, and `/` is refused."
        ),
    )
    dry_run = Flag(data_key="dryRun", doc="No image is refused, it is [only told](#trying-rules-out).")
    cosign = Record(CosignSchema, doc="[Whose signature](#signatures) every image must carry.")
    scan = Record(
        ScanSchema,
        unset="what costs nothing",
        doc="[How](#scans) every image is looked into before its first use.",
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Allowlist:
        return Allowlist(data.pop("images", ()), **data)


def parse_allowlist(text: str) -> Allowlist:
    """``allowlist.json``. Raises ConfigInvalid with every problem, in the order of the file."""
    document, repeated = read_json(text)
    return allowlist_from(document, repeated)


def allowlist_from(document: Any, known_problems: list[Problem] | None = None) -> Allowlist:
    """Like ``parse_allowlist``, for JSON that is read already."""
    made, problems = loaded(AllowlistSchema(), document)
    problems += known_problems or []
    problems += list(shadowed_rules(made)) if isinstance(made, Allowlist) else []
    if problems:
        raise config_invalid(document, problems)
    return made  # type: ignore[no-any-return]
