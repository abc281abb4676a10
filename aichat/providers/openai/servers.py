"""The servers that speak OpenAI's format and that an operator is offered by name, each with its address.

Sources as in `profiles.py`; a server on one's own machine has the port it listens on by default.
"""

from aichat.providers.vendor import Server

OWN = "http://127.0.0.1"
SERVERS = (
    Server("ollama", "Ollama", f"{OWN}:11434/v1", profile="ollama", needs_key=False),
    Server("lmstudio", "LM Studio", f"{OWN}:1234/v1", needs_key=False),
    Server("vllm", "vLLM", f"{OWN}:8001/v1", profile="vllm", needs_key=False),
    Server("llamacpp", "llama.cpp", f"{OWN}:8080/v1", profile="llamacpp", needs_key=False),
    Server("openrouter", "OpenRouter", "https://openrouter.ai/api/v1"),
    Server("groq", "Groq", "https://api.groq.com/openai/v1"),
    Server("mistral", "Mistral", "https://api.mistral.ai/v1"),
    Server("deepseek", "DeepSeek", "https://api.deepseek.com/v1"),
    Server("xai", "xAI", "https://api.x.ai/v1"),
    Server("kimi", "Kimi", "https://api.moonshot.ai/v1"),
    Server("azure", "Azure", "https://<resource>.openai.azure.com/openai/v1", profile="azure"),
)
