"""Makes pictures out of given pictures. They are priced like pictures that are made of a prompt alone."""

from dataclasses import replace

from aichat.catalog.snapshot import ModelInfo
from aichat.generation import key_ring
from aichat.generation.single_call import Performance, SingleCall
from aichat.providers.base import Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import image_edit_adapter
from aichat.providers.single_calls import ImageEditAnswer, ImageEditRequest

# The most tokens one given picture is billed as: https://platform.openai.com/docs/guides/image-generation (high fidelity)
TOKENS_PER_GIVEN_IMAGE = 6_500
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")  # of PNG, JPEG and WebP


def image_edit(request: ImageEditRequest) -> Performance[ImageEditAnswer]:
    """The call that makes `request.n` pictures; those that are delivered are charged."""

    async def ask(model: ModelInfo) -> tuple[ImageEditAnswer, Usage | None]:
        own = replace(request, model=model.upstream_name)
        adapter = image_edit_adapter(model.provider.kind)
        answer = await key_ring.ask(model.provider, lambda endpoint: adapter.edit(own, endpoint))
        images = [image for image in answer.images[: request.n] if image.startswith(SIGNATURES)]
        if not images:
            raise ProviderError(AttemptOutcome.MALFORMED, "an answer that is no image")
        usage = replace(answer.usage, images=len(images)) if answer.usage else None
        return ImageEditAnswer(images, usage), usage

    def most(model: ModelInfo) -> Usage:
        given = len(request.images) + (request.mask is not None)
        return Usage(
            input_tokens=(len(request.prompt.encode()) + given * TOKENS_PER_GIVEN_IMAGE) * request.n,
            output_tokens=request.n * image_edit_adapter(model.provider.kind).tokens_per_image,
            images=request.n,
        )

    def count(model: ModelInfo, answer: ImageEditAnswer) -> Usage:
        made = len(answer.images)
        tokens = made * image_edit_adapter(model.provider.kind).tokens_per_image
        return replace(most(model), output_tokens=tokens, images=made)

    return Performance(SingleCall(ask=ask, most=most, count=count))
