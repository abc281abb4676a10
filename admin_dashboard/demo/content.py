"""The names, prompts and models of the made-up demonstration data. Prices are in US dollars for a million tokens."""

from dataclasses import dataclass

DOMAIN = "demo.example"  # reserved: no mail can ever go there (RFC 2606)
FIRST = ("Amara", "Ben", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kaya", "Lucía", "Mateo",
         "Nadia", "Omar", "Priya", "Quentin", "Rosa", "Sven", "Tala")  # fmt: skip
LAST = ("Okafor", "Lindqvist", "Moretti", "Ivanov", "Demir", "Haddad", "Weber", "Tanaka", "Silva", "Novak", "Reyes")
TEAMS = ("Support desk", "Research", "Marketing")
TALKS = (
    ("How do I undo my last git commit?", "`git reset --soft HEAD~1` keeps your changes and removes the commit."),
    ("Write a friendly reminder about the team lunch.", "Hi all, a quick reminder: lunch is on Thursday at noon!"),
    ("What does HTTP 409 mean?", "A conflict: the request doesn't fit the state the resource is in."),
    (
        "Summarise this week's support tickets.",
        "Most are about sign-in (41 %), then billing (27 %) and exports (12 %).",
    ),
    ("Translate 'good morning' into Finnish.", "Hyvää huomenta."),
    ("Is 1,117 prime?", "Yes: it has no divisor up to its square root, about 33.4."),
    ("Give me three names for a bakery.", "Crumb & Co., The Rising Loaf, Golden Crust."),
    ("Explain a circuit breaker in one sentence.", "It stops calling what keeps failing, and tries again later."),
)


@dataclass(frozen=True, slots=True)
class Sold:
    """A model of the demonstration data. `share` is its weight among requests, `pace` the milliseconds of a usual answer."""

    slug: str
    provider: str
    share: int
    input_usd: float
    output_usd: float
    pace: int

    def cost_nanousd(self, input_tokens: int, output_tokens: int) -> int:
        return round((input_tokens * self.input_usd + output_tokens * self.output_usd) * 1000)

    def prices(self) -> dict[str, object]:
        return {
            "demonstration": True,
            "input_usd_per_million": self.input_usd,
            "output_usd_per_million": self.output_usd,
        }


MODELS = (
    Sold("gemini-3.8-flash", "gemini", 46, 0.75, 3.75, 900),
    Sold("gpt-6-luna", "openai", 26, 0.1, 0.5, 1200),
    Sold("gpt-5.4-mini", "openai", 14, 0.75, 4.5, 800),
    Sold("gemini-3.1-pro-preview", "gemini", 9, 2.0, 12.0, 2600),
    Sold("gpt-6.1-sol", "openai", 5, 2.0, 10.0, 3800),
)
STATUSES = {"ok": 938, "partial": 8, "cancelled": 20, "timeout_first_token": 12, "overloaded": 14, "blocked": 8}
EXPERIMENT, VARIANTS = "demo-tone", ("control", "short")
