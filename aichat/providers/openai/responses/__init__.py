"""OpenAI's Responses API as an upstream: https://platform.openai.com/docs/api-reference/responses

It is asked where a request came in that dialect, so that nothing is lost which chat completions have no word for (thoughts,
custom tools, the order of items), and for models that speak nothing else.
"""
