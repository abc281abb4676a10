"""OpenAI's Responses API as an upstream: https://platform.openai.com/docs/api-reference/responses

It is asked for requests that came in that dialect, because chat completions have no words for some of it (thoughts, custom
tools, the order of items), and for models that speak nothing else.
"""
