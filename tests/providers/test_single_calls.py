import asyncio
from array import array
from collections.abc import Sequence

import pytest

from aichat.providers.base import Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.single_calls import EmbeddingAnswer, Input, embed_in_batches


async def test_batches_are_embedded_as_one_answer_in_order() -> None:
    async def embed(inputs: Sequence[Input]) -> EmbeddingAnswer:
        await asyncio.sleep(0.01 / len(str(inputs[0])))
        return EmbeddingAnswer([array("f", [float(str(text))]) for text in inputs], Usage(input_tokens=len(inputs)))

    answer = await embed_in_batches(["1", "2", "30", "40", "500"], 2, embed)
    assert [vector[0] for vector in answer.vectors] == [1, 2, 30, 40, 500]
    assert answer.usage == Usage(input_tokens=5)


async def test_a_batch_that_fails_ends_the_others() -> None:
    ended: list[Input] = []

    async def embed(inputs: Sequence[Input]) -> EmbeddingAnswer:
        if inputs == ["bad"]:
            raise ProviderError(AttemptOutcome.RATE_LIMITED)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.extend(inputs)
            raise
        raise AssertionError

    with pytest.raises(ProviderError):
        await embed_in_batches(["a", "bad", "b"], 1, embed)
    await asyncio.sleep(0)
    assert ended == ["a", "b"]
